"""The ONNX importer: one function per operator, named like it; its attributes are the parameters."""

from tensorwright.importers.onnx.translate import Import, import_onnx, read_network

__all__ = ["Import", "import_onnx", "read_network"]
