"""Pages of memory."""

from __future__ import annotations

import mmap
import sys


def map_pages(size: int) -> mmap.mmap:
    """Zeroed memory of this process alone: a child process gets a copy, not a share."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
