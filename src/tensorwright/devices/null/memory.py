"""Memory of the null device: its addresses mean nothing to the process, and an access outside of what is alive is an
error.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_right
from threading import Lock

from tensorwright.base.errors import ExecutionError

FIRST_ADDRESS = 1 << 40
"""Far from what a process has, so that addresses that are mixed up are noticed."""


class NullMemory:
    """An allocator, and the bytes behind its addresses."""

    def __init__(self) -> None:
        self._blocks: dict[int, bytearray] = {}
        self._next = FIRST_ADDRESS
        self._lock = Lock()

    def allocate(self, size: int, alignment: int, flags: int) -> int:
        with self._lock:
            address = -(-self._next // alignment) * alignment
            self._next = address + size + 1
            self._blocks[address] = bytearray(size)
            return address

    def free(self, address: int) -> None:
        with self._lock:
            del self._blocks[address]

    def view(self, address: int, size: int) -> memoryview:
        """So many bytes from an address on.

        Raises:
            ExecutionError: they are not all in one block that is alive.
        """
        with self._lock:
            starts = list(self._blocks)
            place = bisect_right(starts, address) - 1
            block = self._blocks[starts[place]] if place >= 0 else bytearray()
        offset = address - starts[place] if place >= 0 else 0
        if place < 0 or offset + size > len(block):
            raise ExecutionError(
                f"the null device has no {size} bytes at {address:#x}; pass addresses of its own allocator"
            )
        return memoryview(block)[offset : offset + size]

    def upload(self, address: int, source: int, size: int) -> None:
        """Copy bytes of this process to the device."""
        self.view(address, size)[:] = ctypes.string_at(source, size)

    def download(self, target: int, address: int, size: int) -> None:
        """Copy bytes of the device to this process."""
        ctypes.memmove(target, bytes(self.view(address, size)), size)
