"""The scalar functions that expressions may apply, with their exact meaning in NumPy.

The first table is the vocabulary of `Apply`. Arithmetic works on equal operand types; comparisons and `is_nan` give
bool; `select(condition, then, otherwise)`; `cast` converts to the type of the `Apply` as ONNX Cast does (float to
integer truncates toward zero, within the bounds of the type, NaN is 0; to bool is ``!= 0``); `bits` reads the bits of a
number of 4 or 8 bytes as another type of that size. Integer division truncates toward zero, and so do negative powers
of integers, that of 0 being 0; `floor_mod` takes the sign of the divisor, `mod` that of the dividend. `round` rounds
halves to even. `max` and `min` propagate NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import erf as scalar_erf
from math import inf

import numpy as np
import numpy.typing as npt

from tensorwright.tensor.dtype import DType

Array = npt.NDArray[np.generic]

_erf = np.vectorize(scalar_erf, otypes=[np.float64])


def _truncating_divide(left: Array, right: Array) -> Array:
    if np.issubdtype(left.dtype, np.integer):
        turned = (right == -1) if left.dtype.kind == "i" else np.zeros(np.shape(right), bool)
        safe = np.where((right == 0) | turned, 1, right)  # The least integer by -1 is no integer of its type.
        quotient = left // safe
        quotient = quotient + ((left % safe != 0) & (np.less(left, 0) != np.less(safe, 0)))
        return np.asarray(np.where(turned, np.negative(left), quotient), dtype=left.dtype)
    return np.asarray(np.divide(left, right))


def _power(base: Array, exponent: Array) -> Array:
    if not np.issubdtype(exponent.dtype, np.signedinteger):
        return np.asarray(np.power(base, exponent))
    unit = np.where(exponent % 2 == 0, np.abs(base), base) * (np.abs(base) == 1)  # What is left of 1 / base^n.
    return np.asarray(np.where(np.less(exponent, 0), unit, np.power(base, np.maximum(exponent, 0))), dtype=base.dtype)


def _floor_mod(left: Array, right: Array) -> Array:
    return np.asarray(np.mod(left, np.where(right == 0, 1, right) if left.dtype.kind in "iu" else right))


def _trunc_mod(left: Array, right: Array) -> Array:
    return np.asarray(np.fmod(left, np.where(right == 0, 1, right) if left.dtype.kind in "iu" else right))


def _sign(value: Array) -> Array:
    return np.asarray(np.sign(value))


FUNCTIONS: Mapping[str, Callable[..., npt.ArrayLike]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": _truncating_divide, "pow": _power,
    "mod": _trunc_mod, "floor_mod": _floor_mod, "max": np.maximum, "min": np.minimum,
    "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "log1p": np.log1p,
    "tanh": np.tanh, "erf": _erf, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "floor": np.floor, "ceil": np.ceil, "round": np.round, "trunc": np.trunc, "sign": _sign,
    "equal": np.equal, "less": np.less, "less_equal": np.less_equal, "is_nan": np.isnan, "is_inf": np.isinf,
    "and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor, "not": np.logical_not,
    "bit_and": np.bitwise_and, "bit_or": np.bitwise_or, "bit_xor": np.bitwise_xor, "bit_not": np.invert,
    "shift_left": np.left_shift, "shift_right": np.right_shift, "select": np.where,
}  # fmt: skip

REDUCTIONS: Mapping[str, np.ufunc] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def reduction_identity(combine: str, dtype: DType) -> float | int | bool:
    """The value that a reduction over nothing gives."""
    if combine in ("add", "mul"):
        return 0 if combine == "add" else 1
    largest = combine == "min"
    if dtype.is_float:
        return inf if largest else -inf
    if dtype.kind == "bool":
        return largest
    bits = 8 * dtype.size
    if dtype.kind == "unsigned":
        return (1 << bits) - 1 if largest else 0
    return (1 << (bits - 1)) - 1 if largest else -(1 << (bits - 1))
