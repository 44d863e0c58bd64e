"""Pages of memory."""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress

HUGE_PAGE = 2 << 20


def map_pages(size: int) -> mmap.mmap:
    """Zeroed memory of this process alone: a child process gets a copy, not a share. Huge pages, where it is large."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    ask_for_huge_pages(pages)
    return pages


def ask_for_huge_pages(pages: mmap.mmap) -> None:
    """Have the system use huge pages for a mapping that has room for one, as far as it can.

    Who reads much memory in order waits for the addresses of small pages, in a virtual machine above all.
    """
    if len(pages) < HUGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return
    with suppress(OSError):  # Kernels built without huge pages run as well, a little slower.
        pages.madvise(mmap.MADV_HUGEPAGE)


def grown(pages: mmap.mmap, size: int) -> mmap.mmap:
    """Pages that begin with what these hold, which must not be used any more, and are zero behind it.

    They are whole huge pages where one fits, which the system then moves whole.
    """
    size = size if size < HUGE_PAGE else -(-size // HUGE_PAGE) * HUGE_PAGE
    if sys.platform != "linux":
        larger = map_pages(size)
        larger[: len(pages)] = pages[:]
        pages.close()
        return larger
    pages.resize(size)  # Moves the mapping, not the memory behind it.
    ask_for_huge_pages(pages)
    return pages
