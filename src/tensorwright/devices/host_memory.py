"""Memory of this process, in small amounts."""

from __future__ import annotations

import ctypes


class HostMemory:
    """An allocator of memory of this process."""

    def __init__(self) -> None:
        self._blocks: dict[int, ctypes.Array[ctypes.c_char]] = {}

    def allocate(self, size: int, alignment: int, flags: int) -> int:
        block = ctypes.create_string_buffer(size + alignment)
        address = -(-ctypes.addressof(block) // alignment) * alignment
        self._blocks[address] = block
        return address

    def free(self, address: int) -> None:
        del self._blocks[address]

    def has(self, address: int) -> bool:
        """Whether it gave out memory that starts here."""
        return address in self._blocks
