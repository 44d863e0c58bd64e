"""Pooling."""

from __future__ import annotations

from functools import reduce
from math import prod

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value
from tensorwright.importers.compose import LONGEST, iota
from tensorwright.importers.onnx.convolution import Ints, padding, per_axis
from tensorwright.importers.onnx.node import Node
from tensorwright.ops.indexing import Gather, GatherElements, ScatterElements
from tensorwright.ops.pooling import Mode, Pool
from tensorwright.ops.reduction import ArgReduction
from tensorwright.ops.shape import Pad
from tensorwright.tensor.dim import product
from tensorwright.tensor.dtype import INT64, DType
from tensorwright.tensor.type import Shape

Integers = npt.NDArray[np.int64]


def MaxPool(
    node: Node,
    x: Value,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    pads: Ints | None = None,
    storage_order: int = 0,
    strides: Ints | None = None,
) -> list[Value]:
    result = _pool(node, x, "max", auto_pad, bool(ceil_mode), dilations, kernel_shape, pads, strides)
    if not node.wants(1):
        return [result]
    rank = x.type.rank - 2
    strides, dilations = per_axis(node, "strides", strides, rank), per_axis(node, "dilations", dilations, rank)
    before, _ = padding(node, auto_pad, pads, x.type.shape[2:], kernel_shape, strides, dilations)
    counts = node.static(result.type.shape[2:], "the output of MaxPool with Indices")
    if prod(counts) * prod(kernel_shape) > LONGEST:
        node.fail(f"{prod(counts)} windows of {prod(kernel_shape)} elements; expected at most {LONGEST} in all")
    places = [
        np.add.outer(np.arange(count) * stride - low, np.arange(size) * dilation)
        for count, stride, low, size, dilation in zip(counts, strides, before, kernel_shape, dilations, strict=True)
    ]
    return [result, _indices(node, x, places, result.type.shape, bool(storage_order))]


def _indices(node: Node, x: Value, places: list[Integers], shape: Shape, column_major: bool) -> Value:
    """Where in the whole input the largest element of each window lies; `places` has windows × taps along each axis.

    Column-major indices count the spatial axes in reverse order.
    """
    spatial = node.static(x.type.shape[2:], "the input of MaxPool with Indices")
    grids = [_spread(place, axis, len(places)) for axis, place in enumerate(places)]
    inside = reduce(np.logical_and, [(grid >= 0) & (grid < n) for grid, n in zip(grids, spatial, strict=True)])
    clamped = [np.clip(grid, 0, n - 1) for grid, n in zip(grids, spatial, strict=True)]
    windows = prod(place.shape[0] for place in places)
    row_major = np.ravel_multi_index(np.broadcast_arrays(*clamped), spatial).reshape(windows, -1)
    named = np.ravel_multi_index(np.broadcast_arrays(*clamped), spatial, order="F") if column_major else row_major
    images = x.type.shape[0] * x.type.shape[1]
    taken = node.apply(Gather(1), node.reshape(x, (images, prod(spatial))), node.constant(row_major, INT64))
    outside = node.constant(_lowest(x.type.dtype), x.type.dtype)
    shown = node.select(node.constant(inside.reshape(row_major.shape)), taken, outside)
    first = node.apply(ArgReduction("max", 2, True, False), shown)
    table = node.constant(named.reshape(1, *row_major.shape), INT64)
    found = node.apply(GatherElements(2), node.expand(table, taken.type.shape), first)
    start = node.multiply(iota(node, images, 0, 3), node.constant(prod(spatial), INT64))
    return node.reshape(node.add(found, start), shape)


def _lowest(dtype: DType) -> float:
    if dtype.is_float:
        return -np.inf
    return 0 if dtype.kind == "unsigned" else -(2 ** (8 * dtype.size - 1))


def _spread(place: Integers, axis: int, rank: int) -> Integers:
    """Windows × taps of one axis, with the windows of all axes first and the taps of all axes after."""
    shape = [1] * (2 * rank)
    shape[axis], shape[rank + axis] = place.shape
    return place.reshape(shape)


def MaxUnpool(
    node: Node,
    x: Value,
    indices: Value,
    output_shape: Value | None = None,
    *,
    kernel_shape: Ints,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    """Puts elements back to where MaxPool took them from; 0 elsewhere. A wider output is filled up at the ends."""
    rank = x.type.rank - 2
    strides = per_axis(node, "strides", strides, rank)
    before, after = padding(node, "NOTSET", pads, x.type.shape[2:], kernel_shape, strides, (1,) * rank)
    spatial = tuple(
        (n - 1) * s - low - high + size
        for n, s, low, high, size in zip(x.type.shape[2:], strides, before, after, kernel_shape, strict=True)
    )
    shape = (*x.type.shape[:2], *spatial)
    empty = node.expand(node.constant(np.zeros(1), x.type.dtype), (product(shape),))
    flat = [node.reshape(value, (x.type.elements,)) for value in (indices, x)]
    result = node.reshape(node.apply(ScatterElements(0, "none"), empty, *flat), shape)
    if output_shape is None:
        return result
    wanted = node.dims(output_shape, "output_shape")
    missing = node.static([w - n for w, n in zip(wanted, shape, strict=True)], "output_shape")
    if not any(missing):
        return result
    return node.apply(Pad((0,) * len(shape), missing, "constant", 0.0), result)


def AveragePool(
    node: Node,
    x: Value,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    return _pool(
        node, x, "average", auto_pad, bool(ceil_mode), dilations, kernel_shape, pads, strides, bool(count_include_pad)
    )


def LpPool(
    node: Node,
    x: Value,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    p: int = 2,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    return _pool(node, x, "lp", auto_pad, bool(ceil_mode), dilations, kernel_shape, pads, strides, False, p)


def GlobalAveragePool(node: Node, x: Value) -> Value:
    return node.reduce("mean", x, range(2, x.type.rank))


def GlobalMaxPool(node: Node, x: Value) -> Value:
    return node.reduce("max", x, range(2, x.type.rank))


def GlobalLpPool(node: Node, x: Value, *, p: int = 2) -> Value:
    axes = range(2, x.type.rank)
    if p < 1:
        node.fail(f"p has to be at least 1, found {p}")
    if p in (1, 2):
        return node.reduce("l1" if p == 1 else "l2", x, axes)
    powers = node.binary("pow", node.unary("abs", x), node.scalar(p, x))
    return node.binary("pow", node.reduce("add", powers, axes), node.scalar(1 / p, x))


def _pool(
    node: Node,
    x: Value,
    mode: Mode,
    auto_pad: str,
    ceil_mode: bool,
    dilations: Ints | None,
    window: Ints,
    pads: Ints | None,
    strides: Ints | None,
    count_include_pad: bool = False,
    p: int = 2,
) -> Value:
    rank = x.type.rank - 2
    if not 1 <= rank <= 3:
        node.unsupported(f"1 to 3 spatial axes are supported, the input is {x.type}")
    if len(window) != rank:
        node.fail(f"kernel_shape {list(window)} does not fit the {rank} spatial axes of {x.type}")
    strides, dilations = per_axis(node, "strides", strides, rank), per_axis(node, "dilations", dilations, rank)
    before, after = padding(node, auto_pad, pads, x.type.shape[2:], window, strides, dilations)
    whole = ceil_mode and auto_pad in ("NOTSET", "")
    return node.apply(Pool(mode, tuple(window), strides, before, after, dilations, whole, count_include_pad, p), x)
