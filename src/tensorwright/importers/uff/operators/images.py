"""Operators on images. Fields `inputs_orders` say which axis of each input is which."""

from __future__ import annotations

from typing import Literal, cast

from tensorwright.graph.graph import Value
from tensorwright.importers import images
from tensorwright.importers.arrays import padded
from tensorwright.importers.images import Ints
from tensorwright.importers.uff.fields import Order, axes_of
from tensorwright.importers.uff.messages import INCREMENT
from tensorwright.importers.uff.node import Node

CHANNELS_LAST: Order = (0, 2, INCREMENT, 1)
KERNEL_LAST: Order = (2, INCREMENT, 1, 0)
DATA = (CHANNELS_LAST,)
DATA_AND_KERNEL = (CHANNELS_LAST, KERNEL_LAST)
ONES = (1, 1)


def Conv(
    node: Node,
    x: Value,
    kernel: Value,
    *,
    inputs_orders: tuple[Order, ...] = DATA_AND_KERNEL,
    number_groups: int = 1,
    dilation: Ints = (),
    strides: Ints = (),
    padding: Ints = (),
    implicit_padding: str = "",
) -> Value:
    """A kernel with as many channels as there are groups is one of TensorFlow's depthwise convolution."""
    last = is_last(node, inputs_orders, x.type.rank)
    weights = _windows_first(node, kernel, inputs_orders)
    steps, gaps, margins = _geometry(node, x, strides, dilation, padding, implicit_padding)
    channels = x.type.shape[-1 if last else 1]
    own = weights.type.shape[-2]
    if number_groups > 1 and own == number_groups == channels:
        return images.depthwise_convolution(node, x, weights, steps, margins, gaps, last)
    if own * number_groups != channels:
        node.fail(f"{number_groups} groups of the {own} channels of kernel {kernel.type} are not those of {x.type}")
    return images.convolution(node, x, weights, steps, margins, gaps, last)


def ConvolutionDepthwise(
    node: Node,
    x: Value,
    kernel: Value,
    *,
    inputs_orders: tuple[Order, ...] = DATA_AND_KERNEL,
    number_groups: int = 1,
    dilation: Ints = (),
    strides: Ints = (),
    padding: Ints = (),
    implicit_padding: str = "",
) -> Value:
    """A kernel ``[*window, C, M]`` makes M channels of each of the C; `number_groups` is C, or not said."""
    last = is_last(node, inputs_orders, x.type.rank)
    weights = _windows_first(node, kernel, inputs_orders)
    steps, gaps, margins = _geometry(node, x, strides, dilation, padding, implicit_padding)
    channels = x.type.shape[-1 if last else 1]
    if weights.type.shape[-2] != channels or number_groups not in (1, channels):
        node.fail(f"number_groups {number_groups} and kernel {kernel.type} do not fit the channels of {x.type}")
    return images.depthwise_convolution(node, x, weights, steps, margins, gaps, last)


def ConvTranspose(
    node: Node,
    x: Value,
    kernel: Value,
    sizes: Value | None = None,
    *,
    inputs_orders: tuple[Order, ...] = (CHANNELS_LAST, (2, INCREMENT, 0, 1)),
    number_groups: int = 1,
    dilation: Ints = (),
    strides: Ints = (),
    padding: Ints = (),
    implicit_padding: str = "",
) -> Value:
    """Without the third input, the shape of the output, the output is as long as the windows reach."""
    if number_groups != 1:
        node.unsupported(f"number_groups {number_groups}")
    last = is_last(node, inputs_orders, x.type.rank)
    weights = _windows_first(node, kernel, inputs_orders)
    swapped = node.transpose(weights, (*range(weights.type.rank - 2), weights.type.rank - 1, weights.type.rank - 2))
    steps, gaps, margins = _geometry(node, x, strides, dilation, padding, implicit_padding)
    spatial = x.type.shape[1:-1] if last else x.type.shape[2:]
    if sizes is not None:
        wanted = node.dims(sizes, "the output's shape")
        extents = wanted if len(wanted) == len(spatial) else wanted[1:-1] if last else wanted[2:]
    elif margins == "SAME":
        extents = tuple(extent * step for extent, step in zip(spatial, steps, strict=True))
    else:
        window = node.static(weights.type.shape[:-2], "the kernel's shape")
        pads = [0] * len(window) if isinstance(margins, str) else [before + after for before, after in margins]
        extents = tuple(
            (extent - 1) * step + (size - 1) * gap + 1 - pad
            for extent, step, size, gap, pad in zip(spatial, steps, window, gaps, pads, strict=True)
        )
    return images.deconvolution(node, x, swapped, extents, steps, margins, gaps, last)


