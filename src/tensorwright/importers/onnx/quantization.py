"""Quantised tensors, as arithmetic: ``x ≈ (q - zero) · scale``."""

from __future__ import annotations

from tensorwright.graph.graph import Value, apply, is_constant, weights_in
from tensorwright.importers.onnx.convolution import Conv, Ints
from tensorwright.importers.onnx.matmul import MatMul
from tensorwright.importers.onnx.narrow import Narrow, clipped, narrowed, small_type
from tensorwright.importers.onnx.node import Node
from tensorwright.importers.onnx.tensors import dtype_from
from tensorwright.ops.activation import Clip
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.narrow import SMALL_FLOATS
from tensorwright.ops.quantization import Dequantize, Quantize
from tensorwright.tensor.dim import ceil_divide
from tensorwright.tensor.dtype import FLOAT32, UINT8, DType


def DequantizeLinear(
    node: Node,
    x: Value | Narrow,
    scale: Value | Narrow,
    zero: Value | Narrow | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Value:
    is_small_float = isinstance(x, Narrow) and x.dtype.name in SMALL_FLOATS
    x, scale, zero = _held(x), _held(scale), None if zero is None else _held(zero)
    dtype = dtype_from(output_dtype, "output_dtype") if output_dtype else scale.type.dtype
    factor = _aligned(node, node.cast(scale, FLOAT32), x, axis, block_size)
    zeros = [] if zero is None else [_aligned(node, zero, x, axis, block_size)]
    if x.type.dtype.is_integer:
        # Not computed here even for constants: a product wants the integers.
        return node.cast(apply(Dequantize(), x, factor, *zeros, name=node.name), dtype)
    wide = node.cast(x, FLOAT32)
    for one in zeros:
        if not is_constant(one) or weights_in(one).array.any():
            wide = node.subtract(wide, node.cast(one, FLOAT32))
    if is_small_float:  # As above: a product wants the numbers.
        return node.cast(apply(Binary("mul"), wide, factor, name=node.name), dtype)
    return node.cast(node.multiply(wide, factor), dtype)


def QuantizeLinear(
    node: Node,
    x: Value | Narrow,
    scale: Value | Narrow,
    zero: Value | Narrow | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Value | Narrow:
    small = zero.dtype if isinstance(zero, Narrow) else small_type(output_dtype)
    given, wide = None if zero is None else _held(zero), _held(x)
    if small is None:
        return quantised(node, wide, _held(scale), given, axis=axis, block_size=block_size, output_dtype=output_dtype)
    steps = _divided(node, wide, _held(scale), axis, block_size)
    if small.name in SMALL_FLOATS:
        return narrowed(node, steps, small, bool(saturate))
    return clipped(node, _whole(node, steps, given, wide, axis, block_size), small)


def quantised(
    node: Node,
    x: Value,
    scale: Value,
    zero: Value | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Value:
    """Quantisation to integers of 8 or 16 bits."""
    named = dtype_from(output_dtype, "output_dtype") if output_dtype else UINT8
    dtype = named if zero is None else zero.type.dtype
    if not dtype.is_integer or dtype.size > 2:
        node.unsupported(f"quantisation to {dtype} is not supported")
    steps = _aligned(node, node.cast(scale, FLOAT32), x, axis, block_size)
    zeros = [] if zero is None else [_aligned(node, zero, x, axis, block_size)]
    return node.apply(Quantize(dtype), node.cast(x, FLOAT32), steps, *zeros)


def _divided(node: Node, x: Value, scale: Value, axis: int, block_size: int) -> Value:
    return node.divide(node.cast(x, FLOAT32), _aligned(node, node.cast(scale, FLOAT32), x, axis, block_size))


def _whole(node: Node, steps: Value, zero: Value | None, x: Value, axis: int, block_size: int) -> Value:
    """Whole steps, counted from the zero point."""
    whole = node.unary("round", steps)
    if zero is None:
        return whole
    return node.add(whole, _aligned(node, node.cast(zero, FLOAT32), x, axis, block_size))


def _held(x: Value | Narrow) -> Value:
    return x.value if isinstance(x, Narrow) else x


def _saturated(node: Node, x: Value, dtype: DType) -> Value:
    bits = 8 * dtype.size
    low, high = (0, 2**bits - 1) if dtype.kind == "unsigned" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return node.cast(node.apply(Clip(float(low), float(high)), x), dtype)


def _aligned(node: Node, value: Value, x: Value, axis: int, block_size: int) -> Value:
    """Scales and zero points: one for all, one per index of an axis, or one per block of an axis."""
    if value.type.elements == 1 and value.type.rank <= 1:
        return node.reshape(value, ())
    own = node.axis(axis, x.type.rank)
    if value.type.rank == 1 and not block_size:
        return node.reshape(value, [value.type.shape[0] if a == own else 1 for a in range(x.type.rank)])
    if not block_size:
        node.fail(f"scale or zero point {value.type} needs block_size, or to be a vector")
    blocks, extent = value.type.shape[own], x.type.shape[own]
    if ceil_divide(extent, block_size) != blocks or blocks * block_size != extent:
        node.unsupported(f"blocks of {block_size} do not divide the extent {extent} of axis {own}")
    head, tail = value.type.shape[: own + 1], value.type.shape[own + 1 :]
    wide = node.expand(node.reshape(value, (*head, 1, *tail)), (*head, block_size, *tail))
    return node.reshape(wide, x.type.shape)


def DynamicQuantizeLinear(node: Node, x: Value) -> list[Value]:
    """Scale and zero point from the range of the data, which always includes 0; the result is uint8."""
    axes, none = tuple(range(x.type.rank)), node.scalar(0, x)
    low = node.binary("min", node.reduce("min", x, axes, False), none)
    high = node.binary("max", node.reduce("max", x, axes, False), none)
    scale = node.divide(node.subtract(high, low), node.scalar(255, x))
    zero = _saturated(node, node.unary("round", node.divide(node.subtract(none, low), scale)), UINT8)
    return [quantised(node, x, scale, zero), scale, zero]


def QLinearMatMul(
    node: Node,
    a: Value,
    a_scale: Value,
    a_zero: Value,
    b: Value,
    b_scale: Value,
    b_zero: Value,
    y_scale: Value,
    y_zero: Value,
) -> Value:
    rows, columns = max(0, a.type.rank - 2), b.type.rank - 1
    left = DequantizeLinear(node, a, a_scale, a_zero, axis=rows)
    right = DequantizeLinear(node, b, b_scale, b_zero, axis=columns)
    return quantised(node, MatMul(node, left, right), y_scale, y_zero, axis=rows)


def QLinearConv(
    node: Node,
    x: Value,
    x_scale: Value,
    x_zero: Value,
    w: Value,
    w_scale: Value,
    w_zero: Value,
    y_scale: Value,
    y_zero: Value,
    b: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    """The bias is int32 in steps of ``x_scale · w_scale``."""
    data = DequantizeLinear(node, x, x_scale, x_zero)
    weights = DequantizeLinear(node, w, w_scale, w_zero, axis=0)
    bias = None
    if b is not None:
        step = node.multiply(node.reshape(x_scale, ()), _aligned(node, w_scale, b, 0, 0))
        bias = node.multiply(node.cast(b, FLOAT32), step)
    result = Conv(
        node, data, weights, bias, auto_pad=auto_pad, dilations=dilations, group=group,
        kernel_shape=kernel_shape, pads=pads, strides=strides,
    )  # fmt: skip
    return quantised(node, result, y_scale, y_zero)
