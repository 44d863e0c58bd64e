"""The importer of frozen TensorFlow graphs: one function per operator, named like it."""

from tensorwright.importers.tensorflow.translate import Import, import_tensorflow, read_network

__all__ = ["Import", "import_tensorflow", "read_network"]
