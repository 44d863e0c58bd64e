"""Memory of the CPU."""

from __future__ import annotations

import mmap
import threading

from tensorwright.base.addresses import mapping_address
from tensorwright.base.fork import forkable
from tensorwright.base.pages import HUGE_PAGE, map_pages
from tensorwright.base.unique import Unique

PAGE = mmap.PAGESIZE


class PageAllocator(Unique):
    """Maps zeroed pages for every request, those of at least one huge page at a multiple of its size."""

    def __init__(self) -> None:
        self._lock = forkable(threading.RLock())  # Memory may be freed by the collector while it is allocated.
        self._mappings: dict[int, mmap.mmap] = {}

    def allocate(self, size: int, alignment: int, flags: int) -> int:
        """Raises OSError when the system has no memory left."""
        granularity = max(alignment, HUGE_PAGE if size >= HUGE_PAGE else PAGE)
        mapping = map_pages(size + granularity - PAGE)
        address = _round_up(mapping_address(mapping), granularity)
        with self._lock:
            self._mappings[address] = mapping
        return address

    def free(self, address: int) -> None:
        with self._lock:
            mapping = self._mappings.pop(address)
        mapping.close()


def _round_up(value: int, granularity: int) -> int:
    return -(-value // granularity) * granularity
