"""Operators that move, reduce or pick elements."""

from __future__ import annotations

from collections.abc import Mapping

from tensorwright.graph.graph import Value, constant_value
from tensorwright.importers import arrays
from tensorwright.importers.arrays import Masks, pairs_of
from tensorwright.importers.compose import joined
from tensorwright.importers.uff.fields import Order, weights_from
from tensorwright.importers.uff.node import Node
from tensorwright.ops.indexing import Gather as GatherOp
from tensorwright.ops.reduction import ArgReduction, Function
from tensorwright.tensor.dim import is_static, product
from tensorwright.tensor.dtype import INT32, INT64, DType

Ints = tuple[int, ...]
REDUCTIONS: Mapping[str, Function] = {"sum": "add", "prod": "mul", "max": "max", "min": "min", "mean": "mean"}


def Const(node: Node, *, values: bytes = b"", dtype: DType, shape: Ints = ()) -> Value:
    return constant_value(weights_from(values, dtype, shape), node.name)


def Reshape(node: Node, x: Value, shape: Value) -> Value:
    """A batch of 1 in the target, from a model that was frozen with that, stands for any batch."""
    target = list(node.dims(shape, "the target shape"))
    if target and target[0] == 1 and x.type.rank and not is_static(x.type.shape[0]):
        target[0] = x.type.shape[0]
    return arrays.reshaped(node, x, target)


def Flatten(node: Node, x: Value) -> Value:
    if x.type.rank < 1:
        node.fail("expected a batch, found a scalar")
    return node.reshape(x, (x.type.shape[0], product(x.type.shape[1:])))


def Shape(node: Node, x: Value) -> Value:
    return node.shape_value(x.type.shape, INT32)


def Squeeze(node: Node, x: Value, *, axes: Ints = ()) -> Value:
    return arrays.squeezed(node, x, axes)


def ExpandDims(node: Node, x: Value, *, axis: int) -> Value:
    return arrays.expanded(node, x, axis)


def Transpose(node: Node, x: Value, *, permutation: Ints, inputs_orders: tuple[Order, ...] = ()) -> Value:
    return node.transpose(x, tuple(node.axis(axis, x.type.rank) for axis in permutation))


def Concat(node: Node, first: Value, *others: Value, axis: int, inputs_orders: tuple[Order, ...] = ()) -> Value:
    return joined(node, (first, *others), node.axis(axis, first.type.rank))


def Stack(node: Node, first: Value, *others: Value, axis: int = 0) -> Value:
    return arrays.packed(node, (first, *others), axis)


def StridedSlice(
    node: Node,
    x: Value,
    begin: Value,
    end: Value,
    strides: Value,
    *,
    begin_mask: int = 0,
    end_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> Value:
    masks = Masks(begin_mask, end_mask, shrink=shrink_axis_mask)
    steps = node.integers(strides, "strides")
    return arrays.strided_slice(node, x, node.dims(begin, "begin"), node.dims(end, "end"), steps, masks)


def Pad(node: Node, x: Value, paddings: Value) -> Value:
    return arrays.padded(node, x, pairs_of(node, paddings, "paddings"), "constant")


def Reduce(node: Node, x: Value, *, func: str, axes: Ints, keepdims: bool = False) -> Value:
    if func not in REDUCTIONS:
        node.unsupported(f"func must be one of {', '.join(REDUCTIONS)}, found {func}")
    chosen = node.axes(axes, x.type.rank)
    return node.reduce(REDUCTIONS[func], x, chosen, keepdims) if chosen else x


def ArgMax(node: Node, x: Value, *, axis: int = 0) -> Value:
    return node.apply(ArgReduction("max", node.axis(axis, x.type.rank), False), x)


def ArgMin(node: Node, x: Value, *, axis: int = 0) -> Value:
    return node.apply(ArgReduction("min", node.axis(axis, x.type.rank), False), x)


def Gather(
    node: Node,
    x: Value,
    indices: Value,
    *,
    indices_dtype: DType = INT64,
    params_dtype: DType | None = None,
    validate_indices: bool = True,
) -> Value:
    return node.apply(GatherOp(0), x, indices)


def GatherV2(
    node: Node,
    x: Value,
    indices: Value,
    *,
    axis: int = 0,
    indices_dtype: DType = INT64,
    params_dtype: DType | None = None,
    validate_indices: bool = True,
) -> Value:
    return node.apply(GatherOp(node.axis(axis, x.type.rank)), x, indices)
