"""Memory between pages that nobody may touch: what reads or writes outside of it ends the process."""

from __future__ import annotations

import ctypes
import mmap

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
PATTERN = 0xC7


class GuardedMemory:
    """An allocator. A block ends where the next page is guarded, but for what its alignment takes.

    The bytes before it, and those of the alignment, hold a pattern; `check` tells whether they still do.
    """

    def __init__(self) -> None:
        self._blocks: dict[int, tuple[int, int, int]] = {}  # Address: start and size of all pages, size of the block.

    def allocate(self, size: int, alignment: int, flags: int) -> int:
        page = mmap.PAGESIZE
        padded = -(-size // alignment) * alignment
        inner = -(-padded // page) * page
        total = inner + 2 * page
        start = _LIBC.mmap(None, total, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        assert start not in (None, ctypes.c_void_p(-1).value), "no memory"
        for guard in (start, start + page + inner):
            assert not _LIBC.mprotect(guard, page, 0)
        ctypes.memset(start + page, PATTERN, inner)
        address = start + page + inner - padded
        self._blocks[address] = (start, total, size)
        return int(address)

    def free(self, address: int) -> None:
        start, total, _ = self._blocks.pop(address)
        _LIBC.munmap(start, total)

    def check(self) -> None:
        """Assert that nothing was written around the blocks there are."""
        page = mmap.PAGESIZE
        for address, (start, total, size) in self._blocks.items():
            for first, end in ((start + page, address), (address + size, start + total - page)):
                around = ctypes.string_at(first, end - first)
                assert around.count(PATTERN) == len(around), "a kernel wrote outside of its operands"
