"""Memory of the CPU."""

from __future__ import annotations

import ctypes
import mmap
import threading
from typing import TYPE_CHECKING

from tensorwright.base.fork import forkable
from tensorwright.base.pages import map_pages
from tensorwright.base.unique import Unique

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

HUGE_PAGE = 2 << 20
PAGE = mmap.PAGESIZE

_SIMPLE, _READ = 0, 0x100  # PyBUF_SIMPLE, PyBUF_READ


class _BufferView(ctypes.Structure):
    """`Py_buffer` of the stable interface of CPython."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("owner", ctypes.py_object),
        ("size", ctypes.c_ssize_t),
        ("item_size", ctypes.c_ssize_t),
        ("is_read_only", ctypes.c_int),
        ("dimensions", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_View = ctypes.POINTER(_BufferView)
_get_buffer = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, _View, ctypes.c_int)(
    ("PyObject_GetBuffer", ctypes.pythonapi)
)
_release_buffer = ctypes.PYFUNCTYPE(None, _View)(("PyBuffer_Release", ctypes.pythonapi))
_memory_view = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)(
    ("PyMemoryView_FromMemory", ctypes.pythonapi)
)


class PageAllocator(Unique):
    """Maps zeroed pages for every request. Requests of at least one huge page ask the system for huge pages."""

    def __init__(self) -> None:
        self._lock = forkable(threading.RLock())  # Memory may be freed by the collector while it is allocated.
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


def mapping_address(mapping: mmap.mmap) -> int:
    """Where a writable mapping starts."""
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


def buffer_address(buffer: memoryview) -> int:
    """Where the bytes of a contiguous buffer start, writable or not; 0 for an empty one."""
    if not buffer.nbytes:
        return 0
    view = _BufferView()
    _get_buffer(buffer, view, _SIMPLE)
    address = view.address
    _release_buffer(view)
    return address or 0


def read_only_memory(address: int, size: int) -> memoryview:
    """`size` bytes of memory as a buffer that does not own them."""
    return memoryview(_memory_view(address, size, _READ))


def bytes_at(address: int, size: int) -> npt.NDArray[np.uint8]:
    """`size` bytes of memory as an array that does not own them."""
    import numpy as np

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
