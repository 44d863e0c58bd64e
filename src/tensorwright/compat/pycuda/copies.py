"""Copies between host and device, in the order of streams.

A copy without a stream waits for all streams first, as the default stream of CUDA does. A copy from the device is done
when the call returns, also when it is called asynchronous: scripts read the array without synchronising the stream,
which on a GPU works only by chance. A copy to the device may go on after the call, from a snapshot of the array, so
that the array can be changed or dropped at once, unless it is page-locked memory of a GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tensorwright.compat.machine import machine
from tensorwright.compat.pycuda.errors import LogicError
from tensorwright.compat.pycuda.memory import (
    Array,
    DeviceAllocation,
    device_address,
    host_bytes,
    mem_alloc,
    pagelocked_empty,
)
from tensorwright.compat.pycuda.streams import Stream, stream_of

if TYPE_CHECKING:
    from tensorwright.devices.device import Stream as InnerStream

Memory = DeviceAllocation | int


def memcpy_htod(dest: Memory, src: object) -> None:
    """Copy an array to the device, after the work of all streams."""
    _to_device(dest, src, None)


def memcpy_htod_async(dest: Memory, src: object, stream: Stream | None = None) -> None:
    """Copy an array to the device, after the work that the stream holds now."""
    _to_device(dest, src, stream)


def memcpy_dtoh(dest: Array, src: Memory) -> None:
    """Copy from the device into an array, after the work of all streams."""
    _to_host(dest, src, None)


def memcpy_dtoh_async(dest: Array, src: Memory, stream: Stream | None = None) -> None:
    """Copy from the device into an array, after the work that the stream holds now. Returns when it is done."""
    _to_host(dest, src, stream)


def memcpy_dtod(dest: Memory, src: Memory, size: int) -> None:
    """Copy on the device, after the work of all streams."""
    memcpy_dtod_async(dest, src, size)


def memcpy_dtod_async(dest: Memory, src: Memory, size: int, stream: Stream | None = None) -> None:
    """Copy on the device, after the work that the stream holds now."""
    machine().on_device(device_address(dest, size), device_address(src, size), size, _inner(stream))


def memset_d8(dest: Memory, data: int, size: int) -> None:
    """Fill `size` bytes."""
    _fill(dest, data, size, np.uint8, None)


def memset_d16(dest: Memory, data: int, size: int) -> None:
    """Fill `size` elements of 2 bytes."""
    _fill(dest, data, size, np.uint16, None)


def memset_d32(dest: Memory, data: int, size: int) -> None:
    """Fill `size` elements of 4 bytes."""
    _fill(dest, data, size, np.uint32, None)


def memset_d8_async(dest: Memory, data: int, size: int, stream: Stream | None = None) -> None:
    """As `memset_d8`, after the work that the stream holds now."""
    _fill(dest, data, size, np.uint8, stream)


def memset_d16_async(dest: Memory, data: int, size: int, stream: Stream | None = None) -> None:
    """As `memset_d16`, after the work that the stream holds now."""
    _fill(dest, data, size, np.uint16, stream)


def memset_d32_async(dest: Memory, data: int, size: int, stream: Stream | None = None) -> None:
    """As `memset_d32`, after the work that the stream holds now."""
    _fill(dest, data, size, np.uint32, stream)


def to_device(array: object) -> DeviceAllocation:
    """New device memory with the contents of an array."""
    source = host_bytes(array)
    memory = mem_alloc(source.size)
    memcpy_htod(memory, source)
    return memory


def from_device(devptr: Memory, shape: tuple[int, ...] | int, dtype: npt.DTypeLike, order: str = "C") -> Array:
    """A new array with the contents of device memory."""
    array = pagelocked_empty(shape, dtype, order)
    memcpy_dtoh(array, devptr)
    return array


def from_device_like(devptr: Memory, other_ary: Array) -> Array:
    """As `from_device`, with the shape and dtype of another array."""
    return from_device(devptr, other_ary.shape, other_ary.dtype)


def _to_device(dest: Memory, src: object, stream: Stream | None) -> None:
    source = host_bytes(src)
    machine().to_device(device_address(dest, source.size), source, _inner(stream))


def _to_host(dest: Array, src: Memory, stream: Stream | None) -> None:
    target = host_bytes(dest)
    if not target.flags.writeable:
        raise LogicError("a copy from the device needs an array that can be written")
    machine().to_host(target, device_address(src, target.size), _inner(stream))


def _fill(dest: Memory, data: int, size: int, dtype: type[np.unsignedinteger], stream: Stream | None) -> None:
    value = dtype(int(data) & np.iinfo(dtype).max)
    machine().fill(device_address(dest, size * value.itemsize), value, size, _inner(stream))


def _inner(stream: Stream | None) -> InnerStream | None:
    return None if stream is None else stream_of(stream)
