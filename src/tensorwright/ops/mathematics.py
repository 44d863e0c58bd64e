"""Short spellings of the scalars that definitions are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tensorwright.graph.expression import Apply, Combine, Constant, IndexValue, Reduce, Scalar, Variable
from tensorwright.graph.op import Array
from tensorwright.tensor.dim import Dim, expression, floor_divide, remainder
from tensorwright.tensor.dtype import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT32, DType

_CONDITIONS = ("equal", "less", "less_equal", "is_nan", "is_inf", "and", "or", "xor", "not")


def call(function: str, *operands: Scalar) -> Apply:
    """A function of scalars, of the type of its last operand (bool for conditions)."""
    return Apply(function, operands, BOOL if function in _CONDITIONS else operands[-1].dtype)


def constant(value: float | bool, dtype: DType) -> Constant:
    """A number as a constant of a type; integers round toward zero."""
    if dtype == BOOL:
        return Constant(bool(value), dtype)
    return Constant(float(value) if dtype.is_float else int(value), dtype)


def convert(scalar: Scalar, dtype: DType) -> Scalar:
    """The scalar as another type; itself when it has that type."""
    return scalar if scalar.dtype == dtype else Apply("cast", (scalar,), dtype)


def accumulator(dtype: DType) -> DType:
    """The type to sum elements of `dtype` in: float32 for the two-byte floats, else the type itself."""
    return FLOAT32 if dtype in (FLOAT16, BFLOAT16) else dtype


def product_type(left: DType, right: DType) -> DType | None:
    """The type of a sum of products of such factors: int32 for integers of 8 bits, else theirs; None if they differ."""
    if left.is_integer and right.is_integer and left.size == right.size == 1:
        return INT32
    return left if left == right else None


def widened(array: Array) -> Array:
    """Factors of a product in a type that holds its sums: integers of 8 bits in int32."""
    return array.astype(np.int32) if array.dtype.kind in "iu" and array.dtype.itemsize == 1 else array


def position(variable: Variable) -> Dim:
    """The variable as an index: 0 where it can have no other value."""
    return 0 if variable.extent == 1 else expression(variable)


def positions(variables: Iterable[Variable]) -> tuple[Dim, ...]:
    """The variables as an index."""
    return tuple(position(variable) for variable in variables)


def reduce_over(combine: Combine, variables: Sequence[Variable], body: Scalar) -> Scalar:
    """The reduction of a body over those variables that take more than one value; the body where none does."""
    moving = tuple(variable for variable in variables if variable.extent != 1)
    return Reduce(combine, moving, body, body.dtype) if moving else body


def number(index: Dim, dtype: DType) -> Scalar:
    """An integer made of indices and dimensions as a number of a type."""
    return constant(index, dtype) if isinstance(index, int) else Apply("cast", (IndexValue(index),), dtype)


def reciprocal(index: Dim, dtype: DType) -> Scalar:
    """One divided by an integer made of indices and dimensions."""
    if isinstance(index, int):
        return constant(1 / index if index else float("nan"), dtype)
    return call("div", constant(1, dtype), number(index, dtype))


def square(scalar: Scalar) -> Scalar:
    """The scalar times itself."""
    return call("mul", scalar, scalar)


def lowest(dtype: DType) -> float:
    """The smallest value of a type: what a maximum starts from."""
    if dtype.is_float:
        return float("-inf")
    return -(2 ** (8 * dtype.size - 1)) if dtype.kind == "signed" else 0


def highest(dtype: DType) -> float:
    """The largest value of a type: what a minimum starts from."""
    if dtype.is_float:
        return float("inf")
    return 1 if dtype == BOOL else 2 ** (8 * dtype.size - (dtype.kind == "signed")) - 1


def unflattened(flat: Dim, extents: Sequence[Dim]) -> list[Dim]:
    """The index, below `extents`, of the element number `flat` in row-major order.

    Of a tensor without elements, which has no such index, it is any.
    """
    index: list[Dim] = []
    for axis, extent in reversed([(axis, 1 if extent == 0 else extent) for axis, extent in enumerate(extents)]):
        index.append(0 if extent == 1 else flat if axis == 0 else remainder(flat, extent))
        flat = floor_divide(flat, extent)
    return index[::-1]
