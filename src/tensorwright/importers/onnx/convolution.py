"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tensorwright.graph.graph import Value
from tensorwright.importers.onnx.node import Node
from tensorwright.ops.convolution import Convolution, Deconvolution
from tensorwright.tensor.dim import Dim, floor_divide
from tensorwright.tensor.dtype import INT32

Ints = tuple[int, ...]


def Conv(
    node: Node,
    x: Value,
    w: Value,
    b: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    window = _window(node, x, w, kernel_shape)
    rank = len(window)
    strides, dilations = per_axis(node, "strides", strides, rank), per_axis(node, "dilations", dilations, rank)
    before, after = padding(node, auto_pad, pads, x.type.shape[2:], window, strides, dilations)
    operator = Convolution(strides, before, after, dilations, group)
    return node.apply(operator, x, w) if b is None else node.apply(operator, x, w, b)


def ConvTranspose(
    node: Node,
    x: Value,
    w: Value,
    b: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    output_padding: Ints | None = None,
    output_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    window = _window(node, x, w, kernel_shape)
    rank = len(window)
    strides, dilations = per_axis(node, "strides", strides, rank), per_axis(node, "dilations", dilations, rank)
    extra = per_axis(node, "output_padding", output_padding, rank, 0)
    before, after = _both(node, pads, rank)
    if output_shape is not None or auto_pad.startswith("SAME"):
        extents = node.static(x.type.shape[2:], "the input of ConvTranspose with output_shape or SAME padding")
        grown = tuple(n * s for n, s in zip(extents, strides, strict=True))
        wanted = grown if output_shape is None else output_shape[-rank:]
        before, after, extra = _cropping(auto_pad, extents, wanted, window, strides, dilations, extra)
    operator = Deconvolution(strides, before, after, dilations, group, extra)
    return node.apply(operator, x, w) if b is None else node.apply(operator, x, w, b)


def ConvInteger(
    node: Node,
    x: Value,
    w: Value,
    x_zero_point: Value | None = None,
    w_zero_point: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    data, weights = node.cast(x, INT32), node.cast(w, INT32)
    if x_zero_point is not None:
        data = node.subtract(data, node.reshape(node.cast(x_zero_point, INT32), ()))
    if w_zero_point is not None:
        zero = node.cast(w_zero_point, INT32)
        shape = () if zero.type.elements == 1 else (zero.type.elements, *[1] * (w.type.rank - 1))
        weights = node.subtract(weights, node.reshape(zero, shape))
    return Conv(
        node, data, weights, auto_pad=auto_pad, dilations=dilations, group=group,
        kernel_shape=kernel_shape, pads=pads, strides=strides,
    )  # fmt: skip


def Col2Im(
    node: Node,
    x: Value,
    image_shape: Value,
    block_shape: Value,
    *,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    """Adds blocks up to images: the transpose of a convolution that copies each tap to a channel of its own."""
    image, window = node.integers(image_shape, "image_shape"), node.integers(block_shape, "block_shape")
    rank, taps = len(window), prod(window)
    strides, dilations = per_axis(node, "strides", strides, rank), per_axis(node, "dilations", dilations, rank)
    before, after = _both(node, pads, rank)
    blocks, extra = [], []
    for extent, size, stride, dilation, low, high in zip(image, window, strides, dilations, before, after, strict=True):
        room = extent + low + high - (size - 1) * dilation - 1
        blocks.append(room // stride + 1)
        extra.append(room % stride)
    channels = floor_divide(x.type.shape[1], taps)
    copies = node.constant(np.eye(taps).reshape(1, taps, 1, *window), x.type.dtype)
    weights = node.reshape(node.expand(copies, (channels, taps, 1, *window)), (channels * taps, 1, *window))
    images = node.reshape(x, (x.type.shape[0], channels * taps, *blocks))
    (groups,) = node.static([channels], "the number of channels")
    operator = Deconvolution(strides, before, after, dilations, groups, tuple(extra))
    return node.apply(operator, images, weights)


def per_axis(node: Node, what: str, given: Sequence[int] | None, rank: int, default: int = 1) -> Ints:
    """One number per spatial axis."""
    if given is None or len(given) == 0:
        return (default,) * rank
    if len(given) != rank:
        node.fail(f"{what} has {len(given)} numbers, the input has {rank} spatial axes")
    return tuple(given)


def padding(
    node: Node,
    auto_pad: str,
    pads: Sequence[int] | None,
    extents: Sequence[Dim],
    window: Ints,
    strides: Ints,
    dilations: Ints,
) -> tuple[Ints, Ints]:
    """Padding before and after each spatial axis; SAME makes the output ``ceil(input / stride)`` long."""
    rank = len(window)
    if auto_pad in ("NOTSET", ""):
        return _both(node, pads, rank)
    if auto_pad == "VALID":
        return (0,) * rank, (0,) * rank
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        node.fail(f"auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, found {auto_pad}")
    totals = []
    for extent, size, stride, dilation in zip(extents, window, strides, dilations, strict=True):
        reach = (size - 1) * dilation + 1
        if stride == 1:
            totals.append(reach - 1)
        elif isinstance(extent, int):
            totals.append(max(0, (-(-extent // stride) - 1) * stride + reach - extent))
        else:
            node.unsupported(f"auto_pad {auto_pad} with stride {stride} on an axis of symbolic extent {extent}")
    small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
    return (small, large) if auto_pad == "SAME_UPPER" else (large, small)


def _both(node: Node, pads: Sequence[int] | None, rank: int) -> tuple[Ints, Ints]:
    if pads is None or len(pads) == 0:
        return (0,) * rank, (0,) * rank
    if len(pads) != 2 * rank:
        node.fail(f"pads has {len(pads)} numbers, expected {2 * rank}: before and after each of {rank} spatial axes")
    return tuple(pads[:rank]), tuple(pads[rank:])


def _window(node: Node, x: Value, w: Value, kernel_shape: Ints | None) -> Ints:
    if not 3 <= x.type.rank <= 5:
        node.unsupported(f"1 to 3 spatial axes are supported, the input is {x.type}")
    if w.type.rank != x.type.rank:
        node.fail(f"input {x.type} and weights {w.type} must have the same rank")
    window = node.static(w.type.shape[2:], "the weights' shape")
    if kernel_shape is not None and tuple(kernel_shape) != window:
        node.fail(f"kernel_shape {list(kernel_shape)} contradicts weights {w.type}")
    return window


def _cropping(
    auto_pad: str, extents: Ints, wanted: Ints, window: Ints, strides: Ints, dilations: Ints, extra: Ints
) -> tuple[Ints, Ints, Ints]:
    before, after, added = [], [], []
    for n, out, size, s, d, e in zip(extents, wanted, window, strides, dilations, extra, strict=True):
        total = s * (n - 1) + e + (size - 1) * d + 1 - out
        added.append(e + max(0, -total))
        small, large = max(0, total) // 2, max(0, total) - max(0, total) // 2
        upper = auto_pad == "SAME_UPPER"
        before.append(small if upper else large)
        after.append(large if upper else small)
    return tuple(before), tuple(after), tuple(added)
