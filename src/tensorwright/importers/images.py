"""Operators on images in the layouts of TensorFlow: channels last (NHWC and the like) or first (NCHW).

Images are brought into the layout of tensorwright's operators, channels first, and back; where two such moves meet,
optimisation removes both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tensorwright.graph.graph import Value
from tensorwright.importers.composer import Composer
from tensorwright.ops import normalization
from tensorwright.ops.convolution import Convolution, Deconvolution
from tensorwright.ops.pooling import Mode, Pool
from tensorwright.ops.shape import Pad
from tensorwright.tensor.dim import Dim, ceil_divide, floor_divide, maximum
from tensorwright.tensor.dtype import FLOAT32

Ints = tuple[int, ...]
Padding = str | tuple[tuple[int, int], ...]
"""SAME, VALID, or elements before and after each spatial axis."""


def channels_first(node: Composer, x: Value) -> Value:
    """An image with its last axis moved behind the first."""
    rank = x.type.rank
    return node.transpose(x, (0, rank - 1, *range(1, rank - 1)))


def channels_last(node: Composer, x: Value) -> Value:
    """An image with its second axis moved to the end."""
    rank = x.type.rank
    return node.transpose(x, (0, *range(2, rank), 1))


def on_images(node: Composer, x: Value, last: bool, function: Callable[[Value], Value]) -> Value:
    """A function of images with channels first, applied to one with channels last if `last`."""
    if not 3 <= x.type.rank <= 5:
        node.unsupported(f"1 to 3 spatial axes are supported, the input is {x.type}")
    return channels_last(node, function(channels_first(node, x))) if last else function(x)


def padding_of(
    node: Composer, padding: Padding, extents: Sequence[Dim], window: Ints, strides: Ints, dilations: Ints
) -> tuple[Ints, Ints]:
    """Elements before and after each spatial axis.

    SAME makes the output ``ceil(extent / stride)`` long; an odd element goes to the end.
    """
    rank = len(window)
    if padding == "VALID":
        return (0,) * rank, (0,) * rank
    if isinstance(padding, str) and padding != "SAME":
        node.fail(f"padding must be SAME, VALID or EXPLICIT, found {padding}")
    if not isinstance(padding, str):
        if len(padding) != rank:
            node.fail(f"padding is given for {len(padding)} spatial axes, the input has {rank}")
        return tuple(before for before, _ in padding), tuple(after for _, after in padding)
    totals = []
    for extent, size, stride, dilation in zip(extents, window, strides, dilations, strict=True):
        total = maximum(0, (ceil_divide(extent, stride) - 1) * stride + (size - 1) * dilation + 1 - extent)
        if not isinstance(total, int):
            node.unsupported(
                f"padding SAME with stride {stride} on an axis of unknown extent {extent}; give the input's shape"
            )
        totals.append(total)
    return tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)


def convolution(
    node: Composer, x: Value, weights: Value, strides: Ints, padding: Padding, dilations: Ints, last: bool
) -> Value:
    """A convolution with kernels ``[*window, channels / groups, outputs]``."""
    x, padding = _without_pad(x, padding, last)

    def convolve(image: Value) -> Value:
        _expect_kernel(node, image, weights)
        kernels = node.transpose(weights, (weights.type.rank - 1, weights.type.rank - 2, *range(weights.type.rank - 2)))
        channels, own = node.static((image.type.shape[1], kernels.type.shape[1]), "the number of channels")
        if own == 0 or channels % own:
            node.fail(f"the input has {channels} channels, no multiple of the {own} of the kernels {weights.type}")
        return _convolved(node, image, kernels, strides, padding, dilations, channels // own)

    return on_images(node, x, last, convolve)


def depthwise_convolution(
    node: Composer, x: Value, weights: Value, strides: Ints, padding: Padding, dilations: Ints, last: bool
) -> Value:
    """A convolution of each channel for itself with kernels ``[*window, channels, multiplier]``."""
    x, padding = _without_pad(x, padding, last)

    def convolve(image: Value) -> Value:
        _expect_kernel(node, image, weights)
        kernels, channels = _per_channel(node, weights)
        if image.type.shape[1] != channels:
            node.fail(f"the input has {image.type.shape[1]} channels, the kernels {weights.type} are for {channels}")
        return _convolved(node, image, kernels, strides, padding, dilations, channels)

    return on_images(node, x, last, convolve)


def deconvolution(
    node: Composer,
    x: Value,
    weights: Value,
    extents: Sequence[Dim],
    strides: Ints,
    padding: Padding,
    dilations: Ints,
    last: bool,
) -> Value:
    """The transpose of a convolution of images of these extents with kernels ``[*window, outputs, channels]``."""

    def deconvolve(image: Value) -> Value:
        _expect_kernel(node, image, weights)
        kernels = node.transpose(weights, (weights.type.rank - 1, weights.type.rank - 2, *range(weights.type.rank - 2)))
        return _deconvolved(node, image, kernels, extents, strides, padding, dilations, 1)

    return on_images(node, x, last, deconvolve)


def depthwise_deconvolution(
    node: Composer,
    x: Value,
    weights: Value,
    extents: Sequence[Dim],
    strides: Ints,
    padding: Padding,
    dilations: Ints,
    last: bool,
) -> Value:
    """The transpose of a depthwise convolution with kernels ``[*window, channels, multiplier]``."""

    def deconvolve(image: Value) -> Value:
        _expect_kernel(node, image, weights)
        kernels, channels = _per_channel(node, weights)
        return _deconvolved(node, image, kernels, extents, strides, padding, dilations, channels)

    return on_images(node, x, last, deconvolve)


def pool(node: Composer, x: Value, mode: Mode, window: Ints, strides: Ints, padding: Padding, last: bool) -> Value:
    """Pooling; the mean is that of the elements inside the image."""

    def pooled(image: Value) -> Value:
        ones = (1,) * len(window)
        _expect_axes(node, image, window=window, strides=strides)
        before, after = padding_of(node, padding, image.type.shape[2:], window, strides, ones)
        return node.apply(Pool(mode, window, strides, before, after, ones), image)

    return on_images(node, x, last, pooled)


def batch_normalization(
    node: Composer, x: Value, scale: Value, bias: Value, mean: Value, variance: Value, epsilon: float, last: bool
) -> Value:
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias``, with one parameter per channel."""
    parameters = [node.cast(value, x.type.dtype) for value in (scale, bias, mean, variance)]

    def normalized(image: Value) -> Value:
        return node.apply(normalization.BatchNormalization(epsilon), image, *parameters)

    return on_images(node, x, last, normalized)


