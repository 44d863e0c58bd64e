"""Memory of this process by address, and the addresses of what holds memory."""

from __future__ import annotations

import ctypes
import mmap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

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
