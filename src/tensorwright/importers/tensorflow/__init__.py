"""The importer of frozen TensorFlow graphs: one function per operator, named like it."""

from typing import TYPE_CHECKING

from tensorwright.base.lazy import names_of

if TYPE_CHECKING:
    from tensorwright.importers.tensorflow.translate import Import, import_tensorflow, input_names, read_network

__all__ = ["Import", "import_tensorflow", "input_names", "read_network"]
__getattr__ = names_of(__name__, translate=("Import", "import_tensorflow", "input_names", "read_network"))
