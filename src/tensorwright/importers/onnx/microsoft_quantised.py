"""Quantised operators that ONNX Runtime's quantisers write (domain com.microsoft), as arithmetic.

Their meaning: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value
from tensorwright.importers.compose import joined
from tensorwright.importers.onnx import pooling, quantization
from tensorwright.importers.onnx.convolution import Ints
from tensorwright.importers.onnx.matmul import MatMul, MatMulInteger
from tensorwright.importers.onnx.node import Node
from tensorwright.ops import activation
from tensorwright.ops.blocks import BITS, BlockMatMul
from tensorwright.ops.matmul import MatMul as MatMulOp
from tensorwright.ops.normalization import Softmax
from tensorwright.tensor.dtype import FLOAT32, UINT8

DOMAIN = "com.microsoft"


def QuantizeLinear(node: Node, x: Value, scale: Value, zero: Value | None = None, *, axis: int = 1) -> Value:
    return quantization.quantised(node, x, scale, zero, axis=axis)


def DequantizeLinear(node: Node, x: Value, scale: Value, zero: Value | None = None, *, axis: int = 1) -> Value:
    return quantization.DequantizeLinear(node, x, scale, zero, axis=axis)


def QLinearAdd(
    node: Node,
    a: Value,
    a_scale: Value,
    a_zero: Value | None,
    b: Value,
    b_scale: Value,
    b_zero: Value | None,
    y_scale: Value,
    y_zero: Value | None = None,
) -> Value:
    left, right = _real(node, a, a_scale, a_zero), _real(node, b, b_scale, b_zero)
    return _steps(node, node.add(left, right), y_scale, y_zero, a)


def QLinearMul(
    node: Node,
    a: Value,
    a_scale: Value,
    a_zero: Value | None,
    b: Value,
    b_scale: Value,
    b_zero: Value | None,
    y_scale: Value,
    y_zero: Value | None = None,
) -> Value:
    left, right = _real(node, a, a_scale, a_zero), _real(node, b, b_scale, b_zero)
    return _steps(node, node.multiply(left, right), y_scale, y_zero, a)


def QLinearSigmoid(
    node: Node, x: Value, x_scale: Value, x_zero: Value | None, y_scale: Value, y_zero: Value | None = None
) -> Value:
    return _steps(node, node.apply(activation.Sigmoid(), _real(node, x, x_scale, x_zero)), y_scale, y_zero, x)


def QLinearLeakyRelu(
    node: Node,
    x: Value,
    x_scale: Value,
    x_zero: Value | None,
    y_scale: Value,
    y_zero: Value | None = None,
    *,
    alpha: float = 0.01,
) -> Value:
    return _steps(node, node.apply(activation.LeakyRelu(alpha), _real(node, x, x_scale, x_zero)), y_scale, y_zero, x)


def QLinearSoftmax(
    node: Node,
    x: Value,
    x_scale: Value,
    x_zero: Value | None,
    y_scale: Value,
    y_zero: Value,
    *,
    axis: int = -1,
    opset: int = 13,
) -> Value:
    if opset < 13:
        node.unsupported("the softmax over all axes of opsets before 13")
    result = node.apply(Softmax(node.axis(axis, x.type.rank)), _real(node, x, x_scale, x_zero))
    return _steps(node, result, y_scale, y_zero, x)


def QLinearGlobalAveragePool(
    node: Node, x: Value, x_scale: Value, x_zero: Value, y_scale: Value, y_zero: Value, *, channels_last: int = 0
) -> Value:
    result = _channels_first(node, _real(node, x, x_scale, x_zero), channels_last, pooling.GlobalAveragePool)
    return _steps(node, result, y_scale, y_zero, x)


def QLinearAveragePool(
    node: Node,
    x: Value,
    x_scale: Value,
    x_zero: Value | None,
    y_scale: Value,
    y_zero: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    channels_last: int = 0,
    count_include_pad: int = 0,
    kernel_shape: Ints,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    def pool(node: Node, image: Value) -> Value:
        return pooling.AveragePool(
            node, image, auto_pad=auto_pad, ceil_mode=ceil_mode, count_include_pad=count_include_pad,
            kernel_shape=kernel_shape, pads=pads, strides=strides,
        )  # fmt: skip

    return _steps(node, _channels_first(node, _real(node, x, x_scale, x_zero), channels_last, pool), y_scale, y_zero, x)


def QLinearConcat(node: Node, y_scale: Value, y_zero: Value, *parts: Value, axis: int) -> Value:
    """Parts are triples of tensor, scale and zero point."""
    values = [_real(node, *parts[start : start + 3]) for start in range(0, len(parts), 3)]
    result = joined(node, values, node.axis(axis, values[0].type.rank))
    return _steps(node, result, y_scale, y_zero, parts[0])


def QGemm(
    node: Node,
    a: Value,
    a_scale: Value,
    a_zero: Value,
    b: Value,
    b_scale: Value,
    b_zero: Value,
    c: Value | None = None,
    y_scale: Value | None = None,
    y_zero: Value | None = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Value:
    """``alpha · a · b + c``, where c is int32 in steps of ``alpha · a_scale · b_scale``; floats without `y_scale`."""
    left = _real(node, a, a_scale, a_zero)
    right = quantization.DequantizeLinear(node, b, b_scale, b_zero, axis=0 if transB else 1)
    result = node.apply(MatMulOp(bool(transA), bool(transB)), left, right)
    if c is not None:
        step = node.multiply(node.cast(a_scale, FLOAT32), node.cast(b_scale, FLOAT32))
        result = node.add(result, node.multiply(node.cast(c, FLOAT32), step))
    if alpha != 1.0:
        result = node.multiply(result, node.scalar(alpha, result))
    return result if y_scale is None else _steps(node, result, y_scale, y_zero, a)


def MatMulIntegerToFloat(
    node: Node,
    a: Value,
    b: Value,
    a_scale: Value,
    b_scale: Value,
    a_zero: Value | None = None,
    b_zero: Value | None = None,
    bias: Value | None = None,
) -> Value:
    """The integer product is exact; scales of `b` may be one for each column."""
    whole = node.cast(MatMulInteger(node, a, b, a_zero, b_zero), a_scale.type.dtype)
    result = node.multiply(whole, node.multiply(_scalar(node, a_scale), b_scale))
    return result if bias is None else node.add(result, bias)


def DynamicQuantizeMatMul(
    node: Node, a: Value, b: Value, b_scale: Value, b_zero: Value | None = None, bias: Value | None = None
) -> Value:
    """`a` is quantised to uint8 by the range of its data."""
    steps, scale, zero = quantization.DynamicQuantizeLinear(node, a)
    return MatMulIntegerToFloat(node, steps, b, scale, b_scale, zero, b_zero, bias)


def MatMulNBits(
    node: Node,
    a: Value,
    b: Value,
    scales: Value,
    zero_points: Value | None = None,
    g_idx: Value | None = None,
    bias: Value | None = None,
    *,
    K: int,
    N: int,
    accuracy_level: int = 0,
    bits: int = 4,
    block_size: int,
    weight_prepacked: int = 0,
) -> Value:
    """A product with constant weights ``[N, K]`` of 2, 4 or 8 bits, a scale and a zero point for each block of a row.

    With groups of other elements than neighbours, and where whole bytes do not hold them, weights are widened when the
    model is read.
    """
    if _in_blocks(a, zero_points, g_idx, K=K, bits=bits, block=block_size) and not weight_prepacked:
        result = _block_product(node, a, b, scales, zero_points, columns=N, bits=bits, block=block_size)
        return result if bias is None else node.add(result, bias)
    if bits not in BITS or weight_prepacked:
        node.unsupported(f"weights of {bits} bits{', packed for one machine' if weight_prepacked else ''}")
    blocks = -(-K // block_size)
    whole = _unpacked(node.data(b, "the weights of MatMulNBits"), bits, N, blocks * block_size)
    factors = node.data(scales, "the scales of MatMulNBits").astype(np.float32).reshape(N, blocks)
    middle: npt.NDArray[np.float32] = np.full((N, blocks), 1 << (bits - 1), np.float32)
    if zero_points is not None:
        stored = node.data(zero_points, "the zero points of MatMulNBits")
        packed = zero_points.type.dtype.is_integer
        middle = _unpacked(stored, bits, N, blocks) if packed else stored.astype(np.float32).reshape(N, blocks)
    group = np.arange(K) // block_size
    if g_idx is not None:
        group = node.data(g_idx, "g_idx").reshape(-1)[:K].astype(np.int64)
    rows = (whole[:, :K] - middle[:, group]) * factors[:, group]
    result = MatMul(node, a, node.constant(np.ascontiguousarray(rows.T), a.type.dtype))
    return result if bias is None else node.add(result, bias)


def _in_blocks(a: Value, zero_points: Value | None, g_idx: Value | None, *, K: int, bits: int, block: int) -> bool:
    """Whether a product is one of the operator's."""
    if bits not in BITS or block < 1 or a.type.dtype != FLOAT32 or a.type.rank < 2 or a.type.shape[-1] != K:
        return False
    return g_idx is None and K % (8 // bits) == 0 and (zero_points is None or zero_points.type.dtype.is_integer)


def _block_product(
    node: Node, a: Value, b: Value, scales: Value, zero_points: Value | None, *, columns: int, bits: int, block: int
) -> Value:
    depth, rows = cast("int", a.type.shape[-1]), columns
    blocks = -(-depth // block)
    packed = node.data(b, "the weights of MatMulNBits").view(np.uint8).reshape(rows, -1)[:, : depth * bits // 8]
    factors = node.data(scales, "the scales of MatMulNBits").astype(np.float32).reshape(rows, blocks)
    constants = [node.constant(np.ascontiguousarray(packed), UINT8), node.constant(factors, FLOAT32)]
    if zero_points is not None:
        stored = node.data(zero_points, "the zero points of MatMulNBits")
        constants.append(node.constant(_unpacked(stored, bits, rows, blocks), UINT8))
    return node.apply(BlockMatMul(bits, block), a, *constants)


def _unpacked(packed: npt.NDArray[np.generic], bits: int, rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Rows of small unsigned integers, the lowest bits of a byte first; rows begin with a byte."""
    content = np.ascontiguousarray(packed).view(np.uint8).reshape(rows, -1)
    parts = [(content >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(rows, -1)[:, :columns].astype(np.float32)


def _scalar(node: Node, value: Value) -> Value:
    return node.reshape(value, ()) if value.type.elements == 1 else value


def _real(node: Node, x: Value, scale: Value, zero: Value | None = None) -> Value:
    """The numbers that a quantised tensor with one scale stands for."""
    return quantization.DequantizeLinear(node, x, _scalar(node, scale), None if zero is None else _scalar(node, zero))


def _steps(node: Node, x: Value, scale: Value, zero: Value | None, like: Value) -> Value:
    """The tensor in steps of one scale, of the type of another one."""
    given = node.constant(0, like.type.dtype) if zero is None else _scalar(node, zero)
    return quantization.quantised(node, x, _scalar(node, scale), given)


def _channels_first(node: Node, x: Value, channels_last: int, pool: Callable[[Node, Value], Value]) -> Value:
    if not channels_last:
        return pool(node, x)
    rank = x.type.rank
    result = pool(node, node.transpose(x, (0, rank - 1, *range(1, rank - 1))))
    return node.transpose(result, (0, *range(2, rank), 1))
