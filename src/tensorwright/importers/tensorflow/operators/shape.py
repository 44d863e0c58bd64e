"""Operators that move, repeat or drop elements."""

from __future__ import annotations

import numpy as np

from tensorwright.graph.graph import Value, is_constant
from tensorwright.importers.arrays import (
    Masks,
    batch_to_space,
    block,
    expanded,
    expect_parts,
    packed,
    padded,
    pairs_of,
    reshaped,
    space_to_batch,
    squeezed,
    strided_slice,
)
from tensorwright.importers.compose import element, joined, part, reversed_along
from tensorwright.importers.images import channels_first, channels_last, is_channels_last
from tensorwright.importers.tensorflow.dilation import dilated_convolution
from tensorwright.importers.tensorflow.node import Node
from tensorwright.ops import shape as ops
from tensorwright.ops.broadcast import broadcast_shapes
from tensorwright.tensor.dim import Dim, floor_divide

Ints = tuple[int, ...]


def Reshape(node: Node, x: Value, shape: Value) -> Value:
    return reshaped(node, x, node.dims(shape, "the target shape"))


def Squeeze(node: Node, x: Value, *, squeeze_dims: Ints = ()) -> Value:
    return squeezed(node, x, squeeze_dims)


def ExpandDims(node: Node, x: Value, axis: Value) -> Value:
    return expanded(node, x, _one(node, axis, "the axis"))


def Transpose(node: Node, x: Value, permutation: Value) -> Value:
    order = node.integers(permutation, "the permutation")
    return node.transpose(x, tuple(node.axis(axis, x.type.rank) for axis in order))


def ConcatV2(node: Node, *values_and_axis: Value) -> Value:
    *values, axis = values_and_axis
    return _concatenated(node, values, axis)


def Concat(node: Node, axis: Value, *values: Value) -> Value:
    return _concatenated(node, values, axis)


def _concatenated(node: Node, values: list[Value] | tuple[Value, ...], axis: Value) -> Value:
    if not values:
        node.fail("expected at least one tensor to concatenate")
    return joined(node, values, node.axis(_one(node, axis, "the axis"), values[0].type.rank))


def Pack(node: Node, first: Value, *others: Value, axis: int = 0) -> Value:
    return packed(node, (first, *others), axis)


def Unpack(node: Node, x: Value, *, num: int, axis: int = 0) -> list[Value]:
    expect_parts(node, num)
    own = node.axis(axis, x.type.rank)
    if x.type.shape[own] != num:
        node.fail(f"axis {own} of {x.type} has not extent {num}")
    return [element(node, x, own, index) for index in range(num)]


def Split(node: Node, axis: Value, x: Value, *, num_split: int) -> list[Value]:
    own = node.axis(_one(node, axis, "the axis"), x.type.rank)
    extent = x.type.shape[own]
    expect_parts(node, num_split)
    if num_split < 1 or extent % num_split != 0:
        node.fail(f"an axis of extent {extent} does not divide into {num_split} equal parts")
    size = floor_divide(extent, num_split)
    return [part(node, x, {own: (size * index, size)}) for index in range(num_split)]


def SplitV(node: Node, x: Value, sizes: Value, axis: Value, *, num_split: int) -> list[Value]:
    own = node.axis(_one(node, axis, "the axis"), x.type.rank)
    given = list(node.dims(sizes, "size_splits"))
    known: Dim = 0
    for size in given:
        known = known if size == -1 else known + size
    extents = [x.type.shape[own] - known if size == -1 else size for size in given]
    starts: list[Dim] = [0]
    for extent in extents:
        starts.append(starts[-1] + extent)
    if given.count(-1) > 1 or len(given) != num_split or starts[-1] != x.type.shape[own]:
        node.fail(f"sizes {given} do not divide an axis of extent {x.type.shape[own]} into {num_split} parts")
    return [part(node, x, {own: (start, extent)}) for start, extent in zip(starts, extents, strict=False)]


def Slice(node: Node, x: Value, begin: Value, size: Value) -> Value:
    return block(node, x, node.dims(begin, "begin"), node.dims(size, "size"))


