"""Device memory and page-locked memory: on the CPU both are pages of this process."""

from __future__ import annotations

import mmap
import threading
import weakref
from collections.abc import Sequence
from math import prod
from typing import Self

import numpy as np
import numpy.typing as npt

from tensorwright.base.addresses import bytes_at, mapping_address
from tensorwright.compat.pycuda.errors import LogicError, MemoryError
from tensorwright.devices.cpu.device import CpuDevice
from tensorwright.devices.cpu.stream import is_called_by_stream, join_all
from tensorwright.devices.device import Allocator

Array = npt.NDArray[np.generic]
Shape = Sequence[int] | int
PAGE = mmap.PAGESIZE


class DeviceAllocation:
    """Memory of the device. `int` gives its address; it is freed when nobody refers to it, or by `free`.

    Freeing waits for the work of all streams, which may still use the memory.
    """

    def __init__(self, size: int) -> None:
        allocator = CpuDevice().allocator
        try:
            address = allocator.allocate(size, PAGE, 0)
        except (OSError, OverflowError, ValueError) as error:
            raise MemoryError(f"mem_alloc: {size} bytes could not be allocated ({error})") from None
        assert address is not None
        self.size = size
        self._address = address
        self._finalizer = weakref.finalize(self, _free, allocator, address)
        self._finalizer.atexit = False  # Streams may still be at work in it.
        _FREED.pop(address, None)
        _ALLOCATIONS[address] = self

    @property
    def is_freed(self) -> bool:
        """Whether `free` was called."""
        return not self._finalizer.alive

    def free(self) -> None:
        """Give the memory back, after all work."""
        if self.is_freed:
            raise LogicError("free: the memory is freed already")
        self._finalizer()

    def as_buffer(self, size: int, offset: int = 0) -> memoryview:
        """The bytes from `offset` on."""
        return raw_bytes(self, offset + size)[offset:].data

    def __int__(self) -> int:
        return self._checked_address()

    def __index__(self) -> int:
        return self._checked_address()

    def __repr__(self) -> str:
        return f"DeviceAllocation({self.size} bytes at {self._address:#x})"

    def _checked_address(self) -> int:
        if self.is_freed:
            raise LogicError("the address of memory that is freed already was asked for")
        return self._address


_ALLOCATIONS: weakref.WeakValueDictionary[int, DeviceAllocation] = weakref.WeakValueDictionary()
"""The memory that starts at an address; keeps nothing alive."""
_FREED: dict[int, None] = {}
"""Where the latest memory started that was freed: an address may outlive what it was taken from."""
_REMEMBERED = 4096


def room_at(address: int) -> int | None:
    """How many bytes of device memory start at an address: 0 if it was freed, None if it is not the start of any."""
    if address in _FREED:
        return 0
    allocation = _ALLOCATIONS.get(address)
    return None if allocation is None else allocation.size


class PagelockedHostAllocation(mmap.mmap):
    """The memory of a page-locked array, which is its `base`."""

    def __new__(cls, size: int) -> Self:
        """`size` bytes, at least one page."""
        return super().__new__(cls, -1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def __init__(self, size: int) -> None:
        """Everything is done by `__new__`."""

    def free(self) -> None:
        """Nothing: the memory goes with the last array in it."""

    def get_device_pointer(self) -> int:
        """The address of the same memory on the device."""
        return mapping_address(self)


def mem_alloc(bytes: int) -> DeviceAllocation:
    """Memory of the device, page-aligned."""
    size = int(bytes)
    if size <= 0:
        raise LogicError(f"mem_alloc: expected a positive number of bytes, found {bytes!r}")
    return DeviceAllocation(size)


def mem_alloc_pitch(width: int, height: int, access_size: int) -> tuple[DeviceAllocation, int]:
    """Rows of `width` bytes, and the distance between them."""
    del access_size
    pitch = -(-width // 64) * 64
    return mem_alloc(pitch * height), pitch


def pagelocked_empty(shape: Shape, dtype: npt.DTypeLike, order: str = "C", mem_flags: int = 0) -> Array:
    """An array in pages of its own; its `base` is the allocation."""
    del mem_flags
    extents = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(extent) for extent in shape)
    element = np.dtype(dtype)
    buffer = PagelockedHostAllocation(prod(extents) * element.itemsize)
    return np.ndarray(extents, element, buffer, order="F" if order == "F" else "C")


def pagelocked_zeros(shape: Shape, dtype: npt.DTypeLike, order: str = "C", mem_flags: int = 0) -> Array:
    """As `pagelocked_empty`, filled with zeros."""
    array = pagelocked_empty(shape, dtype, order, mem_flags)
    array.fill(0)
    return array


def pagelocked_empty_like(array: Array, mem_flags: int = 0) -> Array:
    """A page-locked array of the same shape, dtype and order."""
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return pagelocked_empty(array.shape, array.dtype, order, mem_flags)


def pagelocked_zeros_like(array: Array, mem_flags: int = 0) -> Array:
    """As `pagelocked_empty_like`, filled with zeros."""
    result = pagelocked_empty_like(array, mem_flags)
    result.fill(0)
    return result


def raw_bytes(memory: object, size: int | None = None) -> npt.NDArray[np.uint8]:
    """Bytes that are shared with device memory, an address, an array or a buffer.

    Args:
        memory: whose bytes.
        size: how many are needed; None for all of an array or a buffer.

    Raises:
        LogicError: it has fewer bytes, is not contiguous, or no memory at all.
    """
    if isinstance(memory, DeviceAllocation | int | np.integer):
        return _device_bytes(memory, size)
    array = memory if isinstance(memory, np.ndarray) else np.frombuffer(_buffer(memory), np.uint8)
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        raise LogicError(
            f"expected a contiguous array, found strides {array.strides} for shape {array.shape}; pass "
            "numpy.ascontiguousarray(array)"
        )
    if size is not None and array.nbytes < size:
        raise LogicError(f"the copy has {size} bytes, the host array {array.nbytes}; pass an array of the right size")
    return array.reshape(-1, order="A").view(np.uint8)[:size]


def _device_bytes(memory: DeviceAllocation | int | np.integer, size: int | None) -> npt.NDArray[np.uint8]:
    if size is None:
        raise LogicError("a copy between addresses needs a size in bytes")
    if isinstance(memory, DeviceAllocation) and size > memory.size:
        raise LogicError(
            f"the copy has {size} bytes, the device memory {memory.size}; allocate size × itemsize bytes of the array "
            "as it is copied (is its dtype the one that you allocated for?)"
        )
    address = int(memory)
    if address <= 0:
        raise LogicError(f"expected the address of device memory, found {address:#x}")
    if room_at(address) == 0:
        raise LogicError(f"the device memory at {address:#x} is freed already; keep the object that owns it")
    return bytes_at(address, size)


def _buffer(memory: object) -> memoryview:
    try:
        return memoryview(memory).cast("B")  # type: ignore[arg-type]
    except TypeError:
        raise LogicError(f"expected an array, a buffer or device memory, found {type(memory).__name__}") from None


def _free(allocator: Allocator, address: int) -> None:
    if is_called_by_stream():  # It cannot wait for the others here: one of them may be waiting for it.
        threading.Thread(target=_free, args=(allocator, address), daemon=True).start()
        return
    join_all()
    _FREED[address] = None
    while len(_FREED) > _REMEMBERED:
        _FREED.pop(next(iter(_FREED)), None)
    allocator.free(address)
