"""The Caffe importer: one function per layer type, named like it; its parameters are Caffe's, with Caffe's defaults."""

from typing import TYPE_CHECKING

from tensorwright.base.lazy import names_of

if TYPE_CHECKING:
    from tensorwright.importers.caffe.blobs import Mean, read_mean
    from tensorwright.importers.caffe.translate import Import, import_caffe, read_network

__all__ = ["Import", "Mean", "import_caffe", "read_mean", "read_network"]
__getattr__ = names_of(__name__, blobs=("Mean", "read_mean"), translate=("Import", "import_caffe", "read_network"))
