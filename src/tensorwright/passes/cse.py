"""Common subexpressions: what is computed twice is computed once."""

from __future__ import annotations

from collections.abc import Hashable

from tensorwright.graph.graph import Graph, Input, Value, is_constant, weights_in
from tensorwright.ops.elementwise import Binary
from tensorwright.passes.rewrite import Permit, graph_pass, replaced_where
from tensorwright.tensor.type import TensorType

COMMUTATIVE = frozenset(
    ("add", "mul", "max", "min", "equal", "and", "or", "xor", "bit_and", "bit_or", "bit_xor")
)  # fmt: skip


@graph_pass
def merge_common(graph: Graph, permit: Permit) -> Graph:
    """``f(x), f(x)`` → one ``f(x)``; constants of equal type and content are one constant. Inputs stay apart."""
    first: dict[Hashable, Value] = {}
    alike = _shared_types(graph)

    def visit(value: Value) -> Value | None:
        if isinstance(value.op, Input) or (is_constant(value) and value.type not in alike):
            return None
        return first.setdefault(_key(value), value)

    return replaced_where(graph, "merge", permit, visit)


def _shared_types(graph: Graph) -> frozenset[TensorType]:
    """Types that several constants have: only those constants need comparing, which reads them."""
    types = [value.type for value in graph.order() if is_constant(value)]
    seen: set[TensorType] = set()
    return frozenset(type for type in types if type in seen or seen.add(type))  # type: ignore[func-returns-value]


def _key(value: Value) -> Hashable:
    if is_constant(value):
        return weights_in(value)
    operands = list(value.inputs)
    if isinstance(value.op, Binary) and value.op.function in COMMUTATIVE:
        operands.sort(key=id)
    return type(value.op), value.op.attributes, tuple(operands)
