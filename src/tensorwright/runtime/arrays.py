"""NumPy arrays at the border of native code."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import ExecutionError
from tensorwright.runtime.bindings import BindingTable, OutputSize, Slot

ARRAY_ALIGNMENT = 64

Array = npt.NDArray[np.generic]


def array_address(array: Array) -> int:
    """Where the elements of a C-contiguous array start."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]  # Four times faster, but not for every array.
    except (TypeError, ValueError, BufferError):
        return int(array.ctypes.data)


def output_array(size: OutputSize) -> tuple[Array, int]:
    """A new array for an output and the address of its elements, a multiple of 64."""
    buffer = np.empty(size.bytes + ARRAY_ALIGNMENT, np.uint8)
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))  # type: ignore[arg-type]
    offset = -address % ARRAY_ALIGNMENT
    return np.ndarray(size.shape, size.slot.dtype, buffer, offset), address + offset


def is_acceptable(slot: Slot, value: object) -> bool:
    """Whether an input is right in everything but its shape."""
    return isinstance(value, np.ndarray) and value.dtype == slot.dtype and value.flags.c_contiguous


def refusal(table: BindingTable, slot: Slot, value: object) -> ExecutionError:
    """What to say of an input that is not acceptable: no array, another dtype or not C-contiguous."""
    where = table.describe(slot.number)
    if not isinstance(value, np.ndarray):
        return ExecutionError(
            f"{where}: expected a NumPy array of {slot.dtype.name}, found {type(value).__name__}; "
            f"pass numpy.asarray(value, {_dtype_source(slot.dtype)})"
        )
    if value.dtype != slot.dtype:
        return ExecutionError(
            f"{where}: expected dtype {slot.dtype.name}, found {_dtype_name(value.dtype)}; "
            f"pass array.astype({_dtype_source(slot.dtype)})"
        )
    return ExecutionError(
        f"{where}: expected a C-contiguous array, found strides {value.strides} for shape {value.shape}; "
        "pass numpy.ascontiguousarray(array)"
    )


def _dtype_name(dtype: np.dtype[np.generic]) -> str:
    return dtype.name if dtype.isnative else f"{dtype.name} in foreign byte order"


def _dtype_source(dtype: np.dtype[np.generic]) -> str:
    return "ml_dtypes.bfloat16" if dtype.name == "bfloat16" else f"numpy.{dtype.name}"
