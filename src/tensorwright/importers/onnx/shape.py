"""Operators that move, repeat or drop elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from tensorwright.graph.graph import Value
from tensorwright.importers.arrays import reshaped
from tensorwright.importers.onnx.node import Node
from tensorwright.ops import shape as ops
from tensorwright.ops.broadcast import broadcast_shapes
from tensorwright.tensor.dim import Dim, bounds, ceil_divide, floor_divide, maximum, minimum, product
from tensorwright.tensor.dtype import BOOL

Ints = tuple[int, ...]

PAD_MODES: Mapping[str, ops.PadMode] = {mode: mode for mode in get_args(ops.PadMode)}


def Reshape(node: Node, x: Value, shape: Value, *, allowzero: int = 0) -> Value:
    target = list(node.dims(shape, "the target shape"))
    for axis, dim in enumerate(target):
        if dim == 0 and not allowzero:
            if axis >= x.type.rank:
                node.fail(f"shape {target} copies axis {axis} of {x.type}, which has none")
            target[axis] = x.type.shape[axis]
    return reshaped(node, x, target)


def Flatten(node: Node, x: Value, *, axis: int = 1) -> Value:
    split = axis + x.type.rank if axis < 0 else axis
    if not 0 <= split <= x.type.rank:
        node.fail(f"axis {axis} is outside of {x.type}")
    return node.reshape(x, (product(x.type.shape[:split]), product(x.type.shape[split:])))


def Squeeze(node: Node, x: Value, axes_value: Value | None = None, *, axes: Ints | None = None) -> Value:
    """Axes are an attribute up to opset 12, an input after."""
    given = axes if axes_value is None else node.integers(axes_value, "axes")
    if given is None:
        chosen = tuple(axis for axis, extent in enumerate(x.type.shape) if extent == 1)
    else:
        chosen = node.axes(given, x.type.rank)
    for axis in chosen:
        if not bounds(x.type.shape[axis])[0] <= 1 <= bounds(x.type.shape[axis])[1]:
            node.fail(f"axis {axis} of {x.type} has not extent 1")
    return node.reshape(x, [extent for axis, extent in enumerate(x.type.shape) if axis not in chosen])


def Unsqueeze(node: Node, x: Value, axes_value: Value | None = None, *, axes: Ints | None = None) -> Value:
    """Axes are an attribute up to opset 12, an input after; they count in the output."""
    given = axes if axes_value is None else node.integers(axes_value, "axes")
    if given is None:
        node.fail("axes are required, but absent")
    rank = x.type.rank + len(given)
    chosen, extents = node.axes(given, rank), iter(x.type.shape)
    return node.reshape(x, [1 if axis in chosen else next(extents) for axis in range(rank)])


def Transpose(node: Node, x: Value, *, perm: Ints | None = None) -> Value:
    order = tuple(reversed(range(x.type.rank))) if perm is None else tuple(perm)
    return node.transpose(x, order)


def Concat(node: Node, first: Value, *others: Value, axis: int = 1) -> Value:
    own = node.axis(axis, first.type.rank)
    return node.apply(ops.Concatenation(own), first, *others) if others else first


def Expand(node: Node, x: Value, shape: Value) -> Value:
    return node.expand(x, broadcast_shapes([x.type.shape, node.dims(shape, "the target shape")]))


def Tile(node: Node, x: Value, repeats: Value) -> Value:
    counts = node.dims(repeats, "repeats")
    if len(counts) != x.type.rank:
        node.fail(f"repeats has {len(counts)} numbers, the input is {x.type}")
    return x if all(count == 1 for count in counts) else node.apply(ops.Tile(counts), x)


def Slice(
    node: Node,
    x: Value,
    starts_value: Value | None = None,
    ends_value: Value | None = None,
    axes_value: Value | None = None,
    steps_value: Value | None = None,
    *,
    axes: Ints | None = None,
    ends: Ints | None = None,
    starts: Ints | None = None,
) -> Value:
    """Attributes up to opset 9, inputs after."""
    first = starts if starts_value is None else node.dims(starts_value, "starts")
    last = ends if ends_value is None else node.dims(ends_value, "ends")
    if first is None or last is None or len(first) != len(last):
        node.fail(f"starts and ends must be given and equally long, found {first} and {last}")
    given = axes if axes_value is None else node.integers(axes_value, "axes")
    chosen = [node.axis(axis, x.type.rank) for axis in (range(len(first)) if given is None else given)]
    strides = (1,) * len(chosen) if steps_value is None else node.integers(steps_value, "steps")
    if not len(chosen) == len(first) == len(strides):
        node.fail(f"starts {list(first)}, axes {chosen} and steps {list(strides)} must be equally long")
    begin: list[Dim] = [0] * x.type.rank
    extents, steps = list(x.type.shape), [1] * x.type.rank
    for axis, start, end, step in zip(chosen, first, last, strides, strict=True):
        if step == 0:
            node.fail(f"the step of axis {axis} is 0")
        begin[axis], extents[axis] = _range(node, x.type.shape[axis], start, end, step)
        steps[axis] = step
    if tuple(extents) == x.type.shape and all(step == 1 for step in steps):
        return x
    return node.apply(ops.Slice(tuple(begin), tuple(extents), tuple(steps)), x)


def _range(node: Node, extent: Dim, start: Dim, end: Dim, step: int) -> tuple[Dim, Dim]:
    """First index and number of indices of a Python-like slice of an axis."""
    first = start + extent if node.is_negative(start, "start") else start
    last = end + extent if node.is_negative(end, "end") else end
    if step > 0:
        first, last = _clamp(first, 0, extent), _clamp(last, 0, extent)
        return first, maximum(0, ceil_divide(last - first, step))
    first, last = _clamp(first, 0, extent - 1), _clamp(last, -1, extent - 1)
    return first, maximum(0, ceil_divide(first - last, -step))


def _clamp(value: Dim, low: Dim, high: Dim) -> Dim:
    return maximum(low, minimum(value, high))


def Split(
    node: Node,
    x: Value,
    sizes_value: Value | None = None,
    *,
    axis: int = 0,
    num_outputs: int | None = None,
    split: Ints | None = None,
) -> list[Value]:
    """Sizes are an attribute up to opset 12, an input after; else equal parts, from opset 18 on a smaller last one."""
    own, parts = node.axis(axis, x.type.rank), len(node.wanted)
    if num_outputs not in (None, parts):
        node.fail(f"num_outputs is {num_outputs}, but there are {parts} outputs")
    extent = x.type.shape[own]
    given: Sequence[Dim] | None = split if sizes_value is None else node.dims(sizes_value, "split")
    return split_along(node, x, own, equal_parts(node, extent, parts) if given is None else given)


def equal_parts(node: Node, extent: Dim, parts: int) -> list[Dim]:
    """The sizes of as equal parts as possible; only the last one may be smaller."""
    size = ceil_divide(extent, parts)
    last = extent - size * (parts - 1)
    if bounds(last)[0] < 0:
        node.unsupported(f"an axis of extent {extent} does not divide into {parts} parts")
    return [size] * (parts - 1) + [last]


def split_along(node: Node, x: Value, axis: int, sizes: Sequence[Dim]) -> list[Value]:
    """Consecutive parts of an axis."""
    total: Dim = 0
    results = []
    for size in sizes:
        starts = tuple(total if a == axis else 0 for a in range(x.type.rank))
        extents = tuple(size if a == axis else e for a, e in enumerate(x.type.shape))
        results.append(x if extents == x.type.shape else node.apply(ops.Slice(starts, extents, (1,) * x.type.rank), x))
        total = total + size
    if total != x.type.shape[axis]:
        node.fail(f"the parts {list(sizes)} do not add up to the extent {x.type.shape[axis]} of axis {axis}")
    return results


def Pad(
    node: Node,
    x: Value,
    pads_value: Value | None = None,
    constant: Value | None = None,
    axes_value: Value | None = None,
    *,
    mode: str = "constant",
    pads: Ints | None = None,
    value: float = 0.0,
) -> Value:
    """Amounts are an attribute up to opset 10, an input after."""
    given = pads if pads_value is None else node.dims(pads_value, "pads")
    axes = range(x.type.rank) if axes_value is None else node.integers(axes_value, "axes")
    chosen = [node.axis(axis, x.type.rank) for axis in axes]
    if given is None or len(given) != 2 * len(chosen):
        node.fail(f"pads must have two numbers for each of {len(chosen)} axes, found {given}")
    if mode not in PAD_MODES:
        node.fail(f"mode must be constant, reflect, edge or wrap, found {mode}")
    before, after = [0] * x.type.rank, [0] * x.type.rank
    amounts = node.static(given, "pads")
    for number, axis in enumerate(chosen):
        before[axis], after[axis] = amounts[number], amounts[number + len(chosen)]
    if not any(before) and not any(after):
        return x
    filling = value if constant is None else node.array(constant, "the constant_value").reshape(-1)[0].item()
    if x.type.dtype.is_integer or x.type.dtype == BOOL:
        filling = int(filling)
    return node.apply(ops.Pad(tuple(before), tuple(after), PAD_MODES[mode], filling), x)


def _image(node: Node, x: Value, blocksize: int) -> tuple[Dim, ...]:
    """The shape of an image that is divided into blocks."""
    if x.type.rank != 4:
        node.fail(f"expected an image of rank 4, found {x.type}")
    if blocksize < 1:
        node.fail(f"blocksize has to be at least 1, found {blocksize}")
    return x.type.shape


def DepthToSpace(node: Node, x: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    n, c, h, w = _image(node, x, blocksize)
    deep = floor_divide(c, blocksize * blocksize)
    if mode == "DCR":
        split = node.transpose(node.reshape(x, (n, blocksize, blocksize, deep, h, w)), (0, 3, 4, 1, 5, 2))
    else:
        split = node.transpose(node.reshape(x, (n, deep, blocksize, blocksize, h, w)), (0, 1, 4, 2, 5, 3))
    return node.reshape(split, (n, deep, h * blocksize, w * blocksize))


def SpaceToDepth(node: Node, x: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    n, c, h, w = _image(node, x, blocksize)
    rows, columns = floor_divide(h, blocksize), floor_divide(w, blocksize)
    split = node.reshape(x, (n, c, rows, blocksize, columns, blocksize))
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return node.reshape(node.transpose(split, order), (n, c * blocksize * blocksize, rows, columns))