def statistics(node: Composer, x: Value, last: bool) -> tuple[Value, Value]:
    """Mean and variance of every channel, computed in float32: float32 of shape [C] each."""
    channel = x.type.rank - 1 if last else 1
    axes = [axis for axis in range(x.type.rank) if axis != channel]
    wide = node.cast(x, FLOAT32)
    centre = node.reduce("mean", wide, axes)
    difference = node.subtract(wide, centre)
    spread = node.reduce("mean", node.multiply(difference, difference), axes)
    shape = (x.type.shape[channel],)
    return node.reshape(centre, shape), node.reshape(spread, shape)


def local_response_normalization(
    node: Composer, x: Value, radius: int, alpha: float, beta: float, bias: float, last: bool
) -> Value:
    """``x / (bias + alpha * sum of squares over radius channels at each side)^beta``."""
    size = 2 * radius + 1
    operator = normalization.LocalResponseNormalization(size, alpha * size, beta, bias)
    return on_images(node, x, last, lambda image: node.apply(operator, image))


def add_bias(node: Composer, x: Value, bias: Value, last: bool) -> Value:
    """A vector added along the channels."""
    channels = x.type.rank - 1 if last or x.type.rank < 3 else 1
    if bias.type.rank != 1 or channels < 0 or bias.type.shape[0] != x.type.shape[channels]:
        node.fail(f"a bias must have one element per channel of {x.type}, found {bias.type}")
    return node.add(x, node.reshape(bias, (*bias.type.shape, *(1,) * (x.type.rank - 1 - channels))))


def is_channels_last(node: Composer, data_format: str) -> bool:
    """Whether a TensorFlow data format has the channels at the end."""
    formats = {"NHWC": True, "NDHWC": True, "NWC": True, "NCHW": False, "NCDHW": False, "NCW": False}
    if data_format not in formats:
        node.unsupported(f"data_format must be one of {', '.join(formats)}, found {data_format}")
    return formats[data_format]


