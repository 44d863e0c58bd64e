"""Pooling."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.images import Ints, explicit_padding, is_channels_last, pool, spatial
from tensorwright.importers.tensorflow.node import Node
from tensorwright.ops.pooling import Mode


def MaxPool(
    node: Node,
    x: Value,
    *,
    ksize: Ints,
    strides: Ints,
    padding: str,
    explicit_paddings: Ints = (),
    data_format: str = "NHWC",
) -> Value:
    return _pool(node, x, "max", ksize, strides, padding, explicit_paddings, data_format)


def MaxPoolV2(node: Node, x: Value, ksize: Value, strides: Value, *, padding: str, data_format: str = "NHWC") -> Value:
    window, steps = node.integers(ksize, "ksize"), node.integers(strides, "strides")
    return _pool(node, x, "max", window, steps, padding, (), data_format)


def MaxPoolWithArgmax(
    node: Node, x: Value, *, ksize: Ints, strides: Ints, padding: str, include_batch_in_index: bool = False
) -> Value:
    return _pool(node, x, "max", ksize, strides, padding, (), "NHWC")


def MaxPool3D(node: Node, x: Value, *, ksize: Ints, strides: Ints, padding: str, data_format: str = "NDHWC") -> Value:
    return _pool(node, x, "max", ksize, strides, padding, (), data_format)


def AvgPool(node: Node, x: Value, *, ksize: Ints, strides: Ints, padding: str, data_format: str = "NHWC") -> Value:
    return _pool(node, x, "average", ksize, strides, padding, (), data_format)


def AvgPool3D(node: Node, x: Value, *, ksize: Ints, strides: Ints, padding: str, data_format: str = "NDHWC") -> Value:
    return _pool(node, x, "average", ksize, strides, padding, (), data_format)


def _pool(
    node: Node,
    x: Value,
    mode: Mode,
    ksize: Ints,
    strides: Ints,
    padding: str,
    explicit_paddings: Ints,
    data_format: str,
) -> Value:
    last = is_channels_last(node, data_format)
    margins = explicit_padding(node, padding, explicit_paddings, last)
    window, steps = spatial(node, "ksize", ksize, last), spatial(node, "strides", strides, last)
    return pool(node, x, mode, window, steps, margins, last)
