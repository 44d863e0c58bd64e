"""Activation functions: one element in, one element out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
import numpy.typing as npt

from tensorwright.graph.expression import Scalar
from tensorwright.graph.functions import FUNCTIONS
from tensorwright.graph.op import Array, expect, expect_inputs
from tensorwright.ops.checks import expect_broadcast_to, expect_float, expect_same_dtype
from tensorwright.ops.elementwise import Elementwise
from tensorwright.ops.mathematics import call, constant, square
from tensorwright.tensor.dtype import BOOL, DType, dtype_of
from tensorwright.tensor.type import TensorType


@dataclass(frozen=True, eq=False)
class Activation(Elementwise):
    """Base of the activations of floating tensors."""

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        expect_float(self, inputs[0])
        return inputs[0]


@dataclass(frozen=True, eq=False)
class Relu(Elementwise):
    """``max(x, 0)``; integers too."""

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        expect(inputs[0].dtype != BOOL, self, "input x: expected numbers, found bool; cast it")
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        return np.asarray(np.maximum(inputs[0], 0))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        return call("max", operands[0], constant(0, output.dtype))


@dataclass(frozen=True, eq=False)
class LeakyRelu(Activation):
    """``x < 0 ? alpha x : x``."""

    alpha: float = 0.01

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        return np.where(x < 0, self.alpha * x, x)

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        (x,) = operands
        scaled = call("mul", constant(self.alpha, x.dtype), x)
        return call("select", call("less", x, constant(0, x.dtype)), scaled, x)


@dataclass(frozen=True, eq=False)
class Elu(Activation):
    """``x > 0 ? x : alpha (exp(x) - 1)``."""

    alpha: float = 1.0

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        return np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0)))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        return _exponential_unit(operands[0], self.alpha)


@dataclass(frozen=True, eq=False)
class Selu(Activation):
    """``gamma (x > 0 ? x : alpha (exp(x) - 1))``."""

    alpha: float = 1.6732632423543772
    gamma: float = 1.0507009873554805

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        return np.asarray(self.gamma * np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0))))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        return call("mul", constant(self.gamma, output.dtype), _exponential_unit(operands[0], self.alpha))


@dataclass(frozen=True, eq=False)
class Celu(Activation):
    """``x > 0 ? x : alpha (exp(x / alpha) - 1)``."""

    alpha: float = 1.0

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect(self.alpha != 0, self, "alpha: expected another number than 0, by which x is divided")
        return super().infer(inputs)

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        return np.asarray(np.maximum(x, 0) + np.minimum(0, self.alpha * np.expm1(x / self.alpha)))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        (x,) = operands
        return call(
            "select",
            call("less", x, constant(0, x.dtype)),
            _scaled_exponential(call("mul", x, constant(1 / self.alpha, x.dtype)), self.alpha),
            x,
        )


@dataclass(frozen=True, eq=False)
class Sigmoid(Activation):
    """``1 / (1 + exp(-x))``."""

    def reference(self, *inputs: Array) -> Array:
        return _logistic(inputs[0].astype(np.float64))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        one = constant(1, output.dtype)
        return call("div", one, call("add", one, call("exp", call("neg", operands[0]))))


@dataclass(frozen=True, eq=False)
class HardSigmoid(Activation):
    """``max(0, min(1, alpha x + beta))``."""

    alpha: float = 0.2
    beta: float = 0.5

    def reference(self, *inputs: Array) -> Array:
        return np.asarray(np.clip(self.alpha * inputs[0].astype(np.float64) + self.beta, 0, 1))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        return _hard_sigmoid(operands[0], self.alpha, self.beta)


@dataclass(frozen=True, eq=False)
class HardSwish(Activation):
    """``x max(0, min(1, x / 6 + 1/2))``."""

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        return np.asarray(x * np.clip(x / 6 + 0.5, 0, 1))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        return call("mul", operands[0], _hard_sigmoid(operands[0], 1 / 6, 0.5))


@dataclass(frozen=True, eq=False)
class Silu(Activation):
    """``x sigmoid(x)``."""

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        return np.asarray(x * _logistic(x))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        (x,) = operands
        return call("div", x, call("add", constant(1, x.dtype), call("exp", call("neg", x))))


@dataclass(frozen=True, eq=False)
class Mish(Activation):
    """``x tanh(log(1 + exp(x)))``.

    With ``e = exp(-|x|)`` the tanh is ``(1 + 2e) / (1 + 2e + 2e²)`` for x >= 0 and ``(e² + 2e) / (e² + 2e + 2)``
    below: one exponential that cannot overflow.
    """

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        return np.asarray(x * np.tanh(np.logaddexp(0, x)))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        (x,) = operands
        one, two = constant(1, x.dtype), constant(2, x.dtype)
        e = call("exp", call("neg", call("abs", x)))
        twice = call("mul", two, e)
        negative = call("less", x, constant(0, x.dtype))
        numerator = call("add", twice, call("select", negative, square(e), one))
        rest = call("select", negative, two, call("mul", twice, e))
        return call("mul", x, call("div", numerator, call("add", numerator, rest)))


@dataclass(frozen=True, eq=False)
class Softplus(Activation):
    """``log(1 + exp(x))``."""

    def reference(self, *inputs: Array) -> Array:
        return np.asarray(np.logaddexp(0, inputs[0].astype(np.float64)))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        (x,) = operands
        tail = call("log1p", call("exp", call("neg", call("abs", x))))
        return call("add", call("max", x, constant(0, x.dtype)), tail)


@dataclass(frozen=True, eq=False)
class Softsign(Activation):
    """``x / (1 + |x|)``."""

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        return np.asarray(x / (1 + np.abs(x)))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        (x,) = operands
        return call("div", x, call("add", constant(1, x.dtype), call("abs", x)))


@dataclass(frozen=True, eq=False)
class Gelu(Activation):
    """``x/2 (1 + erf(x / √2))``; approximate: ``x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))``."""

    approximate: bool = False

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        if self.approximate:
            return np.asarray(0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))))
        return np.asarray(0.5 * x * (1 + np.asarray(FUNCTIONS["erf"](x / sqrt(2)))))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        (x,) = operands
        half, one = constant(0.5, x.dtype), constant(1, x.dtype)
        if self.approximate:
            factor = call("add", one, call("mul", constant(0.044715, x.dtype), square(x)))
            inner = call("tanh", call("mul", call("mul", constant(sqrt(2 / pi), x.dtype), x), factor))
        else:
            inner = call("erf", call("mul", x, constant(sqrt(0.5), x.dtype)))
        return call("mul", call("mul", half, x), call("add", one, inner))


@dataclass(frozen=True, eq=False)
class Clip(Elementwise):
    """``min(max(x, low), high)``; None leaves a side open. Integers too."""

    low: float | None = None
    high: float | None = None

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        expect(inputs[0].dtype != BOOL, self, "input x: expected numbers, found bool; cast it")
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        x, dtype = inputs[0], dtype_of(inputs[0].dtype)
        low = x if self.low is None else np.maximum(x, _representable(self.low, dtype))
        return np.asarray(low if self.high is None else np.minimum(low, _representable(self.high, dtype)))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        result = operands[0]
        if self.low is not None:
            result = call("max", result, constant(_representable(self.low, output.dtype), output.dtype))
        if self.high is not None:
            result = call("min", result, constant(_representable(self.high, output.dtype), output.dtype))
        return result


@dataclass(frozen=True, eq=False)
class ThresholdedRelu(Activation):
    """``x > alpha ? x : 0``."""

    alpha: float = 1.0

    def reference(self, *inputs: Array) -> Array:
        return np.where(np.greater(inputs[0], self.alpha), inputs[0], 0)

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        (x,) = operands
        return call("select", call("less", constant(self.alpha, x.dtype), x), x, constant(0, x.dtype))


@dataclass(frozen=True, eq=False)
class Affine(Activation):
    """``alpha x + beta``."""

    alpha: float = 1.0
    beta: float = 0.0

    def reference(self, *inputs: Array) -> Array:
        return np.asarray(self.alpha * inputs[0].astype(np.float64) + self.beta)

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        (x,) = operands
        return call("add", call("mul", constant(self.alpha, x.dtype), x), constant(self.beta, x.dtype))


@dataclass(frozen=True, eq=False)
class ScaledTanh(Activation):
    """``alpha tanh(beta x)``."""

    alpha: float = 1.0
    beta: float = 1.0

    def reference(self, *inputs: Array) -> Array:
        return np.asarray(self.alpha * np.tanh(self.beta * inputs[0].astype(np.float64)))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        (x,) = operands
        inner = call("tanh", call("mul", constant(self.beta, x.dtype), x))
        return call("mul", constant(self.alpha, x.dtype), inner)


@dataclass(frozen=True, eq=False)
class Shrink(Activation):
    """``x < -lambd ? x + bias : x > lambd ? x - bias : 0``."""

    bias: float = 0.0
    lambd: float = 0.5

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        return np.where(x < -self.lambd, x + self.bias, np.where(x > self.lambd, x - self.bias, 0))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        (x,) = operands
        bias = constant(self.bias, x.dtype)
        above = call(
            "select", call("less", constant(self.lambd, x.dtype), x), call("sub", x, bias), constant(0, x.dtype)
        )
        return call("select", call("less", x, constant(-self.lambd, x.dtype)), call("add", x, bias), above)


@dataclass(frozen=True, eq=False)
class PRelu(Elementwise):
    """``x < 0 ? slope x : x``; inputs: x, slope, which broadcasts to x."""

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2)
        expect_same_dtype(self, inputs, ("x", "slope"))
        expect_broadcast_to(self, inputs[1], inputs[0].shape, "slope")
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        x, slope = inputs
        return np.where(np.less(x, 0), np.multiply(slope, x), x)

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        x, slope = operands
        return call("select", call("less", x, constant(0, x.dtype)), call("mul", slope, x), x)


def _logistic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, e) / (1 + e))


def _scaled_exponential(x: Scalar, alpha: float) -> Scalar:
    return call("mul", constant(alpha, x.dtype), call("sub", call("exp", x), constant(1, x.dtype)))


def _exponential_unit(x: Scalar, alpha: float) -> Scalar:
    return call("select", call("less", constant(0, x.dtype), x), x, _scaled_exponential(x, alpha))


def _hard_sigmoid(x: Scalar, alpha: float, beta: float) -> Scalar:
    line = call("add", call("mul", constant(alpha, x.dtype), x), constant(beta, x.dtype))
    return call("max", constant(0, x.dtype), call("min", constant(1, x.dtype), line))


def _representable(bound: float, dtype: DType) -> float:
    if dtype.is_float:
        return bound
    bits = 8 * dtype.size
    low, high = (0, 2**bits - 1) if dtype.kind == "unsigned" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return int(min(max(bound, low), high))
