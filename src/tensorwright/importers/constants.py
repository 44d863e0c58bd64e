"""Values that users give in place of inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import ImportFailure, NetworkError
from tensorwright.tensor.dtype import DType, dtype_of

Constants = Mapping[str, object]
"""Numbers, truth values or arrays by the name of what they replace."""
PLAIN: Mapping[str, type[np.generic]] = {"b": np.bool_, "i": np.int32, "f": np.float32}


def as_array(name: str, value: object, dtype: DType | None = None) -> npt.NDArray[np.generic]:
    """A value as an array.

    Args:
        name: what it replaces.
        value: a number, a truth value, an array or a sequence of numbers.
        dtype: the element type that is needed; None for the value's own, float32, int32 or bool for Python's numbers.

    Raises:
        ImportFailure: it is no such value, or is not the same in that element type.
    """
    array = np.asarray(value)
    if dtype is None:
        plain = PLAIN.get(array.dtype.kind) if not isinstance(value, np.ndarray | np.generic) else None
        dtype = _type_of(name, array if plain is None else array.astype(plain))
    elif array.dtype.kind not in "biufV":
        raise _wrong(name, value)
    converted = array.astype(dtype.numpy)
    close = dtype.is_float or np.array_equal(converted.astype(np.float64), array.astype(np.float64))
    if not close:
        raise ImportFailure(f"constants: '{name}' has the element type {dtype.name}, which cannot hold {value!r}")
    return converted


def _type_of(name: str, array: npt.NDArray[np.generic]) -> DType:
    try:
        return dtype_of(array.dtype)
    except NetworkError:
        raise _wrong(name, array) from None


def _wrong(name: str, value: object) -> ImportFailure:
    return ImportFailure(f"constants: '{name}': expected a number, a truth value or an array, found {value!r}")
