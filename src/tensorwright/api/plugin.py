"""Plugins: operators that users make of layers, or of the operators of `tensorwright.ops`.

A plugin is anything that can be called with a `CustomNode`, which has the inputs as values, the fields and the weights,
and returns the outputs as values: ``lambda node: node.apply(Unary("neg"), *node.inputs)``. `Plugin` is one that is said
in layers. The same plugin serves `network.add_plugin`, `register_plugin` of the parsers, and plugin factories.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from tensorwright.api.enums import LayerType
from tensorwright.api.layer import Layer, Network
from tensorwright.api.tensor import Tensor
from tensorwright.api.weights import copied
from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import Value

if TYPE_CHECKING:
    from tensorwright.api.network import NetworkDefinition
    from tensorwright.importers.custom import CustomNode

PluginFunction = Callable[["CustomNode"], Value | Sequence[Value]]
"""Makes the outputs of a node from ``node.inputs``, ``node.fields`` and ``node.weights``."""

Made = Tensor | Layer | Sequence[Tensor]


class Plugin:
    """An operator made of layers; subclass it and say them in `add_layers`.

    counts_batch: whether shapes and axes in `add_layers` count the batch (explicit batch) or not (implicit batch).
    """

    counts_batch: ClassVar[bool] = True

    def add_layers(self, network: NetworkDefinition, inputs: Sequence[Tensor], node: CustomNode) -> Made:
        """Add layers to a network and return the outputs: a tensor, a layer with one output, or a list of tensors.

        Args:
            network: takes the layers; a network of its own, whose layers become part of the one with the plugin.
            inputs: the tensors that the plugin reads.
            node: the name, operation, fields and weights of what the plugin stands for.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement add_layers(network, inputs, node)")

    def __call__(self, node: CustomNode) -> Sequence[Value]:
        """The values of the outputs."""
        from tensorwright.api.network import NetworkDefinition

        network = NetworkDefinition(explicit_batch=self.counts_batch, name=node.name)
        inputs = [GivenLayer(network, f"{node.name}_input_{n}", value) for n, value in enumerate(node.inputs)]
        made = self.added(network, [layer.get_output() for layer in inputs], node)
        return [network.value_of(tensor) for tensor in _tensors(made, f"{type(self).__name__}.add_layers")]

    def added(self, network: NetworkDefinition, inputs: Sequence[Tensor], node: CustomNode) -> Made:
        """What `add_layers` returns; a place for other interfaces to translate between."""
        return self.add_layers(network, inputs, node)


class PluginFactory(Protocol):
    """Makes plugins for layers by their names."""

    def is_plugin(self, layer_name: str) -> bool:
        """Whether the factory makes the plugin of a layer."""
        ...

    def create_plugin(
        self, layer_name: str, weights: Sequence[object], fields: Mapping[str, object]
    ) -> PluginFunction | None:
        """The plugin of a layer. A factory that does not want the fields may leave that parameter out."""
        ...


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


def plugin_from(factory: PluginFactory, node: CustomNode) -> PluginFunction | None:
    """The plugin that a factory makes for a node; None where it makes none.

    Raises:
        NetworkError: it should, but what it returns is no plugin.
    """
    if not factory.is_plugin(node.name):
        return None
    made = with_accepted(factory.create_plugin, node.name, list(node.weights), dict(node.fields))
    return require_plugin(f"{type(factory).__name__}.create_plugin('{node.name}')", made)


def with_accepted(function: Callable[..., object], *arguments: object) -> object:
    """What a function returns for as many of some arguments as it takes."""
    return function(*arguments[: _accepted(function, len(arguments))])


def _accepted(function: Callable[..., object], most: int) -> int:
    """How many of some arguments a function takes."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return most
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return most
    return min(most, sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters))


def _tensors(made: object, call: str) -> list[Tensor]:
    listed = list(made) if isinstance(made, Sequence) else [made]
    tensors = [one.get_output(0) if isinstance(one, Layer) and one.num_outputs == 1 else one for one in listed]
    wrong = [type(one).__name__ for one in tensors if not isinstance(one, Tensor)]
    if wrong or not tensors:
        raise NetworkError(f"{call} returned {', '.join(wrong) or 'nothing'}; expected the tensor of each output")
    return [one for one in tensors if isinstance(one, Tensor)]


def _name_of(plugin: object) -> str:
    return getattr(plugin, "__name__", type(plugin).__name__)