def Pool(
    node: Node,
    x: Value,
    *,
    func: str,
    kernel: Ints,
    strides: Ints = (),
    padding: Ints = (),
    implicit_padding: str = "",
    inputs_orders: tuple[Order, ...] = DATA,
) -> Value:
    """`padding` stands for the zeros that a Pad put around the image before: they count like other elements."""
    if func not in ("max", "avg"):
        node.unsupported(f"func must be max or avg, found {func}")
    last = is_last(node, inputs_orders, x.type.rank)
    steps, _, margins = _geometry(node, x, strides, (), padding, implicit_padding)
    if not isinstance(margins, str):
        pairs = [(0, 0), *margins, (0, 0)] if last else [(0, 0), (0, 0), *margins]
        x, margins = padded(node, x, pairs, "constant"), "VALID"
    return images.pool(node, x, "max" if func == "max" else "average", kernel, steps, margins, last)


def LRN(
    node: Node,
    x: Value,
    *,
    window_size: int,
    alpha: float,
    beta: float,
    k: float,
    inputs_orders: tuple[Order, ...] = DATA,
) -> Value:
    """`window_size` is the number of channels at each side, as converters write TensorFlow's depth_radius."""
    last = is_last(node, inputs_orders, x.type.rank)
    return images.local_response_normalization(node, x, window_size, alpha, beta, k, last)


def BatchNorm(
    node: Node,
    x: Value,
    gamma: Value,
    beta: Value,
    mean: Value,
    variance: Value,
    *,
    epsilon: float,
    inputs_orders: tuple[Order, ...] = DATA,
) -> Value:
    """A mean and a variance without elements, as layers in training mode have them, stand for those of the batch."""
    last = is_last(node, inputs_orders, x.type.rank)
    if mean.type.elements == variance.type.elements == 0:
        mean, variance = images.statistics(node, x, last)
    return images.batch_normalization(node, x, gamma, beta, mean, variance, epsilon, last)


def is_last(node: Node, orders: tuple[Order, ...], rank: int) -> bool:
    """Whether the channels of the first input are its last axis."""
    if not orders:
        node.fail("inputs_orders is empty")
    axes = axes_of(orders[0], rank)
    if axes == (0, *range(2, rank), 1):
        return True
    if axes != tuple(range(rank)):
        node.unsupported(f"inputs_orders {list(orders[0])}: expected the channels first or last")
    return False


def _windows_first(node: Node, kernel: Value, orders: tuple[Order, ...]) -> Value:
    """A kernel as ``[*window, channels, outputs]``."""
    rank = kernel.type.rank
    order = orders[1] if len(orders) > 1 else KERNEL_LAST
    axes = axes_of(order, rank)
    return node.transpose(kernel, tuple(axes.index(axis) for axis in (*range(2, rank), 1, 0)))


def _geometry(
    node: Node, x: Value, strides: Ints, dilation: Ints, padding: Ints, implicit: str
) -> tuple[Ints, Ints, images.Padding]:
    count = x.type.rank - 2
    ones = (1,) * max(count, 0)
    if implicit.upper() not in ("", "SAME", "VALID"):
        node.unsupported(f"implicit_padding must be same or valid, found {implicit}")
    margins: images.Padding = cast("Literal['SAME', 'VALID']", implicit.upper() or "VALID")
    if margins == "VALID" and any(padding):
        if len(padding) not in (count, 2 * count):
            node.fail(f"padding has {len(padding)} numbers, the input {x.type} has {count} spatial axes")
        margins = tuple(zip(padding[:count], padding[-count:], strict=True))
    return strides or ones, dilation or ones, margins
