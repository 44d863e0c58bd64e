"""Numbers of one element type as those of another, as kernels convert them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tensorwright.tensor.dtype import DType

Array = npt.NDArray[np.generic]


def limits(dtype: DType) -> tuple[int, int]:
    """The smallest and the largest number of an integer type."""
    bits = 8 * dtype.size
    if dtype.kind == "signed":
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1


def converted(x: Array, dtype: DType) -> Array:
    """Numbers of another type. Floats become integers by truncation, within the bounds of the type, NaN 0: NumPy leaves
    what is out of bounds to the processor.
    """
    if not dtype.is_integer or x.dtype.kind in "biu":
        return x.astype(dtype.numpy)
    (least, most), whole = limits(dtype), np.trunc(x.astype(np.float64))
    fits = (whole >= float(least)) & (whole < float(most + 1))
    outside = np.where(np.isnan(whole), 0, np.where(whole < 0, least, most)).astype(dtype.numpy)
    return np.where(fits, np.where(fits, whole, 0).astype(dtype.numpy), outside)
