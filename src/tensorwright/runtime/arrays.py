"""NumPy arrays at the border of native code."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from math import prod
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tensorwright.base.errors import ExecutionError

if TYPE_CHECKING:
    from tensorwright.runtime.bindings import BindingTable, Slot
    from tensorwright.tensor.dtype import DType

ARRAY_ALIGNMENT = 64
SMALL = 1024
SLOTS = 32
"""How many small arrays share a piece of memory, which lives as long as any of them."""
MOST_AXES = 32
"""Arrays of many more are beyond NumPy, and small arrays need one more in the memory that they share."""
LARGE = 1 << 14
"""Bytes from which on memory is used again: fresh memory costs a page fault for every page, more than many kernels."""
KEPT = 2
"""Pieces of memory that are kept for one output: what a decoder reads, and what it writes for its next call."""

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


class OutputMemory:
    """Memory of one large output: of arrays that nobody refers to any more if there is some, else fresh one.

    For one thread at a time; arrays may be let go by any thread.
    """

    def __init__(self) -> None:
        self._blocks: list[Array] = []

    def take(self, size: int) -> Array:
        """At least `size` bytes that nobody else uses, as long as what is returned, or a view of it, is held.

        Raises:
            ExecutionError: there is not enough memory.
        """
        if size < LARGE:
            return np.empty(size, np.uint8)
        blocks = self._blocks
        for number in range(len(blocks)):
            if _references(blocks, number) == _UNUSED and size <= blocks[number].nbytes <= 2 * size:
                return blocks[number]
        try:
            block = np.empty(_with_room(size), np.uint8)
        except MemoryError as error:
            raise ExecutionError(f"an output needs {size} bytes, more than there is; use smaller inputs") from error
        self._blocks = [*blocks[1 - KEPT :], block]
        return block


def _with_room(size: int) -> int:
    """A little more, so that an output that grows from call to call seldom needs other memory."""
    step = 1 << (size.bit_length() - 3)
    return -(-size // step) * step


def _references(blocks: Sequence[Array], number: int) -> int:
    return sys.getrefcount(blocks[number])


_UNUSED = _references([np.empty(0, np.uint8)], 0)
"""What is counted of a block that only its list refers to."""


def output_maker(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], memory: OutputMemory
) -> Callable[[], tuple[Array, int]]:
    """A function that makes new arrays of a shape, for one thread at a time; it returns array and address, a multiple
    of 64.

    Raises:
        ExecutionError: no array has that shape.
    """
    size = prod(shape) * dtype.itemsize + ARRAY_ALIGNMENT
    addressed = prod(extent or 1 for extent in shape) * dtype.itemsize  # NumPy's bound, also if there are no elements.
    if addressed > sys.maxsize:
        raise ExecutionError(f"an output would have the shape {list(shape)}, beyond any array; use smaller inputs")

    def make_large() -> tuple[Array, int]:
        buffer = memory.take(size)
        address = address_of(view_of(buffer))
        offset = -address % ARRAY_ALIGNMENT
        return _Array(shape, dtype, buffer.data, offset), address + offset

    if not 0 < len(shape) < MOST_AXES or size > SMALL or addressed > sys.maxsize // SLOTS:
        return make_large
    table = partial(_table, shape, dtype, -(-size // ARRAY_ALIGNMENT) * ARRAY_ALIGNMENT)
    return chain.from_iterable(iter(table, None)).__next__


def _table(shape: tuple[int, ...], dtype: np.dtype[np.generic], step: int) -> Iterator[tuple[Array, int]]:
    """Rows of a larger array with their addresses: the fastest way to get an array whose address is known.

    No generator makes the tables: a process that is forked while one runs could never run it again.

    step: bytes from one row to the next.
    """
    strides = np.empty(shape, dtype).strides
    buffer = np.zeros((SLOTS + 1) * step, np.uint8)
    address = address_of(view_of(buffer))
    offset = -address % ARRAY_ALIGNMENT
    table = _Array((SLOTS, *shape), dtype, buffer.data, offset, (step, *strides))
    return zip(table, range(address + offset, address + offset + SLOTS * step, step), strict=True)


def is_acceptable(dtype: np.dtype[np.generic], value: object) -> bool:
    """Whether an input for a binding of a dtype is right in everything but its shape."""
    return isinstance(value, _Array) and value.dtype == dtype and value.flags.c_contiguous


def refusal(table: BindingTable, slot: Slot, value: object) -> ExecutionError:
    """What to say of an input that is not acceptable: no array, another dtype or not C-contiguous."""
    where = table.describe(slot.number)
    if not isinstance(value, np.ndarray):
        return ExecutionError(
            f"{where}: expected a NumPy array of {slot.dtype}, found {type(value).__name__}; "
            f"pass numpy.asarray(value, {_dtype_source(slot.dtype)})"
        )
    if value.dtype != slot.dtype.numpy:
        return ExecutionError(
            f"{where}: expected dtype {slot.dtype}, found {_dtype_name(value.dtype)}; "
            f"pass array.astype({_dtype_source(slot.dtype)})"
        )
    return ExecutionError(
        f"{where}: expected a C-contiguous array, found strides {value.strides} for shape {value.shape}; "
        "pass numpy.ascontiguousarray(array)"
    )


def _dtype_name(dtype: np.dtype[np.generic]) -> str:
    return dtype.name if dtype.isnative else f"{dtype.name} in foreign byte order"


def _dtype_source(dtype: DType) -> str:
    return "ml_dtypes.bfloat16" if dtype.name == "bfloat16" else f"numpy.{dtype.name}"
