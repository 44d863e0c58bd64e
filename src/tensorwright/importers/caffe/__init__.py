"""The Caffe importer: one function per layer type, named like it; its parameters are Caffe's, with Caffe's defaults."""

from tensorwright.importers.caffe.blobs import Mean, read_mean
from tensorwright.importers.caffe.translate import Import, import_caffe, read_network

__all__ = ["Import", "Mean", "import_caffe", "read_mean", "read_network"]
