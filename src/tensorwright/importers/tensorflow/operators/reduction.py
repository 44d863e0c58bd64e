"""Reductions over axes, positions of extremes, running sums, and the largest k."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.tensorflow.node import Node
from tensorwright.ops.indexing import GatherElements, TopKIndices
from tensorwright.ops.reduction import ArgReduction, CumulativeSum, Function
from tensorwright.tensor.dtype import INT32, INT64, UINT8, DType


def Sum(node: Node, x: Value, axes: Value, *, keep_dims: bool = False) -> Value:
    return _reduce(node, "add", x, axes, keep_dims)


def Mean(node: Node, x: Value, axes: Value, *, keep_dims: bool = False) -> Value:
    return _reduce(node, "mean", x, axes, keep_dims)


def Prod(node: Node, x: Value, axes: Value, *, keep_dims: bool = False) -> Value:
    return _reduce(node, "mul", x, axes, keep_dims)


def Max(node: Node, x: Value, axes: Value, *, keep_dims: bool = False) -> Value:
    return _reduce(node, "max", x, axes, keep_dims)


def Min(node: Node, x: Value, axes: Value, *, keep_dims: bool = False) -> Value:
    return _reduce(node, "min", x, axes, keep_dims)


def EuclideanNorm(node: Node, x: Value, axes: Value, *, keep_dims: bool = False) -> Value:
    return _reduce(node, "l2", x, axes, keep_dims)


def All(node: Node, x: Value, axes: Value, *, keep_dims: bool = False) -> Value:
    return _of_bools(node, "min", x, axes, keep_dims)


def Any(node: Node, x: Value, axes: Value, *, keep_dims: bool = False) -> Value:
    return _of_bools(node, "max", x, axes, keep_dims)


def _reduce(node: Node, function: Function, x: Value, axes: Value, keep_dims: bool) -> Value:
    chosen = node.axes(node.integers(axes, "the axes"), x.type.rank)
    return node.reduce(function, x, chosen, keep_dims) if chosen else x


def _of_bools(node: Node, function: Function, x: Value, axes: Value, keep_dims: bool) -> Value:
    return node.cast(_reduce(node, function, node.cast(x, UINT8), axes, keep_dims), x.type.dtype)


def ArgMax(node: Node, x: Value, axis: Value | None = None, *, output_type: DType = INT64) -> Value:
    return node.cast(node.apply(ArgReduction("max", _axis(node, x, axis), False, False), x), output_type)


def ArgMin(node: Node, x: Value, axis: Value | None = None, *, output_type: DType = INT64) -> Value:
    return node.cast(node.apply(ArgReduction("min", _axis(node, x, axis), False, False), x), output_type)


def Cumsum(node: Node, x: Value, axis: Value, *, exclusive: bool = False, reverse: bool = False) -> Value:
    return node.apply(CumulativeSum(_axis(node, x, axis), exclusive, reverse), x)


def TopK(node: Node, x: Value, *, k: int, sorted: bool = True) -> list[Value]:
    return _top(node, x, k, INT32)


def TopKV2(node: Node, x: Value, k: Value, *, sorted: bool = True, index_type: DType = INT32) -> list[Value]:
    """Sorted in any case."""
    return _top(node, x, int(node.number(k, "k")), index_type)


def _top(node: Node, x: Value, k: int, dtype: DType) -> list[Value]:
    axis = node.axis(-1, x.type.rank)
    indices = node.apply(TopKIndices(k, axis), x)
    return [node.apply(GatherElements(axis), x, indices), node.cast(indices, dtype)]


def _axis(node: Node, x: Value, axis: Value | None) -> int:
    if axis is None:
        return 0
    found = node.integers(axis, "the axis")
    if len(found) != 1:
        node.fail(f"the axis must be one number, found {list(found)}")
    return node.axis(found[0], x.type.rank)
