"""Quantised tensors: integers that stand for ``(q − zero) · scale``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tensorwright.graph.expression import Scalar
from tensorwright.graph.op import Array, expect, expect_inputs
from tensorwright.ops.broadcast import broadcast_shapes
from tensorwright.ops.elementwise import Elementwise
from tensorwright.ops.mathematics import call, constant, convert
from tensorwright.tensor.dtype import FLOAT32, INT32, DType
from tensorwright.tensor.type import TensorType


@dataclass(frozen=True, eq=False)
class Dequantize(Elementwise):
    """``y = (q − zero) · scale`` in float32, the difference in int32.

    Inputs: q of integers of up to 32 bits, scale float32, optionally zero of integers of up to 32 bits; they broadcast.
    """

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2, 3)
        for type, name in zip((inputs[0], *inputs[2:]), ("q", "zero"), strict=False):
            found = f"found {type.dtype}; cast it"
            expect(_is_small_integer(type.dtype), self, f"input {name}: expected integers of up to 32 bits, {found}")
        _expect_scale(self, inputs)
        return TensorType(FLOAT32, broadcast_shapes([type.shape for type in inputs]))

    def reference(self, *inputs: Array) -> Array:
        q, scale, *zero = inputs
        difference = q.astype(np.int64) - (zero[0].astype(np.int64) if zero else 0)
        return np.asarray(np.multiply(difference, scale))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        q, scale, *zero = operands
        wide = convert(q, INT32)
        if zero:
            wide = call("sub", wide, convert(zero[0], INT32))
        return call("mul", convert(wide, FLOAT32), scale)


@dataclass(frozen=True, eq=False)
class Quantize(Elementwise):
    """``q = clip(round(x / scale) + zero)`` to the range of an integer type of 8 or 16 bits, halves to even.

    The quotient is rounded to float32 first, which decides about what halves are.

    Inputs: x float32, scale float32, optionally zero of type `dtype`; they broadcast to the shape of x.
    """

    dtype: DType

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2, 3)
        expect(self.dtype.is_integer and self.dtype.size <= 2, self, f"expected 8 or 16 bits, found {self.dtype}")
        expect(inputs[0].dtype == FLOAT32, self, f"input x: expected float32, found {inputs[0].dtype}; cast it")
        _expect_scale(self, inputs)
        for zero in inputs[2:]:
            expect(zero.dtype == self.dtype, self, f"input zero: expected {self.dtype}, found {zero.dtype}; cast it")
        shape = broadcast_shapes([type.shape for type in inputs])
        expect(shape == inputs[0].shape, self, f"scale and zero must broadcast to x: found {inputs}")
        return TensorType(self.dtype, shape)

    def reference(self, *inputs: Array) -> Array:
        x, scale, *zero = inputs
        low, high = _range(self.dtype)
        with np.errstate(invalid="ignore", divide="ignore"):
            steps = np.divide(x.astype(np.float32), scale.astype(np.float32))
            whole = np.round(steps).astype(np.float64) + (zero[0].astype(np.float64) if zero else 0.0)
            return np.asarray(np.nan_to_num(np.clip(whole, low, high), nan=0.0).astype(self.dtype.numpy))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        x, scale, *zero = operands
        low, high = _range(self.dtype)
        whole: Scalar = call("round", call("div", x, scale))
        if zero:
            whole = call("add", whole, convert(zero[0], FLOAT32))
        return convert(call("min", call("max", whole, constant(low, FLOAT32)), constant(high, FLOAT32)), self.dtype)


def _is_small_integer(dtype: DType) -> bool:
    return dtype.is_integer and dtype.size <= INT32.size


def _expect_scale(op: Elementwise, inputs: Sequence[TensorType]) -> None:
    scale = inputs[1].dtype
    expect(scale == FLOAT32, op, f"input scale: expected float32, found {scale}; cast it")


def _range(dtype: DType) -> tuple[float, float]:
    bits = 8 * dtype.size
    if dtype.kind == "unsigned":
        return 0.0, float(2**bits - 1)
    return -float(2 ** (bits - 1)), float(2 ** (bits - 1) - 1)
