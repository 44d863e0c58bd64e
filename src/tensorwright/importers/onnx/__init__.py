"""The ONNX importer: one function per operator, named like it; its attributes are the parameters."""

from typing import TYPE_CHECKING

from tensorwright.base.lazy import names_of

if TYPE_CHECKING:
    from tensorwright.importers.onnx.translate import Import, import_onnx, read_network

__all__ = ["Import", "import_onnx", "read_network"]
__getattr__ = names_of(__name__, translate=("Import", "import_onnx", "read_network"))
