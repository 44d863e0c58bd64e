"""The importer of UFF models: one function per operator, named like it; its fields are the parameters."""

from typing import TYPE_CHECKING

from tensorwright.base.lazy import names_of

if TYPE_CHECKING:
    from tensorwright.importers.uff.inputs import RegisteredInput
    from tensorwright.importers.uff.translate import Import, import_uff, read_network

__all__ = ["Import", "RegisteredInput", "import_uff", "read_network"]
__getattr__ = names_of(__name__, inputs=("RegisteredInput",), translate=("Import", "import_uff", "read_network"))
