"""The parser of Caffe networks: fills a network definition, which stays editable."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tensorwright.api.checks import data_type
from tensorwright.api.definition import input_shape
from tensorwright.api.dimensions import IMPLICIT_BATCH, open_symbol
from tensorwright.api.layers.plugin import PluginFunction, require_plugin, values_of
from tensorwright.api.logger import ILogger, Severity
from tensorwright.api.network import NetworkDefinition
from tensorwright.api.parsed import fill, require_empty
from tensorwright.api.parser import Parser
from tensorwright.api.plugin import PluginFactory, plugin_from
from tensorwright.api.tensor import Tensor
from tensorwright.base.errors import ImportFailure, NetworkError
from tensorwright.tensor.dim import Dim, expression
from tensorwright.tensor.dtype import FLOAT32

if TYPE_CHECKING:
    from tensorwright.graph.graph import Value
    from tensorwright.importers.custom import CustomNode

File = str | os.PathLike[str]


class BlobNameToTensor(Mapping[str, Tensor]):
    """The tensors of a parsed network by the names of Caffe's blobs.

    A blob that several layers write, as in-place layers do, stands for what the last one of them wrote.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)

    def find(self, name: str) -> Tensor | None:
        """The tensor of a blob; None if there is no such blob."""
        return self._tensors.get(name)

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"BlobNameToTensor({', '.join(self._tensors)})"


class BinaryProtoBlob:
    """A mean image: `data` is float32 of shape N×C×H×W."""

    def __init__(self, data: npt.NDArray[np.float32]) -> None:
        self.data = data

    def get_data(self, count: int | None = None) -> npt.NDArray[np.float32]:
        """The first `count` elements in a row; all of them without a count."""
        return self.data.reshape(-1)[:count]

    def get_dimensions(self) -> tuple[int, ...]:
        """The extents N, C, H and W."""
        return self.data.shape


class CaffeParser(Parser):
    """Reads Caffe networks: a definition (prototxt) and a model (caffemodel).

    Every layer becomes operators that can be edited: `layer.set_input`, `layer.set_attribute`, weights of constant
    layers, further layers. No output is marked: mark what `find` of the returned mapping gives.

    In a network with implicit batch, the first extent that the definition gives its inputs is replaced by the batch; in
    one with explicit batch it stays.

    plugin_factory: is asked for the plugin of every layer, by its name, before the type is looked up; see `Plugin`.
    """

    item = "layer"
    plugin_factory: PluginFactory | None = None

    def __init__(self, logger: ILogger | None = None) -> None:
        super().__init__(logger)
        self._plugins: dict[str, PluginFunction] = {}

    def register_plugin(self, type: str, plugin: PluginFunction) -> None:
        """Give layers of a type a plugin that makes their tops; see `Plugin`."""
        self._plugins[type] = require_plugin("register_plugin", plugin)

    def parse(
        self,
        deploy: File,
        model: File | None,
        network: NetworkDefinition,
        dtype: object = FLOAT32,
        *,
        shapes: Mapping[str, Sequence[object]] | None = None,
    ) -> BlobNameToTensor | None:
        """Read a network from files. None if it fails, for reasons that are logged; see `get_error`.

        Args:
            deploy: the path of the definition, a prototxt file.
            model: the path of the weights, a caffemodel file; None for random weights, with a warning.
            network: an empty network, which is filled.
            dtype: float32, or float16 for weights of that type; inputs and computation are float32.
            shapes: shapes of inputs by name in place of those of the definition, as `network.add_input` takes them:
                the range of -1 is said later, by an optimization profile or `max_batch_size`.
        """
        return self._parse(deploy, model, network, dtype, shapes)

    def parse_buffers(
        self,
        deploy: bytes,
        model: bytes | None,
        network: NetworkDefinition,
        dtype: object = FLOAT32,
        *,
        shapes: Mapping[str, Sequence[object]] | None = None,
    ) -> BlobNameToTensor | None:
        """As `parse`, from the bytes of the files."""
        return self._parse(bytes(deploy), None if model is None else bytes(model), network, dtype, shapes)

    parse_buffer = parse_buffers

    def parse_binary_proto(self, file: File) -> BinaryProtoBlob | None:
        """Read a mean image from a binaryproto file. None if it fails, for reasons that are logged."""
        from tensorwright.importers.caffe import read_mean

        try:
            return BinaryProtoBlob(read_mean(file).data)
        except ImportFailure as error:
            self.fail(error)
            return None

    def _parse(
        self,
        deploy: File | bytes,
        model: File | bytes | None,
        network: NetworkDefinition,
        dtype: object,
        shapes: Mapping[str, Sequence[object]] | None,
    ) -> BlobNameToTensor | None:
        from tensorwright.importers.caffe import read_network

        try:
            require_empty(network, "CaffeParser")
            batch = expression(open_symbol(IMPLICIT_BATCH)) if network.has_implicit_batch_dimension else None
            given = {name: _shape(name, shape, batch) for name, shape in (shapes or {}).items()}
            imported = read_network(
                deploy, model, dtype=data_type("dtype", dtype), batch=batch, shapes=given, custom=self._custom
            )
            tensors = fill(network, imported.graph, imported.names)
        except (ImportFailure, NetworkError) as error:
            self.fail(error)
            return None
        for message in imported.warnings:
            self.logger.log(Severity.WARNING, message)
        if network.name == "network":
            network.name = imported.graph.name
        return BlobNameToTensor(tensors)

    def _custom(self, layer: CustomNode) -> Sequence[Value] | None:
        plugin = None if self.plugin_factory is None else plugin_from(self.plugin_factory, layer)
        plugin = plugin or self._plugins.get(layer.operation)
        return None if plugin is None else values_of(plugin, layer)


def _shape(name: str, shape: Sequence[object], batch: Dim | None) -> tuple[Dim, ...]:
    try:
        dims = input_shape(name, shape, batch is not None)
    except NetworkError as error:
        raise NetworkError(f"shapes, input '{name}': {error}") from None
    return dims if batch is None else (batch, *dims)
