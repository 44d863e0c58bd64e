"""Reductions over axes, positions of extremes, running sums, and the largest k."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.graph.graph import Value
from tensorwright.importers.compose import iota
from tensorwright.importers.onnx.node import Node
from tensorwright.ops.indexing import GatherElements, TopKIndices
from tensorwright.ops.reduction import ArgReduction, CumulativeSum, Function
from tensorwright.tensor.dim import Dim, bounds
from tensorwright.tensor.dtype import BOOL, UINT8

Ints = tuple[int, ...]


def ReduceSum(
    node: Node, x: Value, axes_value: Value | None = None, *,
    axes: Ints | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduce(node, "add", x, axes_value, axes, keepdims, noop_with_empty_axes)


def ReduceMean(
    node: Node, x: Value, axes_value: Value | None = None, *,
    axes: Ints | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduce(node, "mean", x, axes_value, axes, keepdims, noop_with_empty_axes)


def ReduceMax(
    node: Node, x: Value, axes_value: Value | None = None, *,
    axes: Ints | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduce(node, "max", x, axes_value, axes, keepdims, noop_with_empty_axes)


def ReduceMin(
    node: Node, x: Value, axes_value: Value | None = None, *,
    axes: Ints | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduce(node, "min", x, axes_value, axes, keepdims, noop_with_empty_axes)


def ReduceProd(
    node: Node, x: Value, axes_value: Value | None = None, *,
    axes: Ints | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduce(node, "mul", x, axes_value, axes, keepdims, noop_with_empty_axes)


def ReduceL1(
    node: Node, x: Value, axes_value: Value | None = None, *,
    axes: Ints | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduce(node, "l1", x, axes_value, axes, keepdims, noop_with_empty_axes)


def ReduceL2(
    node: Node, x: Value, axes_value: Value | None = None, *,
    axes: Ints | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduce(node, "l2", x, axes_value, axes, keepdims, noop_with_empty_axes)


def ReduceSumSquare(
    node: Node, x: Value, axes_value: Value | None = None, *,
    axes: Ints | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduce(node, "sum_square", x, axes_value, axes, keepdims, noop_with_empty_axes)


def ReduceLogSum(
    node: Node, x: Value, axes_value: Value | None = None, *,
    axes: Ints | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduce(node, "log_sum", x, axes_value, axes, keepdims, noop_with_empty_axes)


def ReduceLogSumExp(
    node: Node, x: Value, axes_value: Value | None = None, *,
    axes: Ints | None = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
) -> Value:  # fmt: skip
    return _reduce(node, "log_sum_exp", x, axes_value, axes, keepdims, noop_with_empty_axes)


def _reduce(
    node: Node, function: Function, x: Value, axes_value: Value | None, axes: Ints | None, keepdims: int, noop: int
) -> Value:
    given: Sequence[int] | None = axes if axes_value is None else node.integers(axes_value, "axes")
    if not given and noop:
        chosen: Ints = ()
    else:
        chosen = node.axes(given or tuple(range(x.type.rank)), x.type.rank)
    if not chosen and function in ("add", "mean", "max", "min", "mul"):
        return x
    if x.type.dtype == BOOL:
        return node.cast(node.reduce(function, node.cast(x, UINT8), chosen, bool(keepdims)), BOOL)
    return node.reduce(function, x, chosen, bool(keepdims))


def ArgMax(node: Node, x: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    own = node.axis(axis, x.type.rank)
    return node.apply(ArgReduction("max", own, bool(keepdims), bool(select_last_index)), x)


def ArgMin(node: Node, x: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    own = node.axis(axis, x.type.rank)
    return node.apply(ArgReduction("min", own, bool(keepdims), bool(select_last_index)), x)


def CumSum(node: Node, x: Value, axis: Value, *, exclusive: int = 0, reverse: int = 0) -> Value:
    own = node.axis(_one(node, axis, "axis"), x.type.rank)
    return node.apply(CumulativeSum(own, bool(exclusive), bool(reverse)), x)


def CumProd(node: Node, x: Value, axis: Value, *, exclusive: int = 0, reverse: int = 0) -> Value:
    """``y[i] = Π x[j]`` over j up to i: the product of a matrix that holds 1 wherever j is left out."""
    own, rank = node.axis(_one(node, axis, "axis"), x.type.rank), x.type.rank
    extent = x.type.shape[own]
    factor = node.reshape(x, (*x.type.shape[:own], 1, *x.type.shape[own:]))
    output, source = iota(node, extent, own, rank + 1), iota(node, extent, own + 1, rank + 1)
    first, second = (output, source) if reverse else (source, output)
    taken = node.binary("less" if exclusive else "less_equal", first, second)
    return node.reduce("mul", node.select(taken, factor, node.scalar(1, x)), (own + 1,), False)


def TopK(
    node: Node,
    x: Value,
    k_value: Value | None = None,
    *,
    axis: int = -1,
    k: int | None = None,
    largest: int = 1,
    sorted: int = 1,
) -> list[Value]:
    """`k` is an attribute up to opset 9, an input after. The result is always sorted."""
    given: Sequence[Dim] = (-1 if k is None else k,) if k_value is None else node.dims(k_value, "K")
    if len(given) != 1 or bounds(given[0])[0] < 0:
        node.fail(f"K must be a number from 0 on, found {list(given)}")
    (count,) = given
    own = node.axis(axis, x.type.rank)
    indices = node.apply(TopKIndices(count, own, bool(largest)), x)
    return [node.apply(GatherElements(own), x, indices), indices]


def _one(node: Node, value: Value, what: str) -> int:
    found = node.integers(value, what)
    if len(found) != 1:
        node.fail(f"{what} must be one number, found {list(found)}")
    return found[0]
