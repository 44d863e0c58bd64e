"""Reading constants and making new ones."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value, constant_value, is_constant, weights_in
from tensorwright.tensor.dtype import DType
from tensorwright.tensor.type import Shape
from tensorwright.tensor.weights import weights_of

Floats = npt.NDArray[np.float64]

SCANNED = 1 << 16
"""Constants with more elements are not searched for one value in all places."""


def exact(value: Value) -> Floats:
    """The elements of a constant in float64."""
    return weights_in(value).array.astype(np.float64)


def constant_of(array: npt.ArrayLike, dtype: DType, name: str) -> Value:
    """A constant of a given element type."""
    return constant_value(weights_of(np.asarray(array).astype(dtype.numpy)), name)


def finite_constant(array: Floats, dtype: DType, name: str) -> Value | None:
    """As `constant_of`; None if an element is not finite in that type."""
    with np.errstate(over="ignore"):
        converted = array.astype(dtype.numpy)
    return constant_value(weights_of(converted), name) if np.all(np.isfinite(converted)) else None


def uniform(value: Value) -> float | None:
    """The one number that all elements of a constant are; None where they differ or are not known."""
    if not is_constant(value):
        return None
    count = value.type.elements
    if not isinstance(count, int) or not 0 < count <= SCANNED:
        return None
    flat = weights_in(value).array.reshape(-1)
    return float(flat[0]) if np.all(flat == flat[0]) else None


def is_uniform(value: Value, number: float) -> bool:
    """Whether a constant has the same given number in all places."""
    return uniform(value) == number


def nearly(found: float | None, wanted: float, dtype: DType) -> bool:
    """Whether a number read from a model is `wanted`, as well as its element type can say it."""
    tolerance = {2: 2e-3, 8: 4e-15}.get(dtype.size, 2e-6)
    return found is not None and math.isclose(found, wanted, rel_tol=tolerance, abs_tol=tolerance * 1e-3)


def along(value: Value, shape: Shape, axis: int) -> Floats | None:
    """The elements of a floating constant that, broadcast to `shape`, depend on one axis only.

    Returns:
        Of shape ``[shape[axis]]``; None where the constant depends on another axis.
    """
    extent = shape[axis]
    if not is_constant(value) or not value.type.dtype.is_float or not isinstance(extent, int):
        return None
    if value.type.rank > len(shape):
        return None
    padded = (1,) * (len(shape) - value.type.rank) + value.type.shape
    if any(own != 1 for position, own in enumerate(padded) if position != axis) or padded[axis] not in (1, extent):
        return None
    return np.broadcast_to(exact(value).reshape(-1), (extent,))
