"""Device memory and page-locked memory."""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Sequence
from math import prod
from typing import Self

import numpy as np
import numpy.typing as npt

from tensorwright.base.addresses import bytes_at, mapping_address
from tensorwright.base.errors import ExecutionError
from tensorwright.compat.machine import Machine, machine
from tensorwright.compat.pycuda.errors import LogicError, MemoryError

Array = npt.NDArray[np.generic]
Shape = Sequence[int] | int


class DeviceAllocation:
    """Memory of the device. `int` gives its address; it is freed when nobody refers to it, or by `free`.

    Freeing waits for the work of all streams, which may still use the memory.
    """

    def __init__(self, size: int) -> None:
        try:
            address = machine().allocate(size)
        except (ExecutionError, OSError, OverflowError, ValueError) as error:
            raise MemoryError(f"mem_alloc: {size} bytes could not be allocated ({error})") from None
        self.size = size
        self._address = address
        self._finalizer = weakref.finalize(self, _free, machine(), address)
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
        """The bytes from `offset` on, which are memory of the process on the CPU alone."""
        address = device_address(self, offset + size)
        if machine().device != "cpu":
            raise LogicError("as_buffer: memory of a GPU is no memory of the process; copy it with memcpy_dtoh")
        return bytes_at(address + offset, size).data

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
        address = mapping_address(self)
        machine().lock_pages(address, max(size, 1))
        weakref.finalize(self, machine().unlock_pages, address).atexit = False

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


def host_bytes(memory: object) -> npt.NDArray[np.uint8]:
    """Bytes that are shared with an array or a buffer.

    Raises:
        LogicError: it is not contiguous, or has no memory at all.
    """
    array = memory if isinstance(memory, np.ndarray) else np.frombuffer(_buffer(memory), np.uint8)
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        raise LogicError(
            f"expected a contiguous array, found strides {array.strides} for shape {array.shape}; pass "
            "numpy.ascontiguousarray(array)"
        )
    return array.reshape(-1, order="A").view(np.uint8)


def device_address(memory: DeviceAllocation | int | np.integer, size: int) -> int:
    """Where so many bytes of device memory start.

    Raises:
        LogicError: it has fewer bytes, as far as that is known, is freed, or is no device memory at all.
    """
    if not isinstance(memory, DeviceAllocation | int | np.integer):
        raise LogicError(f"expected an array, an address or device memory, found {type(memory).__name__}")
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
    return address


def _buffer(memory: object) -> memoryview:
    try:
        return memoryview(memory).cast("B")  # type: ignore[arg-type]
    except TypeError:
        raise LogicError(f"expected an array, a buffer or device memory, found {type(memory).__name__}") from None


def _free(owner: Machine, address: int) -> None:
    owner.free(address)
    _FREED[address] = None
    while len(_FREED) > _REMEMBERED:
        _FREED.pop(next(iter(_FREED)), None)