def spatial(node: Composer, what: str, numbers: Sequence[int], last: bool) -> Ints:
    """The numbers for the spatial axes, of one for every axis; batch and channels must be left alone."""
    if len(numbers) < 3:
        node.fail(f"{what} must have one number for every axis, found {list(numbers)}")
    others = (numbers[0], numbers[-1] if last else numbers[1])
    if others != (1, 1):
        node.unsupported(f"{what} {list(numbers)} over batch or channels")
    return tuple(numbers[1:-1] if last else numbers[2:])


def explicit_padding(node: Composer, padding: str, explicit: Sequence[int], last: bool) -> Padding:
    """`padding` as an attribute, with the numbers that belong to EXPLICIT: two for every axis."""
    if padding != "EXPLICIT":
        return padding
    if len(explicit) < 6 or len(explicit) % 2:
        node.fail(f"explicit_paddings must have two numbers for every axis, found {list(explicit)}")
    pairs = [(explicit[i], explicit[i + 1]) for i in range(0, len(explicit), 2)]
    others = (pairs[0], pairs[-1] if last else pairs[1])
    if others != ((0, 0), (0, 0)):
        node.unsupported(f"explicit_paddings {list(explicit)} over batch or channels")
    return tuple(pairs[1:-1] if last else pairs[2:])


def _without_pad(x: Value, padding: Padding, last: bool) -> tuple[Value, Padding]:
    """The image before a Pad with zeros around it, whose margins become those of the convolution."""
    match x.op:
        case Pad(before=before, after=after, mode="constant", value=0) if padding == "VALID" and x.type.rank > 2:
            pairs = tuple(zip(before, after, strict=True))
            margins, others = (pairs[1:-1], (pairs[0], pairs[-1])) if last else (pairs[2:], pairs[:2])
            fits = others == ((0, 0), (0, 0)) and all(number >= 0 for pair in margins for number in pair)
            return (x.inputs[0], margins) if fits else (x, padding)
        case _:
            return x, padding


def _convolved(
    node: Composer, image: Value, kernels: Value, strides: Ints, padding: Padding, dilations: Ints, groups: int
) -> Value:
    window = node.static(kernels.type.shape[2:], "the kernels' shape")
    _expect_axes(node, image, strides=strides, dilations=dilations)
    before, after = padding_of(node, padding, image.type.shape[2:], window, strides, dilations)
    return node.apply(Convolution(strides, before, after, dilations, groups), image, kernels)


def _deconvolved(
    node: Composer,
    image: Value,
    kernels: Value,
    extents: Sequence[Dim],
    strides: Ints,
    padding: Padding,
    dilations: Ints,
    groups: int,
) -> Value:
    window = node.static(kernels.type.shape[2:], "the kernels' shape")
    _expect_axes(node, image, strides=strides, dilations=dilations, sizes=extents)
    before, after = padding_of(node, padding, extents, window, strides, dilations)
    extra = []
    spans = zip(image.type.shape[2:], extents, window, strides, dilations, before, after, strict=True)
    for extent, wanted, size, stride, dilation, first, last in spans:
        found = floor_divide(wanted + first + last - (size - 1) * dilation - 1, stride) + 1
        if found != extent:
            node.fail(f"output extents {list(extents)} do not lead to the input's, {list(image.type.shape[2:])}")
        extra.append(wanted - ((extent - 1) * stride + (size - 1) * dilation + 1 - first - last))
    added = node.static(extra, "the output's extent beyond the last window")
    return node.apply(Deconvolution(strides, before, after, dilations, groups, added), image, kernels)


def _per_channel(node: Composer, weights: Value) -> tuple[Value, int]:
    rank = weights.type.rank
    *window, channels, multiplier = node.static(weights.type.shape, "the kernels' shape")
    kernels = node.transpose(weights, (rank - 2, rank - 1, *range(rank - 2)))
    return node.reshape(kernels, (channels * multiplier, 1, *window)), channels


def _expect_kernel(node: Composer, image: Value, weights: Value) -> None:
    if weights.type.rank != image.type.rank:
        node.fail(f"kernels {weights.type} must have as many axes as the input {image.type}")


def _expect_axes(node: Composer, image: Value, **given: Sequence[Dim]) -> None:
    for what, numbers in given.items():
        if len(numbers) != image.type.rank - 2:
            node.fail(f"{what} has {len(numbers)} numbers, the input has {image.type.rank - 2} spatial axes")
