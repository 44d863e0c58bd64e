"""Device memory with an owner."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from tensorwright.base.errors import ExecutionError

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator


class Buffer:
    """`size` bytes from an allocator, given back at `close` or when nobody refers to the buffer any more.

    Raises:
        ExecutionError: the allocator failed or returned an address that is not aligned.
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
        raise ExecutionError(f"{_name(allocator)} could not allocate {request}: {error!r}; {advice}") from error
    if not address:
        raise ExecutionError(f"{_name(allocator)} could not allocate {request}: it returned {address}; {advice}")
    if address % alignment:
        allocator.free(address)
        raise ExecutionError(
            f"{_name(allocator)}.allocate was asked for {request} and returned {address:#x}, which is no multiple of "
            f"{alignment}; it must respect its argument `alignment`"
        )
    return address


def _name(allocator: Allocator) -> str:
    return f"the allocator {type(allocator).__name__}"
