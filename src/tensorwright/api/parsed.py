"""Puts an imported graph into a network definition, operator by operator, so that it can be edited."""

from __future__ import annotations

from collections.abc import Mapping

from tensorwright.api.definition import Definition
from tensorwright.api.layers.matmul import OperatorLayer, ParameterLayer
from tensorwright.api.network import NetworkDefinition
from tensorwright.api.tensor import Tensor
from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import Graph, Input, Value, is_constant, weights_in


def require_empty(network: NetworkDefinition, parser: str) -> None:
    """Refuse what a parser cannot fill.

    Raises:
        NetworkError: it is no network, or it holds inputs or layers already; names the parser.
    """
    if not isinstance(network, Definition):
        raise NetworkError(f"{parser}: expected a network, found {type(network).__name__}")
    if network.num_inputs or network.num_layers:
        raise NetworkError(
            f"{parser}: expected an empty network, found one with {network.num_layers} layers; parse first, then add "
            "further layers"
        )


def fill_and_mark(network: NetworkDefinition, graph: Graph, names: Mapping[str, Value]) -> None:
    """As `fill`, with the graph's outputs as the network's, and its name unless the network has one already."""
    outputs = dict(graph.outputs)
    inner = {name: value for name, value in names.items() if name not in outputs}
    tensors = fill(network, graph, inner | outputs)
    for name in outputs:
        tensor = tensors[name]
        if tensor.is_network_input or tensor.is_network_output:
            tensor = network.add_identity(tensor, name=name).get_output()
        tensor.name = name
        network.mark_output(tensor)
    if network.name == "network":
        network.name = graph.name


def fill(network: NetworkDefinition, graph: Graph, names: Mapping[str, Value]) -> dict[str, Tensor]:
    """Add inputs and operators of a graph. No output is marked.

    Args:
        network: an empty network. With implicit batch, the first dimension of the graph's inputs has to be its batch.
        graph: what to add; values in `names` are added even if no output needs them.
        names: what values are called.

    Returns:
        The tensors of the values in `names`, which have these names.
    """
    tensors: dict[Value, Tensor] = {}
    for name, value in graph.inputs:
        shape = value.type.shape[1:] if network.has_implicit_batch_dimension else value.type.shape
        tensors[value] = network.add_input(name, value.type.dtype, shape)
    everything = Graph(graph.inputs, (*graph.outputs, *names.items()), graph.name)
    for value in everything.order():
        if isinstance(value.op, Input):
            continue
        if is_constant(value):
            weights = weights_in(value)
            layer = ParameterLayer(network, value.name, weights.type.tuning_shape, weights)
            tensors[value] = network.add(layer).get_output()
        else:
            operands = [tensors[operand] for operand in value.inputs]
            tensors[value] = network.add(OperatorLayer(network, value.name, value.op, operands)).get_output()
    for name, value in names.items():
        if not tensors[value].is_network_input:
            tensors[value].name = name
    return {name: tensors[value] for name, value in names.items()}
