"""Operators that work on each element alone, with NumPy-style broadcasting of their operands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tensorwright.graph.expression import Apply, Computation, Constant, Scalar, variables_for
from tensorwright.graph.functions import FUNCTIONS
from tensorwright.graph.op import Array, Kind, Op, expect, expect_inputs
from tensorwright.ops.broadcast import broadcast_shapes, load_broadcast
from tensorwright.tensor.conversion import converted
from tensorwright.tensor.dim import Dim, expression
from tensorwright.tensor.dtype import BOOL, DType
from tensorwright.tensor.type import TensorType

COMPARISONS = ("equal", "less", "less_equal")
LOGIC = ("and", "or", "xor", "not")
BITS = ("bit_and", "bit_or", "bit_xor", "bit_not", "shift_left", "shift_right")
PREDICATES = ("is_nan", "is_inf")
OF_NUMBERS = ("sub", "div", "pow", "mod", "floor_mod", "neg", "floor", "ceil", "round", "trunc", "sign",
              "shift_left", "shift_right")  # fmt: skip
"""What truth values have no meaning for."""
OF_FLOATS = ("sqrt", "exp", "log", "log1p", "tanh", "erf", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
             "asinh", "acosh", "atanh")  # fmt: skip
"""What gives no integers of integers."""


@dataclass(frozen=True, eq=False)
class Elementwise(Op):
    """Base: subclasses give `scalar` (and `infer` where the output type is not the first operand's)."""

    kind: ClassVar[Kind] = "elementwise"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        return inputs[0]

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        variables = variables_for(output.shape)
        index = [expression(variable) for variable in variables]
        loads = [load_broadcast(number, type, index) for number, type in enumerate(inputs)]
        return Computation(variables, self.scalar(loads, output))


@dataclass(frozen=True, eq=False)
class Unary(Elementwise):
    """``y = function(x)`` for a one-operand function of `tensorwright.graph.functions`."""

    function: str

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        _expect_types(self, self.function, inputs)
        return TensorType(BOOL, inputs[0].shape) if self.function in PREDICATES else inputs[0]

    def reference(self, *inputs: Array) -> Array:
        return np.asarray(FUNCTIONS[self.function](*inputs))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        return Apply(self.function, tuple(operands), output.dtype)


@dataclass(frozen=True, eq=False)
class Binary(Elementwise):
    """``y = function(a, b)`` for a two-operand function of `tensorwright.graph.functions`."""

    function: str

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2)
        left, right = inputs
        expect(left.dtype == right.dtype, self, f"operand types differ: {left.dtype} and {right.dtype}; cast one")
        _expect_types(self, self.function, inputs)
        shape = broadcast_shapes([left.shape, right.shape])
        return TensorType(BOOL if self.function in (*COMPARISONS, *LOGIC) else left.dtype, shape)

    def valid_range(self, operand: int, inputs: Sequence[TensorType]) -> tuple[Dim, Dim] | None:
        """Divisors other than 0, shifts within the type, powers that do not leave it at once."""
        dtype = inputs[0].dtype
        if operand == 0 or not dtype.is_integer:
            return None
        ranges = {"div": (1, 100), "mod": (1, 100), "floor_mod": (1, 100), "pow": (0, 4)}
        shifts = dict.fromkeys(("shift_left", "shift_right"), (0, 8 * dtype.size))
        return {**ranges, **shifts}.get(self.function)

    def reference(self, *inputs: Array) -> Array:
        return np.asarray(FUNCTIONS[self.function](*inputs))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        return Apply(self.function, tuple(operands), output.dtype)


def _expect_types(op: Op, function: str, inputs: Sequence[TensorType]) -> None:
    for dtype in (type.dtype for type in inputs):
        expect(function not in BITS or not dtype.is_float, op, f"'{function}' is of integers, found {dtype}")
        expect(function not in LOGIC or dtype == BOOL, op, f"'{function}' is of bool, found {dtype}; cast it")
        expect(function not in OF_NUMBERS or dtype != BOOL, op, f"'{function}' is of numbers, found bool; cast it")
        expect(function not in OF_FLOATS or dtype.is_float, op, f"'{function}' is of floats, found {dtype}; cast it")


@dataclass(frozen=True, eq=False)
class Select(Elementwise):
    """``y = condition ? a : b``; operands: condition (bool), a, b."""

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 3)
        condition, then, otherwise = inputs
        expect(condition.dtype == BOOL, self, f"the condition must be bool, found {condition.dtype}")
        expect(then.dtype == otherwise.dtype, self, f"operand types differ: {then.dtype} and {otherwise.dtype}")
        return TensorType(then.dtype, broadcast_shapes([t.shape for t in inputs]))

    def reference(self, *inputs: Array) -> Array:
        return np.where(*inputs)

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        return Apply("select", tuple(operands), output.dtype)


@dataclass(frozen=True, eq=False)
class ReplaceNan(Elementwise):
    """``y = number where x is NaN, else x``."""

    number: float = 0.0

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        expect(inputs[0].dtype.is_float, self, f"expected floats, found {inputs[0].dtype}")
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        return np.where(np.isnan(inputs[0]), np.asarray(self.number, inputs[0].dtype), inputs[0])

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        (x,) = operands
        return Apply("select", (Apply("is_nan", (x,), BOOL), Constant(self.number, output.dtype), x), output.dtype)


@dataclass(frozen=True, eq=False)
class Cast(Elementwise):
    """Conversion to another element type: float to integer truncates toward zero, within the bounds of the type, NaN
    being 0; anything to bool is ``!= 0``.
    """

    dtype: DType

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        return TensorType(self.dtype, inputs[0].shape)

    def reference(self, *inputs: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return converted(inputs[0], self.dtype)

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        return Apply("cast", tuple(operands), output.dtype)


@dataclass(frozen=True, eq=False)
class BitCast(Elementwise):
    """The bits of numbers of 4 or 8 bytes, read as another type of that size."""

    source: DType
    dtype: DType

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        found, sizes = inputs[0].dtype, (self.source.size, self.dtype.size)
        expect(found == self.source, self, f"expected {self.source}, found {found}")
        expect(sizes in ((4, 4), (8, 8)), self, f"expected types of 4 or of 8 bytes, found {self.source}, {self.dtype}")
        return TensorType(self.dtype, inputs[0].shape)

    def reference(self, *inputs: Array) -> Array:
        return np.ascontiguousarray(inputs[0], self.source.numpy).reshape(inputs[0].shape).view(self.dtype.numpy)

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        return Apply("bits", tuple(operands), output.dtype)


@dataclass(frozen=True, eq=False)
class Identity(Elementwise):
    """``y = x``; with different layouts at its ends it is a reorder."""

    def reference(self, *inputs: Array) -> Array:
        return inputs[0]

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        return operands[0]
