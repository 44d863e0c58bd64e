"""Numbers of 8 bits in the format e4m3 as bytes, and products of them.

A byte is a sign, four bits of an exponent and three of a mantissa; there are no infinities, and all bits set means that
there is no number. Source: Micikevicius et al., "FP8 Formats for Deep Learning", https://arxiv.org/abs/2209.05433
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import ClassVar

import numpy as np

from tensorwright.graph.expression import Apply, Computation, Load, Scalar, transform
from tensorwright.graph.op import Array, Kind, Op, expect, expect_inputs
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Elementwise
from tensorwright.ops.mathematics import call, constant, convert
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.narrow import NarrowFloat
from tensorwright.tensor.dtype import FLOAT32, INT32, UINT8
from tensorwright.tensor.type import TensorType

FORMAT = "float8_e4m3fn"
_NEAREST = NarrowFloat(FORMAT)
_SIGN, _NO_NUMBER = 0x80, 0x7F
_MANTISSA, _SHIFT = 3, 23 - 3
_LARGEST, _LEAST, _QUANTUM = 448.0, 2.0**-6, 2.0**-9
"""The largest number, the smallest normal one, and what those below are multiples of."""
_REBIAS = (127 - 7) << _MANTISSA
"""The exponent of float32 less that of a byte, where the byte's mantissa begins."""


@dataclass(frozen=True, eq=False)
class ToFloat8(Elementwise):
    """The bytes of the nearest numbers, halves to even; what is beyond the largest, 448, becomes it.

    Input float32, output uint8.
    """

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        expect(inputs[0].dtype == FLOAT32, self, f"expected float32, found {inputs[0].dtype}; cast it")
        return TensorType(UINT8, inputs[0].shape)

    def reference(self, *inputs: Array) -> Array:
        return encoded(_NEAREST.reference(*inputs))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        """Mantissas are rounded by adding half of what is dropped to odd ones, a little less to even ones."""
        (x,) = operands
        size = call("min", call("abs", x), constant(_LARGEST, FLOAT32))
        bits = _bits(size)
        odd = call("bit_and", _shifted("shift_right", bits, _SHIFT), constant(1, INT32))
        rounded = call("add", call("add", bits, constant((1 << _SHIFT - 1) - 1, INT32)), odd)
        normal = call("sub", _shifted("shift_right", rounded, _SHIFT), constant(_REBIAS, INT32))
        small = convert(call("round", call("mul", size, constant(1 / _QUANTUM, FLOAT32))), INT32)
        code = call("select", call("less", size, constant(_LEAST, FLOAT32)), small, normal)
        code = call("select", call("is_nan", x), constant(_NO_NUMBER, INT32), code)
        sign = call("bit_and", _shifted("shift_right", _bits(x), 24), constant(_SIGN, INT32))
        return convert(call("add", code, sign), output.dtype)


@dataclass(frozen=True, eq=False)
class Float8Product(Op):
    """What `product` computes of the numbers that bytes stand for, in float32.

    Inputs: its factors as uint8.
    """

    product: MatMul | Convolution
    kind: ClassVar[Kind] = "anchor"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2)
        for type, name in zip(inputs, ("left", "right"), strict=True):
            expect(type.dtype == UINT8, self, f"input {name}: expected uint8, found {type.dtype}")
        return self.product.infer([replace(type, dtype=FLOAT32) for type in inputs])

    def reference(self, *inputs: Array) -> Array:
        return self.product.reference(*map(decoded, inputs))

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        plain = self.product.define([replace(type, dtype=FLOAT32) for type in inputs], output)
        return Computation(plain.variables, transform(plain.body, lambda index: index, _number))


def encoded(numbers: Array) -> Array:
    """The bytes of numbers of the format."""
    import ml_dtypes

    return np.asarray(numbers).astype(ml_dtypes.float8_e4m3fn).view(np.uint8)


def decoded(codes: Array) -> Array:
    """The numbers that bytes stand for, in float64."""
    import ml_dtypes

    return np.asarray(codes.astype(np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float64))


def _number(load: Load) -> Scalar:
    """The number that a byte stands for; 0 where nothing is read."""
    code = convert(replace(load, dtype=UINT8), INT32)
    rest = call("bit_and", code, constant(_SIGN - 1, INT32))
    shifted = _shifted("shift_left", call("add", rest, constant(_REBIAS, INT32)), _SHIFT)
    normal = Apply("bits", (shifted,), FLOAT32)
    small = call("mul", convert(rest, FLOAT32), constant(_QUANTUM, FLOAT32))
    size = call("select", call("less", rest, constant(1 << _MANTISSA, INT32)), small, normal)
    size = call("select", call("equal", rest, constant(_NO_NUMBER, INT32)), constant(nan, FLOAT32), size)
    negative = call("sub", constant(0.0, FLOAT32), size)
    return call("select", call("equal", rest, code), size, negative)


def _bits(scalar: Scalar) -> Scalar:
    return Apply("bits", (scalar,), INT32)


def _shifted(direction: str, scalar: Scalar, by: int) -> Scalar:
    return call(direction, scalar, constant(by, INT32))
