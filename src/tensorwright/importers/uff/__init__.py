"""The importer of UFF models: one function per operator, named like it; its fields are the parameters."""

from tensorwright.importers.uff.inputs import RegisteredInput
from tensorwright.importers.uff.translate import Import, import_uff, read_network

__all__ = ["Import", "RegisteredInput", "import_uff", "read_network"]
