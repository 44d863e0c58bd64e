"""Pooling."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.onnx.convolution import Ints, padding, per_axis
from tensorwright.importers.onnx.node import Node
from tensorwright.ops.pooling import Mode, Pool


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
) -> Value:
    if node.wants(1):
        node.unsupported("output Indices is not supported")
    return _pool(node, x, "max", auto_pad, bool(ceil_mode), dilations, kernel_shape, pads, strides)


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
