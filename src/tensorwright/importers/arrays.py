"""Operators that move elements, as TensorFlow states them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tensorwright.graph.graph import Value
from tensorwright.importers.compose import stacked
from tensorwright.importers.composer import Composer
from tensorwright.ops import shape as ops
from tensorwright.ops.indexing import Gather
from tensorwright.tensor.dim import Dim, bounds, ceil_divide, floor_divide, maximum, minimum, product
from tensorwright.tensor.dtype import INT64

Pairs = Sequence[tuple[int, int]]

LONGEST_AXIS = 1 << 24
"""An axis whose positions are listed has at most so many; one of a damaged model may claim any number."""
MOST_PARTS = 1 << 14
"""Into so many parts a tensor may be divided."""


def reshaped(node: Composer, x: Value, target: Sequence[Dim]) -> Value:
    """The elements under another shape, in which one extent may be -1: what is left."""
    wanted = list(target)
    if wanted.count(-1) > 1:
        node.fail(f"shape {wanted} has more than one -1")
    if -1 in wanted:
        wanted[wanted.index(-1)] = _remaining(node, x, [dim for dim in wanted if dim != -1])
    return node.reshape(x, wanted)


def _remaining(node: Composer, x: Value, given: Sequence[Dim]) -> Dim:
    sources, targets = list(x.type.shape), []
    for dim in given:
        if dim in sources and dim != 0:
            sources.remove(dim)
        else:
            targets.append(dim)
    divisor, total = product(targets), product(sources)
    if bounds(divisor)[0] < 0 or divisor == 0:
        return 0 if divisor == 0 and 0 in x.type.shape else node.fail(f"{x.type} cannot be reshaped to {list(given)}")
    quotient = floor_divide(total, divisor)
    if isinstance(quotient, int) and quotient * divisor != total:
        node.fail(f"the elements of {x.type} cannot be divided among the extents {list(given)}")
    return quotient


def squeezed(node: Composer, x: Value, axes: Sequence[int]) -> Value:
    """The value without axes of extent 1; without all of them where none is named."""
    chosen = node.axes(axes, x.type.rank) or tuple(axis for axis, extent in enumerate(x.type.shape) if extent == 1)
    for axis in chosen:
        low, high = bounds(x.type.shape[axis])
        if not low <= 1 <= high:
            node.fail(f"axis {axis} of {x.type} has not extent 1")
    return node.reshape(x, [extent for axis, extent in enumerate(x.type.shape) if axis not in chosen])


def expanded(node: Composer, x: Value, axis: int) -> Value:
    """The value with an axis of extent 1 more."""
    own = node.axis(axis, x.type.rank + 1)
    return node.reshape(x, (*x.type.shape[:own], 1, *x.type.shape[own:]))


def expect_parts(node: Composer, count: int) -> None:
    """Refuse to divide a tensor into more parts than any real model does."""
    if not 0 <= count <= MOST_PARTS:
        node.fail(f"a tensor in {count} parts; expected at most {MOST_PARTS}: is the file damaged?")


def packed(node: Composer, values: Sequence[Value], axis: int) -> Value:
    """Tensors of one shape, one beside the other along a new axis."""
    different = [value.type for value in values if value.type != values[0].type]
    if different:
        node.fail(f"all inputs must have one type, found {values[0].type} and {different[0]}")
    return stacked(node, values, node.axis(axis, values[0].type.rank + 1))


def block(node: Composer, x: Value, starts: Sequence[Dim], sizes: Sequence[Dim]) -> Value:
    """A block of a tensor; size -1 takes all that is left."""
    if not len(starts) == len(sizes) == x.type.rank:
        node.fail(f"begin {list(starts)} and size {list(sizes)} must have one number per axis of {x.type}")
    extents = tuple(e - b if s == -1 else s for b, s, e in zip(starts, sizes, x.type.shape, strict=True))
    if extents == x.type.shape:
        return x
    return node.apply(ops.Slice(tuple(starts), extents, (1,) * x.type.rank), x)


@dataclass(frozen=True)
class Masks:
    """What the bits of the masks of a strided slice say of its entries, one entry a bit."""

    begin: int = 0
    end: int = 0
    ellipsis: int = 0
    new_axis: int = 0
    shrink: int = 0


def strided_slice(
    node: Composer, x: Value, first: Sequence[Dim], last: Sequence[Dim], steps: Sequence[int], masks: Masks
) -> Value:
    """A slice as Python writes it: each entry says start, end and step of an axis.

    Bits of the masks: *begin* and *end* leave that side open, *shrink* takes one index and drops the axis, *new_axis*
    adds an axis, *ellipsis* stands for all axes that are not named.
    """
    if not len(first) == len(last) == len(steps):
        node.fail(f"begin {list(first)}, end {list(last)} and strides {list(steps)} must be equally long")
    entries = _entries(node, x, len(first), masks)
    starts: list[Dim] = [0] * x.type.rank
    extents, strides, shape = list(x.type.shape), [1] * x.type.rank, list[Dim]()
    axis = 0
    for entry in entries:
        if entry is None:
            shape.append(extents[axis])
            axis += 1
        elif masks.new_axis >> entry & 1:
            shape.append(1)
        else:
            extent = x.type.shape[axis]
            if masks.shrink >> entry & 1:
                starts[axis], extents[axis] = _index(node, first[entry], extent), 1
            else:
                ends = (
                    None if masks.begin >> entry & 1 else first[entry],
                    None if masks.end >> entry & 1 else last[entry],
                )
                starts[axis], extents[axis] = _range(node, extent, *ends, steps[entry])
                strides[axis] = steps[entry]
                shape.append(extents[axis])
            axis += 1
    same = tuple(extents) == x.type.shape and all(step == 1 for step in strides)
    picked = x if same else node.apply(ops.Slice(tuple(starts), tuple(extents), tuple(strides)), x)
    return node.reshape(picked, shape)


def _entries(node: Composer, x: Value, count: int, masks: Masks) -> list[int | None]:
    """The entries in order, None for each axis that no entry names."""
    marked = [entry for entry in range(count) if masks.ellipsis >> entry & 1]
    if len(marked) > 1:
        node.fail("a strided slice may have one ellipsis")
    named = [entry for entry in range(count) if entry not in marked]
    open_axes = x.type.rank - sum(1 for entry in named if not masks.new_axis >> entry & 1)
    if open_axes < 0:
        node.fail(f"a strided slice names {x.type.rank - open_axes} axes, the input is {x.type}")
    at = marked[0] if marked else count
    before: list[int | None] = [entry for entry in named if entry < at]
    return [*before, *[None] * open_axes, *(entry for entry in named if entry > at)]


def _index(node: Composer, index: Dim, extent: Dim) -> Dim:
    chosen = index + extent if node.is_negative(index, "an index") else index
    if bounds(extent - 1 - chosen)[1] < 0 or bounds(chosen)[1] < 0:
        node.fail(f"index {index} is outside of an axis of extent {extent}")
    return chosen


def _range(node: Composer, extent: Dim, start: Dim | None, end: Dim | None, step: int) -> tuple[Dim, Dim]:
    """First index and number of indices of a slice of an axis; None for an open side."""
    if step == 0:
        node.fail("a stride of 0")
    if step > 0:
        first = 0 if start is None else _clamp(_counted(node, start, extent), 0, extent)
        last = extent if end is None else _clamp(_counted(node, end, extent), 0, extent)
        return first, maximum(0, ceil_divide(last - first, step))
    first = extent - 1 if start is None else _clamp(_counted(node, start, extent), -1, extent - 1)
    last = -1 if end is None else _clamp(_counted(node, end, extent), -1, extent - 1)
    return first, maximum(0, ceil_divide(first - last, -step))


def _counted(node: Composer, index: Dim, extent: Dim) -> Dim:
    return index + extent if node.is_negative(index, "a bound") else index


def _clamp(value: Dim, low: Dim, high: Dim) -> Dim:
    return maximum(low, minimum(value, high))


def pairs_of(node: Composer, value: Value, what: str) -> Pairs:
    """A constant matrix with two columns."""
    if value.type.rank != 2 or value.type.shape[1] != 2:
        node.fail(f"{what} must be a matrix with two columns, found {value.type}")
    numbers = node.integers(value, what)
    return [(numbers[i], numbers[i + 1]) for i in range(0, len(numbers), 2)]


def padded(
    node: Composer, x: Value, pairs: Pairs, mode: Literal["constant", "reflect", "symmetric"], value: float = 0
) -> Value:
    """Elements added before and after each axis; *symmetric* mirrors with, *reflect* without the last element."""
    if len(pairs) != x.type.rank:
        node.fail(f"paddings must have one row per axis of {x.type}, found {len(pairs)}")
    if any(number < 0 for pair in pairs for number in pair):
        node.fail(f"paddings must not be negative, found {list(pairs)}")
    if not any(number for pair in pairs for number in pair):
        return x
    if mode == "symmetric":
        return _mirrored(node, x, pairs)
    before, after = (tuple(pair[side] for pair in pairs) for side in (0, 1))
    return node.apply(ops.Pad(before, after, mode, value), x)


def _mirrored(node: Composer, x: Value, pairs: Pairs) -> Value:
    for axis, pair in enumerate(pairs):
        if pair == (0, 0):
            continue
        (extent,) = node.static(x.type.shape[axis : axis + 1], "an axis that is padded symmetrically")
        if extent + sum(pair) > LONGEST_AXIS:
            node.unsupported(f"an axis of {extent + sum(pair)} elements that is padded symmetrically")
        if max(pair) > extent:
            node.fail(f"axis {axis} of extent {extent} cannot be mirrored {max(pair)} elements far")
        positions = np.pad(np.arange(extent), pair, mode="symmetric")
        x = node.apply(Gather(axis), x, node.constant(positions, INT64))
    return x


def space_to_batch(node: Composer, x: Value, blocks: Sequence[int], pairs: Pairs) -> Value:
    """Blocks of the axes behind the first, their positions moved in front of the batch."""
    count = len(blocks)
    _expect_blocks(node, x, blocks, pairs)
    wide = padded(node, x, [(0, 0), *pairs, *[(0, 0)] * (x.type.rank - 1 - count)], "constant")
    batch, *extents = wide.type.shape
    split: list[Dim] = [batch]
    for extent, size in zip(extents, blocks, strict=False):
        if extent % size != 0:
            node.fail(f"a padded extent, {extent}, is no multiple of its block, {size}")
        split += [floor_divide(extent, size), size]
    rest = list(range(1 + 2 * count, 1 + 2 * count + len(extents) - count))
    order = [2 + 2 * i for i in range(count)] + [0] + [1 + 2 * i for i in range(count)] + rest
    parts = node.transpose(node.reshape(wide, [*split, *extents[count:]]), order)
    outer = [floor_divide(extent, size) for extent, size in zip(extents, blocks, strict=False)]
    return node.reshape(parts, [batch * product(blocks), *outer, *extents[count:]])


def batch_to_space(node: Composer, x: Value, blocks: Sequence[int], crops: Pairs) -> Value:
    """The inverse of `space_to_batch`, with elements cropped instead of padded."""
    count = len(blocks)
    _expect_blocks(node, x, blocks, crops)
    total, *extents = x.type.shape
    if total % product(blocks) != 0:
        node.fail(f"the batch of {x.type} is no multiple of the {product(blocks)} positions of a block")
    batch = floor_divide(total, product(blocks))
    parts = node.reshape(x, [*blocks, batch, *extents])
    order = [count]
    for axis in range(count):
        order += [count + 1 + axis, axis]
    order += range(2 * count + 1, parts.type.rank)
    wide = [extent * size for extent, size in zip(extents, blocks, strict=False)]
    joined = node.reshape(node.transpose(parts, order), [batch, *wide, *extents[count:]])
    starts = [0, *(before for before, _ in crops), *[0] * (len(extents) - count)]
    kept = [extent - before - after for extent, (before, after) in zip(wide, crops, strict=True)]
    return block(node, joined, starts, [batch, *kept, *extents[count:]])


def _expect_blocks(node: Composer, x: Value, blocks: Sequence[int], pairs: Pairs) -> None:
    if len(pairs) != len(blocks) or len(blocks) >= x.type.rank or min(blocks, default=1) < 1:
        node.fail(
            f"block {list(blocks)} and {list(pairs)} do not fit {x.type}: one number and one row per blocked axis"
        )
