"""Convolutions and their transposes."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.images import (
    Ints,
    convolution,
    deconvolution,
    depthwise_convolution,
    depthwise_deconvolution,
    explicit_padding,
    is_channels_last,
    spatial,
)
from tensorwright.importers.tensorflow.node import Node
from tensorwright.tensor.dim import Dim

ONES = (1, 1, 1, 1)
FIVE_ONES = (1, 1, 1, 1, 1)


def Conv2D(
    node: Node,
    x: Value,
    filter: Value,
    *,
    strides: Ints,
    padding: str,
    explicit_paddings: Ints = (),
    data_format: str = "NHWC",
    dilations: Ints = ONES,
) -> Value:
    last = is_channels_last(node, data_format)
    margins = explicit_padding(node, padding, explicit_paddings, last)
    steps, gaps = spatial(node, "strides", strides, last), spatial(node, "dilations", dilations, last)
    return convolution(node, x, filter, steps, margins, gaps, last)


def Conv3D(
    node: Node,
    x: Value,
    filter: Value,
    *,
    strides: Ints,
    padding: str,
    data_format: str = "NDHWC",
    dilations: Ints = FIVE_ONES,
) -> Value:
    return Conv2D(
        node, x, filter, strides=strides, padding=padding, data_format=data_format, dilations=dilations
    )  # fmt: skip


def DepthwiseConv2dNative(
    node: Node,
    x: Value,
    filter: Value,
    *,
    strides: Ints,
    padding: str,
    explicit_paddings: Ints = (),
    data_format: str = "NHWC",
    dilations: Ints = ONES,
) -> Value:
    last = is_channels_last(node, data_format)
    margins = explicit_padding(node, padding, explicit_paddings, last)
    steps, gaps = spatial(node, "strides", strides, last), spatial(node, "dilations", dilations, last)
    return depthwise_convolution(node, x, filter, steps, margins, gaps, last)


def Conv2DBackpropInput(
    node: Node,
    input_sizes: Value,
    filter: Value,
    out_backprop: Value,
    *,
    strides: Ints,
    padding: str,
    explicit_paddings: Ints = (),
    data_format: str = "NHWC",
    dilations: Ints = ONES,
) -> Value:
    last = is_channels_last(node, data_format)
    margins = explicit_padding(node, padding, explicit_paddings, last)
    steps, gaps = spatial(node, "strides", strides, last), spatial(node, "dilations", dilations, last)
    extents = _extents(node, input_sizes, out_backprop, last)
    return deconvolution(node, out_backprop, filter, extents, steps, margins, gaps, last)


def Conv3DBackpropInputV2(
    node: Node,
    input_sizes: Value,
    filter: Value,
    out_backprop: Value,
    *,
    strides: Ints,
    padding: str,
    data_format: str = "NDHWC",
    dilations: Ints = FIVE_ONES,
) -> Value:
    return Conv2DBackpropInput(
        node, input_sizes, filter, out_backprop,
        strides=strides, padding=padding, data_format=data_format, dilations=dilations,
    )  # fmt: skip


def DepthwiseConv2dNativeBackpropInput(
    node: Node,
    input_sizes: Value,
    filter: Value,
    out_backprop: Value,
    *,
    strides: Ints,
    padding: str,
    explicit_paddings: Ints = (),
    data_format: str = "NHWC",
    dilations: Ints = ONES,
) -> Value:
    last = is_channels_last(node, data_format)
    margins = explicit_padding(node, padding, explicit_paddings, last)
    steps, gaps = spatial(node, "strides", strides, last), spatial(node, "dilations", dilations, last)
    extents = _extents(node, input_sizes, out_backprop, last)
    return depthwise_deconvolution(node, out_backprop, filter, extents, steps, margins, gaps, last)


def _extents(node: Node, input_sizes: Value, x: Value, last: bool) -> tuple[Dim, ...]:
    """The spatial extents of the output: all of its extents, or only these."""
    sizes = node.dims(input_sizes, "input_sizes")
    if len(sizes) == x.type.rank - 2:
        return sizes
    if len(sizes) != x.type.rank:
        node.fail(f"input_sizes must have one number per axis of {x.type}, found {list(sizes)}")
    return sizes[1:-1] if last else sizes[2:]
