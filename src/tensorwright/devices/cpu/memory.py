"""Memory of the CPU."""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

HUGE_PAGE = 2 << 20
PAGE = mmap.PAGESIZE


class PageAllocator:
    """Maps zeroed pages for every request. Requests of at least one huge page ask the system for huge pages."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mappings: dict[int, mmap.mmap] = {}

    def allocate(self, size: int, alignment: int, flags: int) -> int:
        """Raises OSError when the system has no memory left."""
        large = size >= HUGE_PAGE
        granularity = max(alignment, HUGE_PAGE if large else PAGE)
        mapping = map_pages(size + granularity - PAGE)
        if large and hasattr(mmap, "MADV_HUGEPAGE"):
            _advise_huge_pages(mapping)
        address = _round_up(mapping_address(mapping), granularity)
        with self._lock:
            self._mappings[address] = mapping
        return address

    def free(self, address: int) -> None:
        with self._lock:
            mapping = self._mappings.pop(address)
        mapping.close()


def map_pages(size: int) -> mmap.mmap:
    """Zeroed memory of this process alone: a child process gets a copy, not a share."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def mapping_address(mapping: mmap.mmap) -> int:
    """Where a writable mapping starts."""
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


def buffer_address(buffer: memoryview) -> int:
    """Where the bytes of a buffer start, writable or not; 0 for an empty one."""
    return int(bytes_of(buffer).ctypes.data) if buffer.nbytes else 0


def bytes_of(buffer: memoryview) -> npt.NDArray[np.uint8]:
    """The bytes of a buffer as an array that shares them."""
    return np.frombuffer(buffer, np.uint8)


def bytes_at(address: int, size: int) -> npt.NDArray[np.uint8]:
    """`size` bytes of memory as an array that does not own them."""
    if size == 0:
        return np.empty(0, np.uint8)
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


def _round_up(value: int, granularity: int) -> int:
    return -(-value // granularity) * granularity


def _advise_huge_pages(mapping: mmap.mmap) -> None:
    try:
        mapping.madvise(mmap.MADV_HUGEPAGE)
    except OSError:
        return  # Kernels built without huge pages run as well, a little slower.