def StridedSlice(
    node: Node,
    x: Value,
    begin: Value,
    end: Value,
    strides: Value,
    *,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> Value:
    masks = Masks(begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask)
    steps = node.integers(strides, "strides")
    return strided_slice(node, x, node.dims(begin, "begin"), node.dims(end, "end"), steps, masks)


def Tile(node: Node, x: Value, multiples: Value) -> Value:
    counts = node.dims(multiples, "multiples")
    if len(counts) != x.type.rank:
        node.fail(f"multiples has {len(counts)} numbers, the input is {x.type}")
    return x if all(count == 1 for count in counts) else node.apply(ops.Tile(counts), x)


def BroadcastTo(node: Node, x: Value, shape: Value) -> Value:
    return node.expand(x, broadcast_shapes([x.type.shape, node.dims(shape, "the target shape")]))


def Pad(node: Node, x: Value, paddings: Value) -> Value:
    return padded(node, x, pairs_of(node, paddings, "paddings"), "constant")


def PadV2(node: Node, x: Value, paddings: Value, filling: Value) -> Value:
    number = node.number(filling, "the constant value")
    return padded(
        node, x, pairs_of(node, paddings, "paddings"), "constant", number if x.type.dtype.is_float else int(number)
    )


def MirrorPad(node: Node, x: Value, paddings: Value, *, mode: str) -> Value:
    if mode not in ("REFLECT", "SYMMETRIC"):
        node.fail(f"mode must be REFLECT or SYMMETRIC, found {mode}")
    pairs = pairs_of(node, paddings, "paddings")
    return padded(node, x, pairs, "reflect" if mode == "REFLECT" else "symmetric")


def ReverseV2(node: Node, x: Value, axes: Value) -> Value:
    for axis in node.axes(node.integers(axes, "the axes"), x.type.rank):
        x = reversed_along(node, x, axis)
    return x


def SpaceToBatchND(node: Node, x: Value, block_shape: Value, paddings: Value) -> Value:
    return space_to_batch(node, x, node.integers(block_shape, "block_shape"), pairs_of(node, paddings, "paddings"))


def BatchToSpaceND(node: Node, x: Value, block_shape: Value, crops: Value) -> Value:
    blocks, margins = node.integers(block_shape, "block_shape"), pairs_of(node, crops, "crops")
    dilated = dilated_convolution(node, blocks, margins)
    return batch_to_space(node, x, blocks, margins) if dilated is None else dilated


def SpaceToDepth(node: Node, x: Value, *, block_size: int, data_format: str = "NHWC") -> Value:
    last = is_channels_last(node, data_format)
    n, h, w, c = (x if last else channels_last(node, x)).type.shape
    if block_size < 1 or h % block_size != 0 or w % block_size != 0:
        node.fail(f"the extents {h} and {w} are no multiples of the block {block_size}")
    rows, columns = floor_divide(h, block_size), floor_divide(w, block_size)
    image = x if last else channels_last(node, x)
    split = node.reshape(image, (n, rows, block_size, columns, block_size, c))
    result = node.reshape(node.transpose(split, (0, 1, 3, 2, 4, 5)), (n, rows, columns, c * block_size * block_size))
    return result if last else channels_first(node, result)


def DepthToSpace(node: Node, x: Value, *, block_size: int, data_format: str = "NHWC") -> Value:
    last = is_channels_last(node, data_format)
    image = x if last else channels_last(node, x)
    n, h, w, c = image.type.shape
    if block_size < 1 or c % (block_size * block_size) != 0:
        node.fail(f"the {c} channels are no multiple of the block {block_size} squared")
    deep = floor_divide(c, block_size * block_size)
    split = node.reshape(image, (n, h, w, block_size, block_size, deep))
    result = node.reshape(node.transpose(split, (0, 1, 3, 2, 4, 5)), (n, h * block_size, w * block_size, deep))
    return result if last else channels_first(node, result)


def Where(node: Node, condition: Value) -> Value:
    """The positions that are not zero: as many as there are, so they have to be known."""
    if not is_constant(condition):
        node.unsupported("the size of the result depends on data")
    return node.constant(np.argwhere(node.array(condition, "the condition")))


def _one(node: Node, value: Value, what: str) -> int:
    found = node.integers(value, what)
    if len(found) != 1:
        node.fail(f"{what} must be one number, found {list(found)}")
    return found[0]
