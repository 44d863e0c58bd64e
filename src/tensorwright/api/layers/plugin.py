"""The layer that a plugin makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tensorwright.api.enums import LayerType
from tensorwright.api.layer import Layer, Network
from tensorwright.api.tensor import Tensor
from tensorwright.api.weights import copied
from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import Value

if TYPE_CHECKING:
    from tensorwright.importers.custom import CustomNode

PluginFunction = Callable[["CustomNode"], Value | Sequence[Value]]
"""Makes the outputs of a node from ``node.inputs``, ``node.fields`` and ``node.weights``."""


class PluginLayer(Layer):
    """What a plugin makes of some tensors."""

    type = LayerType.PLUGIN
    call = "add_plugin"

    def __init__(
        self,
        network: Network,
        name: str | None,
        inputs: Sequence[Tensor],
        plugin: PluginFunction,
        weights: Sequence[object] = (),
        fields: Mapping[str, object] | None = None,
    ) -> None:
        self.plugin = require_plugin("add_plugin", plugin)
        self.weights = tuple(copied(one).array for one in weights)
        self.fields = dict(fields or {})
        name = network.default_name(self.type) if name is None else name
        super().__init__(network, name, inputs)
        values = self._made([network.value_of(tensor) for tensor in self.inputs])
        self._outputs = tuple(Tensor(network, self, index) for index in range(len(values)))

    def lower(self, *inputs: Value) -> Sequence[Value]:
        values = self._made(inputs)
        if len(values) != self.num_outputs:
            raise NetworkError(
                f"the plugin made {self.num_outputs} outputs when it was added, now it makes {len(values)}"
            )
        return values

    def _made(self, inputs: Sequence[Value]) -> Sequence[Value]:
        from tensorwright.importers.custom import CustomNode

        node = CustomNode(self.name, _name_of(self.plugin), tuple(inputs), self.fields, self.weights)
        try:
            return values_of(self.plugin, node)
        except NetworkError as error:
            raise self.error(str(error)) from None


class GivenLayer(Layer):
    """Where a value from outside comes into a plugin's network; not counted among its layers."""

    type = LayerType.INPUT
    call = "input"
    is_input = True

    def __init__(self, network: Network, name: str, value: Value) -> None:
        super().__init__(network, name, ())
        self._value = value

    def lower(self, *inputs: Value) -> Sequence[Value]:
        return (self._value,)


def require_plugin(call: str, plugin: object) -> PluginFunction:
    """A plugin.

    Raises:
        NetworkError: it is none.
    """
    if not callable(plugin):
        raise NetworkError(
            f"{call}: expected a plugin, an object of a subclass of tensorwright.Plugin or a function of a node, found "
            f"{type(plugin).__name__}; plugins in machine code cannot be used"
        )
    return plugin


def values_of(plugin: PluginFunction, node: CustomNode) -> list[Value]:
    """The outputs that a plugin makes of a node.

    Raises:
        NetworkError: it makes something else.
    """
    made = plugin(node)
    values: list[object] = list(made) if isinstance(made, Sequence) else [made]
    if not values or not all(isinstance(value, Value) for value in values):
        found = ", ".join(type(value).__name__ for value in values) or "nothing"
        raise NetworkError(
            f"the plugin {_name_of(plugin)} for '{node.name}' returned {found}; expected the value of each output, "
            "as node.apply(op, *inputs) gives it"
        )
    return [value for value in values if isinstance(value, Value)]


def _name_of(plugin: object) -> str:
    return getattr(plugin, "__name__", type(plugin).__name__)
