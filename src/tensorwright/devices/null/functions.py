"""What generated NumPy code calls beside NumPy itself."""

from __future__ import annotations

from collections.abc import Sequence
from math import erf as scalar_erf
from typing import Any

import numpy as np

Array = np.ndarray[tuple[Any, ...], np.dtype[Any]]

erf = np.vectorize(scalar_erf, otypes=[np.float64])


def dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of an element type."""
    import ml_dtypes

    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    return found


def divide(left: Array, right: Array) -> Array:
    """Division that truncates toward zero for integers."""
    if left.dtype.kind not in "iu":
        return np.asarray(np.divide(left, right))
    safe = np.where(right == 0, 1, right)
    quotient = np.abs(left) // np.abs(safe)
    return np.asarray(quotient * np.sign(left) * np.sign(safe), dtype=left.dtype)


def power(base: Array, exponent: Array) -> Array:
    """Powers; negative ones of integers truncated toward zero."""
    if not np.issubdtype(exponent.dtype, np.signedinteger):
        return np.asarray(np.power(base, exponent))
    unit = np.where(exponent % 2 == 0, np.abs(base), base) * (np.abs(base) == 1)
    return np.asarray(np.where(np.less(exponent, 0), unit, np.power(base, np.maximum(exponent, 0))), dtype=base.dtype)


def floor_mod(left: Array, right: Array) -> Array:
    """The remainder with the sign of the divisor."""
    return np.asarray(np.mod(left, np.where(right == 0, 1, right) if left.dtype.kind in "iu" else right))


def mod(left: Array, right: Array) -> Array:
    """The remainder with the sign of the dividend."""
    return np.asarray(np.fmod(left, np.where(right == 0, 1, right) if left.dtype.kind in "iu" else right))


def load(source: Array, index: Sequence[Array], guard: Array, otherwise: Array) -> Array:
    """Elements of a tensor where a guard is true."""
    if 0 in source.shape:
        return np.broadcast_to(otherwise, np.broadcast_shapes(guard.shape, *(np.shape(i) for i in index)))
    inside = tuple(np.clip(i, 0, n - 1) for i, n in zip(index, source.shape, strict=True))
    return np.asarray(np.where(guard, source[inside], otherwise))


def reduced(combine: np.ufunc, body: Array, rank: int, extents: Sequence[int], initial: Array) -> Array:
    """The last axes of an array of so many axes, combined into one element."""
    count = len(extents)
    body = body.reshape((1,) * (rank - body.ndim) + body.shape)
    full = np.broadcast_to(body, (*body.shape[: rank - count], *extents))
    return np.asarray(combine.reduce(full, axis=tuple(range(rank - count, rank)), initial=initial, dtype=initial.dtype))
