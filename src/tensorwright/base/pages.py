"""Pages of memory."""

from __future__ import annotations

import mmap
import sys


def map_pages(size: int) -> mmap.mmap:
    """Zeroed memory of this process alone: a child process gets a copy, not a share."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def grown(pages: mmap.mmap, size: int) -> mmap.mmap:
    """Pages that begin with what these hold, which must not be used any more, and are zero behind it."""
    if sys.platform != "linux":
        larger = map_pages(size)
        larger[: len(pages)] = pages[:]
        pages.close()
        return larger
    pages.resize(size)  # Moves the mapping, not the memory behind it.
    return pages
