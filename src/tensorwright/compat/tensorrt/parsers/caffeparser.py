"""The parser of Caffe networks."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from tensorwright.api.caffe_parser import BinaryProtoBlob as ApiBlob
from tensorwright.api.caffe_parser import BlobNameToTensor as ApiBlobNameToTensor
from tensorwright.api.caffe_parser import CaffeParser as ApiCaffeParser
from tensorwright.api.logger import SHARED_LOGGER
from tensorwright.compat.tensorrt.dims import DimsNCHW
from tensorwright.compat.tensorrt.facade import Facade, faces, forward
from tensorwright.compat.tensorrt.network import NetworkDefinition
from tensorwright.compat.tensorrt.plugins import PluginFactory, given_factory
from tensorwright.tensor.dtype import FLOAT32

File = str | os.PathLike[str]


@faces(ApiBlobNameToTensor)
class BlobNameToTensor(Facade[ApiBlobNameToTensor]):
    """The tensors of a parsed network by the names of Caffe's blobs."""

    find = forward("find")


@faces(ApiBlob)
class BinaryProtoBlob(Facade[ApiBlob]):
    """A mean image."""

    def get_data(self, count: int | None = None) -> npt.NDArray[np.float32]:
        """The first `count` elements in a row."""
        return self.inner.get_data(count)

    def get_dimensions(self) -> DimsNCHW:
        """The extents N, C, H and W."""
        return DimsNCHW(self.inner.get_dimensions())


class CaffeParser(Facade[ApiCaffeParser]):
    """Reads Caffe networks. What cannot be read is logged and gives None."""

    def __init__(self) -> None:
        super().__init__(ApiCaffeParser())

    def parse(
        self, deploy: File, model: File | None, network: NetworkDefinition, dtype: object = FLOAT32
    ) -> BlobNameToTensor | None:
        """Read a definition and its weights, without a model random ones."""
        self.inner.logger = SHARED_LOGGER.adopt(None, "CaffeParser")
        found = self.inner.parse(deploy, model, network.inner, dtype)
        return None if found is None else BlobNameToTensor(found)

    def parse_buffer(
        self, deploy: bytes, model: bytes | None, network: NetworkDefinition, dtype: object = FLOAT32
    ) -> BlobNameToTensor | None:
        """As `parse`, from the bytes of the files."""
        self.inner.logger = SHARED_LOGGER.adopt(None, "CaffeParser")
        found = self.inner.parse_buffers(deploy, model, network.inner, dtype)
        return None if found is None else BlobNameToTensor(found)

    parse_buffers = parse_buffer

    def parse_binary_proto(self, file: File) -> BinaryProtoBlob | None:
        """Read a mean image."""
        found = self.inner.parse_binary_proto(file)
        return None if found is None else BinaryProtoBlob(found)

    def set_protobuf_buffer_size(self, size: int) -> None:
        """Nothing: files of any size are read."""
        del size

    def set_plugin_factory(self, factory: PluginFactory | None) -> None:
        """Ask a factory for the plugin of every layer, before the parser looks up its type."""
        self.inner.plugin_factory = given_factory(factory)

    set_plugin_factory_ext = set_plugin_factory


def create_caffe_parser() -> CaffeParser:
    """A parser."""
    return CaffeParser()


def shutdown_protobuf_library() -> None:
    """Nothing: there is nothing to shut down."""
