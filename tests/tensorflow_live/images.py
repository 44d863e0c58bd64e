"""Pooling, normalisation and resizing, and a Pad before anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

from tensorflow_live.convolutions import STRIDES, channels_first, convolutions, text_of
from tensorflow_live.graph import IMAGE, SMALL, Feed, case

POOLED = ("SAME", "VALID", ((0, 0), (1, 0), (0, 1), (0, 0)))
for _name, _window, _stride, _margin in product(("max", "avg"), ((2, 2), (3, 3), (2, 5)), STRIDES, POOLED):
    if _name == "max" or isinstance(_margin, str):

        def _pool(net, x, window, form, name=_name, stride=_stride, margin=_margin):
            sizes, steps = ((1, *pair, 1) if form == "NHWC" else (1, 1, *pair) for pair in (window, stride))
            explicit = (
                [n for pair in (margin if form == "NHWC" else channels_first(margin)) for n in pair]
                if text_of(margin) == "EXPLICIT"
                else []
            )
            if name == "max":
                return net.tf.raw_ops.MaxPool(input=x, ksize=sizes, strides=steps, padding=text_of(margin),
                                              explicit_paddings=explicit, data_format=form)  # fmt: skip
            return net.tf.raw_ops.AvgPool(value=x, ksize=sizes, strides=steps, padding=margin, data_format=form)

        convolutions(f"{_name}_pool", _pool, _window, f"{_window}-{_stride}-{text_of(_margin)}".replace(" ", ""))


@case("pool-dilated", IMAGE)
def _(net, x):
    tf = net.tf
    return [tf.nn.pool(x, [2, 2], kind, dilations=[2, 2], padding="VALID") for kind in ("MAX", "AVG")]


@case("pool-others", Feed((2, 5, 6, 7, 3)))
def _(net, x):
    tf = net.tf
    return [
        tf.nn.max_pool3d(x, (2, 3, 2), (2, 2, 1), "SAME"), tf.nn.avg_pool3d(x, (2, 3, 2), (2, 2, 1), "SAME"),
        tf.nn.max_pool_with_argmax(x[:, 0], 2, 2, "VALID")[0], tf.nn.max_pool1d(x[:, 0, 0], 3, 2, "SAME"),
        tf.nn.avg_pool1d(x[:, 0, 0], 2, 2, "VALID"),
    ]  # fmt: skip


for _name, _format, _epsilon in product(("", "V2", "V3"), ("NHWC", "NCHW"), (1e-4, 0.1)):
    for _training in (False, True):

        @case(
            f"FusedBatchNorm{_name}-{_format}-{_epsilon}-{_training}",
            (2, 5, 6, 4) if _format == "NHWC" else (2, 4, 5, 6),
            tolerance=3e-5,
        )
        def _(net, x, name=_name, form=_format, epsilon=_epsilon, training=_training):
            scale, offset, mean = net.variable(4), net.variable(4), net.variable(4)
            variance = net.variable(4, low=0.2, high=2)
            empty = net.tf.zeros([0])
            return getattr(net.tf.raw_ops, f"FusedBatchNorm{name}")(
                x=x, scale=scale, offset=offset, mean=empty if training else mean,
                variance=empty if training else variance, epsilon=epsilon, data_format=form, is_training=training,
            )[0]  # fmt: skip


@case("batch_normalization", SMALL, tolerance=3e-5)
def _(net, x):
    tf, variance = net.tf, net.variable(4, low=0.2, high=2)
    mean, offset, scale = net.variable(4), net.variable(4), net.variable(4)
    own = tf.nn.moments(x, [1, 2], keepdims=True)
    return [
        tf.nn.batch_normalization(x, mean, variance, offset, scale, 1e-3),
        tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3),
        tf.nn.batch_normalization(x, *own, offset, scale, 1e-5),
    ]  # fmt: skip


for _radius, _bias, _alpha, _beta in (
    (5, 1.0, 1.0, 0.5),
    (2, 2.0, 1e-2, 0.75),
    (1, 0.5, 0.3, 1.0),
    (9, 1.5, 0.1, 0.6),
    (0, 1.0, 2.0, 0.5),
):

    @case(f"LRN-{_radius}-{_bias}-{_alpha}-{_beta}", (2, 3, 4, 9))
    def _(net, x, given=(_radius, _bias, _alpha, _beta)):
        return net.tf.nn.local_response_normalization(x, *given)


for _name, _modes, _size in product(
    ("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic"),
    ({}, {"align_corners": True}, {"half_pixel_centers": True}),
    ((10, 12), (15, 18), (3, 4), (7, 3), (5, 6), (1, 1), (11, 2)),
):
    # TensorFlow rounds the weights of ResizeBicubic to a table of 1024 positions.
    @case(
        f"{_name}-{next(iter(_modes), 'legacy')}-{_size}", SMALL, tolerance=3e-3 if _name == "ResizeBicubic" else 2e-5
    )
    def _(net, x, name=_name, modes=_modes, size=_size):
        return getattr(net.tf.raw_ops, name)(images=x, size=size, **modes)


@case("resize-computed", SMALL)
def _(net, x):
    tf = net.tf
    size = tf.shape(x)[1:3] * 2
    return [
        tf.compat.v1.image.resize_bilinear(x, size),
        tf.compat.v1.image.resize_nearest_neighbor(x, size, half_pixel_centers=True),
        tf.image.resize(x, (9, 7)), tf.image.resize(x, (9, 7), "nearest"),
        tf.compat.v1.image.resize_bilinear(tf.cast(x * 9, tf.int32), (9, 7)),
    ]  # fmt: skip


BEHIND_PAD: Mapping[str, Callable[..., Any]] = {
    "conv": lambda net, x: net.tf.nn.conv2d(x, net.variable(3, 3, 4, 5), 2, "VALID"),
    "conv-same": lambda net, x: net.tf.nn.conv2d(x, net.variable(3, 3, 4, 5), 2, "SAME"),
    "depthwise": lambda net, x: net.tf.nn.depthwise_conv2d(x, net.variable(3, 3, 4, 1), (1, 1, 1, 1), "VALID"),
    "transposed": lambda net, x: net.tf.nn.conv2d_transpose(
        x, net.variable(3, 3, 2, 4), [net.tf.shape(x)[0], 24, 22, 2], 2, "SAME"
    ),
    "max": lambda net, x: net.tf.nn.max_pool2d(x, 3, 2, "VALID"),
    "avg": lambda net, x: net.tf.nn.avg_pool2d(x, 3, 2, "VALID"),
    "relu": lambda net, x: net.tf.nn.relu(x + 0.5),
    "mean": lambda net, x: net.tf.reduce_mean(x, (1, 2)),
    "matmul": lambda net, x: net.tf.matmul(net.tf.reshape(x, (-1, 12 * 11 * 4)), net.variable(528, 3)),
    "concat": lambda net, x: net.tf.concat([x, x], 3),
    "pad": lambda net, x: net.tf.pad(x, [[0, 0], [0, 1], [1, 0], [0, 0]]),
    "nothing": lambda net, x: net.tf.identity(x),
}
for _label, _make in BEHIND_PAD.items():

    @case(f"Pad-before-{_label}", IMAGE, tolerance=3e-5)
    def _(net, x, make=_make):
        return make(net, net.tf.pad(x, [[0, 0], [2, 1], [0, 3], [0, 0]]))
