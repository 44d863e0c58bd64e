"""Device memory with an owner."""

from __future__ import annotations

import weakref
from operator import index
from typing import TYPE_CHECKING, SupportsIndex

from tensorwright.base.errors import DeviceError, ExecutionError
from tensorwright.base.unique import Unique

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator

END_OF_MEMORY = 1 << 64


class Buffer(Unique):
    """`size` bytes from an allocator, given back at `close` or when nobody refers to the buffer any more.

    Raises:
        ExecutionError: the allocator failed, or returned what is no address or not aligned.
    """

    def __init__(self, allocator: Allocator, size: int, alignment: int, what: str) -> None:
        self.size = size
        self.address = _allocate(allocator, size, alignment, what)
        self._finalizer = weakref.finalize(self, allocator.free, self.address)
        # A thread may still be at work in this memory while the interpreter exits.
        self._finalizer.atexit = False

    def close(self) -> None:
        """Give the memory back. Twice is once."""
        self._finalizer()

    def leak(self) -> None:
        """Never give the memory back: somebody may still be using it."""
        self._finalizer.detach()


def _allocate(allocator: Allocator, size: int, alignment: int, what: str) -> int:
    request = f"{size} bytes aligned to {alignment} for {what}"
    advice = "free memory, or use a plan with smaller shapes or fewer threads"
    try:
        address = allocator.allocate(size, alignment, 0)
    except Exception as error:
        message = f"{_name(allocator)} could not allocate {request}: {error!r}; {advice}"
        if isinstance(error, DeviceError):
            raise DeviceError(message, lost=error.lost) from error
        raise ExecutionError(message) from error
    if address is None or address == 0:
        raise ExecutionError(f"{_name(allocator)} could not allocate {request}: it returned {address}; {advice}")
    if not _is_address(address, size):
        raise ExecutionError(
            f"{_name(allocator)}.allocate was asked for {request} and returned {address!r}; expected the address of "
            "the memory, a positive integer, or None where there is none"
        )
    address = index(address)
    if address % alignment:
        allocator.free(address)
        raise ExecutionError(
            f"{_name(allocator)}.allocate was asked for {request} and returned {address:#x}, which is no multiple of "
            f"{alignment}; it must respect its argument `alignment`"
        )
    return address


def _is_address(value: object, size: int) -> bool:
    """Whether a value can be the address of so many bytes."""
    return isinstance(value, SupportsIndex) and 0 < index(value) <= END_OF_MEMORY - size


def _name(allocator: Allocator) -> str:
    return f"the allocator {type(allocator).__name__}"
