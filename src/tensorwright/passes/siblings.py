"""Products of one operand by several constants as one product."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from tensorwright.graph.graph import Graph, Value, apply, constant_value, is_constant, weights_in
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.shape import Reshape, Slice, Transpose
from tensorwright.passes.arithmetic import function_of
from tensorwright.passes.constants import along
from tensorwright.passes.rewrite import Permit, Uses, graph_pass, replaced_where
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32
from tensorwright.tensor.type import Shape
from tensorwright.tensor.weights import weights_of

_TYPES = (FLOAT16, BFLOAT16, FLOAT32)
"""Of which there is attention that reads parts of one tensor."""


@dataclass(frozen=True, eq=False)
class _Heads:
    """``Reshape(x · weights + bias)`` that parts the columns into `heads` of `size` elements."""

    value: Value
    x: Value
    weights: Value
    bias: np.ndarray
    heads: int

    @property
    def lead(self) -> Shape:
        return self.value.type.shape[:-2]

    @property
    def size(self) -> int:
        size = self.value.type.shape[-1]
        assert isinstance(size, int)
        return size


@graph_pass
def join_heads(graph: Graph, permit: Permit) -> Graph:
    """``Reshape(x · w + b) = Reshape(x · [w v …] + [b c …])[…, its heads, :]`` for products of one x whose
    heads are turned behind it: queries, keys and values, which attention reads where they lie.
    """
    uses = Uses(graph.uses())
    turned = {operand for value in graph.order() if isinstance(value.op, Transpose) for operand in value.inputs}
    groups = defaultdict[tuple[object, ...], list[_Heads]](list)
    for value in graph.order():
        part = _heads(value, uses) if value in turned else None
        if part is not None:
            groups[part.x, part.lead, part.size, value.type.dtype].append(part)
    siblings = {part.weights: group for group in groups.values() if len(group) > 1 for part in group}
    made: dict[tuple[Value, Value], Value] = {}

    def visit(value: Value) -> Value | None:
        part = _heads(value)
        if part is None or part.weights not in siblings:
            return None
        group = siblings[part.weights]
        whole = made.setdefault((group[0].weights, part.x), _joined(part.x, group))
        position = [other.weights for other in group].index(part.weights)
        first = sum(other.heads for other in group[:position])
        starts, extents = (*(0 for _ in part.lead), first, 0), (*part.lead, part.heads, part.size)
        return apply(Slice(starts, extents, (1,) * len(starts)), whole, name=value.name)

    return replaced_where(graph, "join_heads", permit, visit) if siblings else graph


def _joined(x: Value, group: list[_Heads]) -> Value:
    """All heads of a group, ``[*lead, heads, size]``."""
    weights = np.concatenate([weights_in(part.weights).array for part in group], axis=-1)
    bias = np.concatenate([part.bias for part in group]).astype(weights.dtype)
    product = apply(MatMul(), x, constant_value(weights_of(weights), group[0].weights.name), name=group[0].value.name)
    total = apply(Binary("add"), product, constant_value(weights_of(bias)), name=group[0].value.name)
    shape = (*group[0].lead, sum(part.heads for part in group), group[0].size)
    return apply(Reshape(shape), total, name=group[0].value.name)


def _heads(value: Value, uses: Uses | None = None) -> _Heads | None:
    """The heads that a value is. uses: to refuse those of which others read a part."""
    if not isinstance(value.op, Reshape) or value.type.rank < 3 or value.type.dtype not in _TYPES:
        return None
    (total,) = value.inputs
    if function_of(total) != "add" or not isinstance(total.inputs[0].op, MatMul):
        return None
    product, constant = total.inputs
    (x, weights), heads, size = product.inputs, *value.type.shape[-2:]
    assert isinstance(product.op, MatMul)
    if product.op.transpose_a or product.op.transpose_b or product.type != total.type:
        return None
    if not is_constant(weights) or weights.type.rank != 2:
        return None
    if uses is not None and not all(uses.once(part) for part in (value, total, product, weights)):
        return None
    bias = along(constant, total.type.shape, total.type.rank - 1)
    if bias is None or not (isinstance(heads, int) and isinstance(size, int)) or heads * size != total.type.shape[-1]:
        return None
    return _Heads(value, x, weights, bias, heads)
