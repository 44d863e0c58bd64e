"""Floating-point formats of 8 bits and fewer, whose numbers float32 holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, inf, log2, nan

import numpy as np

from tensorwright.graph.expression import Apply, Scalar
from tensorwright.graph.op import Array, expect, expect_inputs
from tensorwright.ops.elementwise import Elementwise
from tensorwright.ops.mathematics import call, constant
from tensorwright.tensor.dtype import FLOAT32, INT32
from tensorwright.tensor.type import TensorType

EXPONENT_BITS = 0x7F800000


@dataclass(frozen=True)
class SmallFloat:
    """mantissa: bits behind the point; least: exponent of the smallest normal number; largest: the largest number.

    beyond: what a number that is too large becomes where it does not become the largest; None where there is nothing
    for it. has_negative_zero, has_nan: whether there are such.
    """

    mantissa: int
    least: int
    largest: float
    beyond: float | None
    has_negative_zero: bool = True
    has_nan: bool = True


SMALL_FLOATS: Mapping[str, SmallFloat] = {
    "float8_e4m3fn": SmallFloat(3, -6, 448.0, nan),
    "float8_e4m3fnuz": SmallFloat(3, -7, 240.0, nan, has_negative_zero=False),
    "float8_e5m2": SmallFloat(2, -14, 57344.0, inf),
    "float8_e5m2fnuz": SmallFloat(2, -15, 57344.0, nan, has_negative_zero=False),
    "float4_e2m1fn": SmallFloat(1, 0, 6.0, None, has_nan=False),
}
"""By the names that ml_dtypes has for them. Source: https://onnx.ai/onnx/technical/float8.html and float4.html"""


@dataclass(frozen=True, eq=False)
class NarrowFloat(Elementwise):
    """The nearest number of a small format, halves to even; the result is float32.

    format: a name in `SMALL_FLOATS`. saturate: whether numbers beyond the largest, infinities too, become the largest.
    Where a format has no NaN, NaN becomes -0.
    """

    format: str
    saturate: bool = True

    @property
    def _format(self) -> SmallFloat:
        return SMALL_FLOATS[self.format]

    @property
    def _beyond(self) -> float:
        return self._format.largest if self.saturate or self._format.beyond is None else self._format.beyond

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        expect(inputs[0].dtype == FLOAT32, self, f"expected float32, found {inputs[0].dtype}; cast it")
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        x = np.asarray(inputs[0], dtype=np.float64)
        known = self._format
        exponent = np.frexp(x)[1] - 1
        quantum = np.ldexp(1.0, np.maximum(exponent, known.least) - known.mantissa)
        with np.errstate(invalid="ignore"):
            rounded = np.round(x / quantum) * quantum
            result = np.where(np.abs(rounded) > known.largest, np.copysign(self._beyond, x), rounded)
        if not known.has_nan:
            result = np.where(np.isnan(x), -0.0, result)
        return np.asarray(result if known.has_negative_zero else result + 0.0)

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        """The power of two below x are its exponent's bits; x is rounded to multiples of a fraction of that."""
        (x,), known = operands, self._format

        def number(value: float) -> Scalar:
            return constant(value, FLOAT32)

        bits = Apply("bits", (call("abs", x),), INT32)
        power: Scalar = Apply("bits", (call("bit_and", bits, constant(EXPONENT_BITS, INT32)),), FLOAT32)
        power = call("max", power, number(2.0**known.least))
        power = call("min", power, number(2.0 ** floor(log2(known.largest))))
        quantum = call("mul", power, number(2.0**-known.mantissa))
        rounded = call("mul", call("round", call("div", x, quantum)), quantum)
        over = call("less", number(known.largest), call("abs", rounded))
        beyond = call("select", call("less", x, number(0)), number(-self._beyond), number(self._beyond))
        result = call("select", over, beyond, rounded)
        if not known.has_nan:
            result = call("select", call("is_nan", x), number(-0.0), result)
        return result if known.has_negative_zero else call("add", result, number(0))
