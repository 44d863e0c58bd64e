"""NumPy arrays at the border of native code."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tensorwright.base.errors import ExecutionError

if TYPE_CHECKING:
    from tensorwright.runtime.bindings import BindingTable, Slot

ARRAY_ALIGNMENT = 64
SMALL = 1024
SLOTS = 32
"""How many small arrays share a piece of memory, which lives as long as any of them."""

Array = np.ndarray[tuple[Any, ...], np.dtype[np.generic]]

address_of = ctypes.addressof
view_of = cast(Callable[[object], ctypes.c_char], ctypes.c_char.from_buffer)
_Array = np.ndarray


def array_address(array: Array) -> int:
    """Where the elements of a C-contiguous array start."""
    try:
        return address_of(view_of(array))  # Five times faster than `ctypes.data`, but not possible for every array.
    except (TypeError, ValueError, BufferError):
        return int(array.ctypes.data)


def output_maker(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Callable[[], tuple[Array, int]]:
    """A function that makes new arrays of a shape; it returns array and address, a multiple of 64."""
    size = prod(shape) * dtype.itemsize + ARRAY_ALIGNMENT

    def make_large() -> tuple[Array, int]:
        buffer = np.empty(size, np.uint8)
        address = address_of(view_of(buffer))
        offset = -address % ARRAY_ALIGNMENT
        return _Array(shape, dtype, buffer.data, offset), address + offset

    return _small_maker(shape, dtype, size) if shape and size <= SMALL else make_large


def _small_maker(shape: tuple[int, ...], dtype: np.dtype[np.generic], size: int) -> Callable[[], tuple[Array, int]]:
    """Rows of one larger array at a time: the fastest way to get an array whose address is known."""
    step = -(-size // ARRAY_ALIGNMENT) * ARRAY_ALIGNMENT
    strides = np.empty(shape, dtype).strides
    rows: Iterator[tuple[Array, int]] = iter(())

    def make() -> tuple[Array, int]:
        nonlocal rows
        row = next(rows, None)
        if row is None:
            buffer = np.zeros((SLOTS + 1) * step, np.uint8)
            address = address_of(view_of(buffer))
            offset = -address % ARRAY_ALIGNMENT
            table = _Array((SLOTS, *shape), dtype, buffer.data, offset, (step, *strides))
            ready = zip(table, range(address + offset, address + offset + SLOTS * step, step), strict=True)
            row, rows = next(ready), ready
        return row

    return make


def is_acceptable(slot: Slot, value: object) -> bool:
    """Whether an input is right in everything but its shape."""
    return isinstance(value, _Array) and value.dtype == slot.dtype and value.flags.c_contiguous


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
