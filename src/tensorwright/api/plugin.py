"""Plugins: operators that users make of layers, or of the operators of `tensorwright.ops`.

A plugin is anything that can be called with a `CustomNode`, which has the inputs as values, the fields and the weights,
and returns the outputs as values: ``lambda node: node.apply(Unary("neg"), *node.inputs)``. `Plugin` is one that is said
in layers. The same plugin serves `network.add_plugin`, `register_plugin` of the parsers, and plugin factories.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from tensorwright.api.layer import Layer
from tensorwright.api.layers.plugin import GivenLayer, PluginFunction, require_plugin
from tensorwright.api.network import NetworkDefinition
from tensorwright.api.tensor import Tensor
from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import Value

if TYPE_CHECKING:
    from tensorwright.importers.custom import CustomNode

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
