"""The parser of UFF models: fills a network definition, which stays editable."""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

from tensorwright.api.checks import as_integer, data_type, text
from tensorwright.api.dimensions import IMPLICIT_BATCH, open_symbol
from tensorwright.api.layers.plugin import PluginFunction, require_plugin, values_of
from tensorwright.api.logger import ILogger, Severity
from tensorwright.api.network import NetworkDefinition
from tensorwright.api.parsed import fill_and_mark, require_empty
from tensorwright.api.parser import Parser
from tensorwright.api.plugin import PluginFactory, plugin_from
from tensorwright.base.errors import ImportFailure, NetworkError
from tensorwright.graph.graph import Value
from tensorwright.tensor.dim import expression
from tensorwright.tensor.dtype import DTYPES, FLOAT32

if TYPE_CHECKING:
    from tensorwright.importers.custom import CustomNode
    from tensorwright.importers.uff.inputs import InputOrder, RegisteredInput


class UffInputOrder(IntEnum):
    """In which order the dimensions of an input, and its elements, are."""

    NCHW = 0
    NHWC = 1
    NC = 2


class UffParser(Parser):
    """Reads UFF models into an empty network.

    Register every input, with its dimensions but without the batch, and the outputs; then parse. Registered outputs
    become outputs of the network under their names; without any, those that the file marks. Every operator becomes a
    layer that can be edited.

    An image that is registered as CHW comes in as CHW, whatever layout the model was trained with, and outputs that are
    images come out so.

    plugin_factory: is asked for the plugin of every custom node, by the node's name; see `Plugin`.
    """

    plugin_factory: PluginFactory | None = None

    def __init__(self, logger: ILogger | None = None) -> None:
        super().__init__(logger)
        self._inputs: dict[str, RegisteredInput] = {}
        self._outputs: list[str] = []
        self._constants: dict[str, object] = {}
        self._plugins: dict[str, PluginFunction] = {}

    def register_input(self, name: str, dims: Iterable[object], order: object = UffInputOrder.NCHW) -> bool:
        """Say the dimensions of an input, without the batch. False if they are wrong: see `get_error`.

        Args:
            name: the name of the node.
            dims: ``(C, H, W)``, ``(H, W, C)`` or ``(C,)``.
            order: a `UffInputOrder` or its number: how dimensions and elements are ordered.
        """
        from tensorwright.importers.uff.inputs import RegisteredInput

        try:
            extents = tuple(_extent(extent) for extent in dims)
            self._inputs[text("name", name)] = RegisteredInput(extents, self._order(name, order, len(extents)))
        except (ImportFailure, NetworkError, TypeError) as error:
            self.fail(ImportFailure(f"register_input '{name}': {error}"))
            return False
        return True

    def register_output(self, name: str) -> bool:
        """Make a node an output of the network."""
        if name not in self._outputs:
            self._outputs.append(text("name", name))
        return True

    def register_constant(self, name: str, value: object) -> bool:
        """Put a number, a truth value or an array in place of an input that the engine shall not have."""
        self._constants[text("name", name)] = value
        return True

    def register_plugin(self, name: str, plugin: PluginFunction) -> None:
        """Give custom nodes ``_name`` a plugin, or a function of the node, that makes their output; see `Plugin`."""
        self._plugins[name.removeprefix("_")] = require_plugin("register_plugin", plugin)

    def parse(self, file: str | os.PathLike[str], network: NetworkDefinition, dtype: object = FLOAT32) -> bool:
        """Read a model from a file. False if it fails, for reasons that are logged; see `get_error`.

        Args:
            file: the path of the model.
            network: an empty network, which is filled.
            dtype: float32, or float16 for weights of that type; inputs and computation are float32.
        """
        return self._parse(file, network, dtype)

    def parse_buffer(self, buffer: bytes, network: NetworkDefinition, dtype: object = FLOAT32) -> bool:
        """As `parse`, from the bytes of a file."""
        return self._parse(bytes(buffer), network, dtype)

    def _parse(self, source: str | os.PathLike[str] | bytes, network: NetworkDefinition, dtype: object) -> bool:
        from tensorwright.importers.uff import read_network

        try:
            require_empty(network, "UffParser")
            batch = expression(open_symbol(IMPLICIT_BATCH))
            weights = data_type("dtype", dtype)
            imported = read_network(
                source,
                self._inputs,
                self._outputs,
                batch=batch,
                custom=self._custom,
                weights=weights,
                constants=self._constants,
            )
            fill_and_mark(network, imported.graph, imported.names)
        except (ImportFailure, NetworkError) as error:
            self.fail(error)
            return False
        return True

    def _custom(self, node: CustomNode) -> Value | None:
        plugin = None if self.plugin_factory is None else plugin_from(self.plugin_factory, node)
        plugin = plugin or self._plugins.get(node.operation)
        if plugin is None:
            return _operator_of_tensorflow(node)
        values = values_of(plugin, node)
        if len(values) > 1:
            raise NetworkError(f"the plugin made {len(values)} outputs; a node of UFF has one")
        return values[0]

    def _order(self, name: str, order: object, rank: int) -> InputOrder:
        number = as_integer(order)
        if number is None or number < 0:
            raise NetworkError(f"order: expected a UffInputOrder, found {order!r}")
        if number > UffInputOrder.NC or (number == UffInputOrder.NC and rank == 3):
            message = (
                f"register_input '{name}': order {number} does not go with {rank} dimensions, NCHW is taken; the third "
                "argument is the order, not the number of the input"
            )
            self.logger.log(Severity.WARNING, message)
            return "NCHW"
        return UffInputOrder(number).name  # type: ignore[return-value]


def _operator_of_tensorflow(node: CustomNode) -> Value | None:
    """The value of a node that the converter could only write as custom, but that TensorFlow's importer knows."""
    from tensorwright.importers.registry import handlers_in
    from tensorwright.importers.tensorflow.node import Node
    from tensorwright.importers.tensorflow.translate import OPERATORS

    handler = handlers_in(OPERATORS).get(node.operation)
    if handler is None:
        return None
    attributes = {name: _attribute(node.fields[name]) for name in handler.attributes & set(node.fields)}
    made = handler(Node(node.name, node.operation, (None,) * len(node.inputs)), node.inputs, attributes)
    first = made[0] if isinstance(made, list) else made
    return first if isinstance(first, Value) else None


def _attribute(field: object) -> object:
    """A field as an attribute: element types that UFF lacks are written by name."""
    return DTYPES[field] if isinstance(field, str) and field in DTYPES else field


def _extent(value: object) -> int:
    found = as_integer(value)
    if found is None:
        raise NetworkError(f"dims: expected integers, found {value!r}")
    return found
