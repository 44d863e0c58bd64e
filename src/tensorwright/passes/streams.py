"""Residual streams: sums that pass through a network from layer to layer."""

from __future__ import annotations

from tensorwright.graph.graph import Graph, Value, is_constant
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.normalization import LayerNormalization


def residual_streams(graph: Graph) -> frozenset[Value]:
    """Sums of computed tensors that a layer normalisation reads, and the normalisations that read or feed one.

    What is rounded there is still so in the network's last layer; factors of a product are rounded for it alone.
    """
    normalised = [value for value in graph.order() if isinstance(value.op, LayerNormalization)]
    sums = {value.inputs[0] for value in normalised if _is_sum(value.inputs[0])}
    fed = {operand for value in sums for operand in value.inputs}
    return frozenset(sums).union(value for value in normalised if value in fed or value.inputs[0] in sums)


def _is_sum(value: Value) -> bool:
    return isinstance(value.op, Binary) and value.op.function == "add" and not any(map(is_constant, value.inputs))
