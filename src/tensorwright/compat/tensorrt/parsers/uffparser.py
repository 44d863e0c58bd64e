"""The parser of UFF models."""

from __future__ import annotations

import os

from tensorwright.api.logger import SHARED_LOGGER
from tensorwright.api.uff_parser import UffInputOrder
from tensorwright.api.uff_parser import UffParser as ApiUffParser
from tensorwright.compat.tensorrt.facade import Facade, forward
from tensorwright.compat.tensorrt.network import NetworkDefinition
from tensorwright.compat.tensorrt.plugins import PluginFactory, given_factory
from tensorwright.tensor.dtype import FLOAT32

UffInputOrder_kNCHW = UffInputOrder.NCHW
UffInputOrder_kNHWC = UffInputOrder.NHWC
UffInputOrder_kNC = UffInputOrder.NC

Source = bytes | bytearray | memoryview | str | os.PathLike[str]


class UffParser(Facade[ApiUffParser]):
    """Reads UFF models. What cannot be read is logged, and the answer is False."""

    register_input = forward("register_input")
    register_output = forward("register_output")

    def __init__(self) -> None:
        super().__init__(ApiUffParser())

    def parse(self, stream: Source, network: NetworkDefinition, dtype: object = FLOAT32) -> bool:
        """Read a model: bytes, as in the older interface, or the path of a file, as in the later ones."""
        if isinstance(stream, bytes | bytearray | memoryview):
            return self.parse_buffer(bytes(stream), network, dtype)
        return self.parse_from_file(stream, network, dtype)

    def parse_buffer(self, buffer: bytes, network: NetworkDefinition, dtype: object = FLOAT32) -> bool:
        """Read a model from bytes."""
        self.inner.logger = SHARED_LOGGER.adopt(None, "UffParser")
        return self.inner.parse_buffer(bytes(buffer), network.inner, dtype)

    def parse_from_file(
        self, file: str | os.PathLike[str], network: NetworkDefinition, dtype: object = FLOAT32
    ) -> bool:
        """Read a model from a file."""
        self.inner.logger = SHARED_LOGGER.adopt(None, "UffParser")
        return self.inner.parse(file, network.inner, dtype)

    def set_plugin_factory(self, factory: PluginFactory | None) -> None:
        """Ask a factory for the plugin of every custom node, by the node's name."""
        self.inner.plugin_factory = given_factory(factory)

    set_plugin_factory_ext = set_plugin_factory


def create_uff_parser() -> UffParser:
    """A parser."""
    return UffParser()


def shutdown_protobuf_library() -> None:
    """Nothing: there is nothing to shut down."""
