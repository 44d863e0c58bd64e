"""Short ways to say common compositions of operators, and to ask for what has to be known while a model is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import ImportFailure
from tensorwright.graph.graph import Value, apply, constant_value, is_constant, weights_in
from tensorwright.graph.op import Op
from tensorwright.importers.contents import Dims, compute, contents_of, value_of
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.sizes import require_possible
from tensorwright.ops.elementwise import Binary, Cast, Select, Unary
from tensorwright.ops.reduction import Function, Reduction
from tensorwright.ops.shape import Expand, Reshape, Transpose
from tensorwright.tensor.dim import Dim, bounds, is_static, upper_bound
from tensorwright.tensor.dtype import INT64, DType
from tensorwright.tensor.type import Shape, TensorType
from tensorwright.tensor.weights import Weights, weights_of

Array = npt.NDArray[np.generic]

FOLDED_AT_ONCE = 1 << 16
"""Constants up to this many elements are folded while the model is read, larger ones when their values are needed."""


@dataclass(frozen=True, eq=False)
class Composer:
    """Makes values for one node or layer of a foreign model; `name` is what that is called."""

    name: str

    def fail(self, message: str) -> NoReturn:
        """The model is wrong."""
        raise ImportFailure(message)

    def unsupported(self, reason: str) -> NoReturn:
        """The model is legal, but this cannot be expressed."""
        raise Unsupported(reason)

    def apply(self, op: Op, *inputs: Value) -> Value:
        """The operator applied to values; computed at once where all elements are known."""
        if inputs and all(is_constant(value) for value in inputs):
            found = self._fold(op, inputs)
        else:
            found = (compute(op, inputs, self.name) if inputs else None) or apply(op, *inputs, name=self.name)
        require_possible(found.type)
        return found

    def _fold(self, op: Op, inputs: Sequence[Value]) -> Value:
        value = apply(op, *inputs, name=self.name)
        size = value.type.elements
        if not isinstance(size, int) or not value.type.is_static:
            return value
        operands = [weights_in(operand) for operand in inputs]
        largest = max(upper_bound(weights.type.elements) for weights in operands)
        if size > max(largest, FOLDED_AT_ONCE):
            return value
        folded = Weights(value.type, lambda: _evaluate(op, operands, value.type))
        if max(size, largest) <= FOLDED_AT_ONCE:
            folded = weights_of(folded.array)
        return constant_value(folded, self.name)

    def constant(self, array: npt.ArrayLike, dtype: DType | None = None) -> Value:
        """A constant; `dtype` converts."""
        converted = np.asarray(array) if dtype is None else np.asarray(array).astype(dtype.numpy)
        return constant_value(weights_of(converted), self.name)

    def scalar(self, number: float | bool, like: Value) -> Value:
        """A constant of rank 0 with the element type of another value."""
        return self.constant(number, like.type.dtype)

    def unary(self, function: str, x: Value) -> Value:
        return self.apply(Unary(function), x)

    def binary(self, function: str, a: Value, b: Value) -> Value:
        return self.apply(Binary(function), a, b)

    def add(self, a: Value, b: Value) -> Value:
        return self.binary("add", a, b)

    def subtract(self, a: Value, b: Value) -> Value:
        return self.binary("sub", a, b)

    def multiply(self, a: Value, b: Value) -> Value:
        return self.binary("mul", a, b)

    def divide(self, a: Value, b: Value) -> Value:
        return self.binary("div", a, b)

    def select(self, condition: Value, then: Value, otherwise: Value) -> Value:
        return self.apply(Select(), condition, then, otherwise)

    def cast(self, x: Value, dtype: DType) -> Value:
        return x if x.type.dtype == dtype else self.apply(Cast(dtype), x)

    def reshape(self, x: Value, shape: Sequence[Dim]) -> Value:
        return x if x.type.shape == tuple(shape) else self.apply(Reshape(tuple(shape)), x)

    def transpose(self, x: Value, permutation: Sequence[int]) -> Value:
        in_order = tuple(permutation) == tuple(range(x.type.rank))
        return x if in_order else self.apply(Transpose(tuple(permutation)), x)

    def expand(self, x: Value, shape: Shape) -> Value:
        return x if x.type.shape == shape else self.apply(Expand(shape), x)

    def reduce(self, function: Function, x: Value, axes: Sequence[int], keep_dims: bool = True) -> Value:
        return self.apply(Reduction(function, tuple(axes), keep_dims), x)

    def axis(self, axis: int, rank: int, what: str = "axis") -> int:
        """An axis counted from the front.

        Raises:
            ImportFailure: there is no such axis.
        """
        if not -rank <= axis < max(rank, 1):
            self.fail(f"{what} {axis} is outside of a tensor of rank {rank}: expected {-rank} to {rank - 1}")
        return axis + rank if axis < 0 else axis

    def axes(self, axes: Sequence[int], rank: int) -> tuple[int, ...]:
        """Axes counted from the front, in ascending order."""
        found = sorted(self.axis(axis, rank, "axes:") for axis in axes)
        if len(set(found)) < len(found):
            self.fail(f"axes {list(axes)} name an axis twice")
        return tuple(found)

    def contents(self, value: Value, what: str) -> Dims:
        """The elements of an integer tensor, which have to be known now.

        Raises:
            Unsupported: they depend on the data of an input.
        """
        found = contents_of(value)
        if found is None:
            raise Unsupported(f"{what} has to be known when the model is imported", [value])
        return found

    def dims(self, value: Value, what: str) -> tuple[Dim, ...]:
        """The elements of an integer tensor, flat: ints or symbolic dimensions."""
        return tuple(int(dim) if isinstance(dim, bool | int) else dim for dim in self.contents(value, what).reshape(-1))

    def integers(self, value: Value, what: str) -> tuple[int, ...]:
        """The elements of an integer tensor, flat, none of them symbolic."""
        found = self.dims(value, what)
        if not all(is_static(dim) for dim in found):
            self.unsupported(f"{what} has to be a constant, it is {list(found)}")
        return tuple(int(dim) for dim in found if isinstance(dim, int))

    def array(self, value: Value, what: str) -> Array:
        """The elements of a constant of any type, on which shapes or the choice of operators depend."""
        if not is_constant(value):
            raise Unsupported(f"{what} has to be a constant", [value])
        return weights_in(value).array

    def data(self, value: Value, what: str) -> Array:
        """The elements of a constant from which a result is computed while the model is read."""
        if not is_constant(value):
            self.unsupported(f"{what} has to be a constant")
        return weights_in(value).array

    def number(self, value: Value, what: str) -> float:
        """The only element of a constant, as a float."""
        array = self.array(value, what)
        if array.size != 1:
            self.fail(f"{what} has to be one number, it has shape {array.shape}")
        return float(array.reshape(-1)[0])

    def shape_value(self, dims: Sequence[Dim], dtype: DType) -> Value:
        """A vector with the run-time values of dimensions."""
        elements = np.empty(len(dims), dtype=object)
        elements[:] = list(dims)
        return value_of(elements, dtype, self.name)

    def shape_scalar(self, dim: Dim) -> Value:
        """The run-time value of a dimension, as an int64 of rank 0."""
        return self.reshape(self.shape_value((dim,), INT64), ())

    def static(self, dims: Sequence[Dim], what: str) -> tuple[int, ...]:
        """Dimensions that must not be symbolic."""
        if not all(is_static(dim) for dim in dims):
            self.unsupported(f"{what} must not be symbolic, found {list(dims)}")
        return tuple(dim for dim in dims if isinstance(dim, int))

    def is_negative(self, dim: Dim, what: str) -> bool:
        """Whether a dimension is below zero, which must be certain."""
        low, high = bounds(dim)
        if low < 0 <= high:
            self.unsupported(f"{what} {dim} may be negative or not, depending on the input's shape")
        return high < 0


def _evaluate(op: Op, operands: Sequence[Weights], type: TensorType) -> Array:
    with np.errstate(all="ignore"):
        arrays = [w.array.astype(np.float64) if w.type.dtype.is_float else w.array for w in operands]
        result = op.reference(*arrays)
        return np.asarray(np.broadcast_to(result.astype(type.dtype.numpy), type.tuning_shape))
