"""Convolutions and their transposes, with channels last and first."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from tensorflow_live.graph import IMAGE, SMALL, Feed, case

WINDOWS = ((1, 1), (3, 3), (2, 4), (5, 2))
STRIDES = ((1, 1), (2, 2), (2, 1), (3, 2))
GAPS = ((1, 1), (2, 2), (1, 3))
MARGINS = ("SAME", "VALID", ((0, 0), (2, 1), (0, 3), (0, 0)))


def text_of(padding: Any) -> str:
    return padding if isinstance(padding, str) else "EXPLICIT"


def channels_first(padding: Any) -> Any:
    return padding if isinstance(padding, str) else (padding[0], padding[3], padding[1], padding[2])


def convolutions(name: str, operator: Callable[..., Any], window: tuple[int, int], label: str, **options: Any) -> None:
    """An operator with channels last, as TensorFlow runs it, and with channels first, judged by that one."""

    @case(f"{name}-{label}-NHWC", IMAGE, tolerance=3e-5, **options)
    def last(net, x):
        return operator(net, x, window, "NHWC")

    def judge(net, x):
        return net.tf.transpose(operator(net, net.tf.transpose(x, (0, 2, 3, 1)), window, "NHWC"), (0, 3, 1, 2))

    @case(f"{name}-{label}-NCHW", Feed((2, 4, 9, 8)), judge=judge, tolerance=3e-5, **options)
    def first(net, x):
        return operator(net, x, window, "NCHW")


for _window, _stride, _gap, _margin in product(WINDOWS, STRIDES, GAPS, MARGINS):
    if (_window[1] - 1) * _gap[1] >= 8:
        continue
    _label = f"{_window}-{_stride}-{_gap}-{text_of(_margin)}".replace(" ", "")

    def _conv(net, x, window, form, stride=_stride, gap=_gap, margin=_margin):
        margins = margin if form == "NHWC" else channels_first(margin)
        return net.tf.nn.conv2d(x, net.variable(*window, 4, 5), stride, margins, form, gap)

    convolutions("Conv2D", _conv, _window, _label)
    if _stride[0] == _stride[1] and (_stride == (1, 1) or _gap == (1, 1)):

        def _depthwise(net, x, window, form, stride=_stride, gap=_gap, margin=_margin):
            margins = margin if form == "NHWC" else channels_first(margin)
            steps = (1, *stride, 1) if form == "NHWC" else (1, 1, *stride)
            kernel = net.variable(*window, 4, 1 + window[0] % 2)
            return net.tf.nn.depthwise_conv2d(x, kernel, steps, margins, form, gap)

        convolutions("DepthwiseConv2dNative", _depthwise, _window, _label)


@case("Conv2D-separable", IMAGE, tolerance=3e-5)
def _(net, x):
    depthwise, pointwise = net.variable(3, 3, 4, 2), net.variable(1, 1, 8, 5)
    return net.tf.nn.separable_conv2d(x, depthwise, pointwise, (1, 2, 2, 1), "SAME")


@case("Conv2D-groups", IMAGE, tolerance=3e-5)
def _(net, x):
    return net.tf.nn.conv2d(x, net.variable(3, 3, 2, 6), 1, "SAME")


@case("Conv1D", Feed((2, 9, 4)), tolerance=3e-5)
def _(net, x):
    tf, w = net.tf, net.variable(3, 4, 5)
    return [tf.nn.conv1d(x, w, 2, "SAME"), tf.nn.conv1d(x, w, 1, "VALID"), tf.nn.conv1d(x, w, 1, "SAME", dilations=2)]


@case("Conv3D", Feed((2, 5, 6, 7, 3)), tolerance=3e-5)
def _(net, x):
    return [net.tf.nn.conv3d(x, net.variable(2, 3, 3, 3, 4), (1, 1, 2, 2, 1), padding) for padding in ("SAME", "VALID")]


for _rate, _window, _margin in product(((2, 2), (3, 2), (1, 3)), ((3, 3), (2, 3)), ("SAME", "VALID")):
    for _operator in ("conv2d", "depthwise_conv2d"):

        @case(f"SpaceToBatch-{_operator}-{_rate}-{_window}-{_margin}".replace(" ", ""), IMAGE, tolerance=3e-5)
        def _(net, x, rate=_rate, window=_window, margin=_margin, operator=_operator):
            """As tf.nn.convolution wrote dilation before Conv2D had an attribute for it."""
            kernel = net.variable(*window, 4, 2)

            def inner(blocks, *_):
                return getattr(net.tf.compat.v1.nn, operator)(blocks, kernel, [1, 1, 1, 1], "VALID")

            with_blocks = net.tf.compat.v1.nn.with_space_to_batch
            return with_blocks(x, rate, margin, inner, filter_shape=np.array([*window, 4, 2]))


@case("SpaceToBatch-alone", Feed((2, 6, 8, 3)))
def _(net, x):
    tf = net.tf
    blocks = tf.space_to_batch(x, [2, 3], [[1, 1], [0, 1]])
    return [
        blocks, tf.batch_to_space(blocks, [2, 3], [[1, 0], [0, 1]]), tf.nn.space_to_depth(x, 2),
        tf.nn.depth_to_space(tf.nn.space_to_depth(x, 2), 2), tf.space_to_batch(x, [2], [[1, 1]]),
    ]  # fmt: skip


TRANSPOSED = (
    ((1, 1), (3, 3), "SAME", (5, 6)), ((2, 2), (3, 3), "SAME", (10, 12)), ((2, 2), (4, 4), "SAME", (9, 11)),
    ((2, 2), (3, 3), "VALID", (11, 13)), ((2, 2), (3, 2), "VALID", (12, 12)), ((3, 2), (2, 2), "VALID", (15, 12)),
    ((3, 2), (5, 3), "SAME", (14, 12)), ((1, 1), (4, 2), "VALID", (8, 7)), ((2, 2), (2, 2), "SAME", (10, 12)),
    ((1, 1), (3, 3), ((0, 0), (1, 1), (1, 1), (0, 0)), (5, 6)),
    ((2, 2), (3, 3), ((0, 0), (1, 0), (0, 1), (0, 0)), (10, 12)),
)  # fmt: skip
for _stride, _window, _margin, _extents in TRANSPOSED:
    _label = f"{_stride}-{_window}-{text_of(_margin)}-{_extents}".replace(" ", "")

    def _transposed(net, x, form, stride, window, margin, extents):
        tf, kernel = net.tf, net.variable(*window, 3, 4)
        steps = (1, *stride, 1) if form == "NHWC" else (1, 1, *stride)
        sizes = tf.stack([tf.shape(x)[0], *((*extents, 3) if form == "NHWC" else (3, *extents))])
        margins = margin if form == "NHWC" else channels_first(margin)
        if isinstance(margins, str):
            return tf.nn.conv2d_transpose(x, kernel, sizes, steps, margins, form)
        return tf.raw_ops.Conv2DBackpropInput(
            input_sizes=sizes, filter=kernel, out_backprop=x, strides=steps, padding="EXPLICIT", data_format=form,
            explicit_paddings=[number for pair in margins for number in pair],
        )  # fmt: skip

    @case(f"Conv2DBackpropInput-{_label}-NHWC", SMALL, tolerance=3e-5)
    def _(net, x, given=(_stride, _window, _margin, _extents), make=_transposed):
        return make(net, x, "NHWC", *given)

    def _judge(net, x, given=(_stride, _window, _margin, _extents), make=_transposed):
        return net.tf.transpose(make(net, net.tf.transpose(x, (0, 2, 3, 1)), "NHWC", *given), (0, 3, 1, 2))

    @case(f"Conv2DBackpropInput-{_label}-NCHW", Feed((2, 4, 5, 6)), judge=_judge, tolerance=3e-5)
    def _(net, x, given=(_stride, _window, _margin, _extents), make=_transposed):
        return make(net, x, "NCHW", *given)
