"""The importer of frozen TensorFlow graphs: one function per operator, named like it."""

from tensorwright.importers.tensorflow.translate import Import, import_tensorflow, input_names, read_network

__all__ = ["Import", "import_tensorflow", "input_names", "read_network"]
