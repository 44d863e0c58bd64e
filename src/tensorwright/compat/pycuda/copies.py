"""Copies between host and device, in the order of streams.

A copy without a stream waits for all streams first, as the default stream of CUDA does. A copy from the device is done
when the call returns, also when it is called asynchronous: scripts read the array without synchronising the stream,
which on a GPU works only by chance. A copy to the device may go on after the call, from a snapshot of the array, so
that the array can be changed or dropped at once.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from tensorwright.compat.pycuda.errors import LogicError
from tensorwright.compat.pycuda.memory import (
    Array,
    DeviceAllocation,
    mem_alloc,
    pagelocked_empty,
    raw_bytes,
)
from tensorwright.compat.pycuda.streams import Stream, stream_of
from tensorwright.devices.cpu.stream import synchronize_all

Memory = DeviceAllocation | int
Bytes = npt.NDArray[np.uint8]


def memcpy_htod(dest: Memory, src: object) -> None:
    """Copy an array to the device, after the work of all streams."""
    source = raw_bytes(src)
    target = raw_bytes(dest, source.size)
    synchronize_all()
    target[:] = source


def memcpy_htod_async(dest: Memory, src: object, stream: Stream | None = None) -> None:
    """Copy an array to the device, after the work that the stream holds now."""
    source = raw_bytes(src)
    _copy_in_order(raw_bytes(dest, source.size), source, stream, snapshot=True)


def memcpy_dtoh(dest: Array, src: Memory) -> None:
    """Copy from the device into an array, after the work of all streams."""
    target = _writable(dest)
    source = raw_bytes(src, target.size)
    synchronize_all()
    target[:] = source


def memcpy_dtoh_async(dest: Array, src: Memory, stream: Stream | None = None) -> None:
    """Copy from the device into an array, after the work that the stream holds now. Returns when it is done."""
    target = _writable(dest)
    source = raw_bytes(src, target.size)
    if stream is None:
        synchronize_all()
    else:
        stream.synchronize()
    target[:] = source


def memcpy_dtod(dest: Memory, src: Memory, size: int) -> None:
    """Copy on the device, after the work of all streams."""
    target, source = raw_bytes(dest, size), raw_bytes(src, size)
    synchronize_all()
    target[:] = source


def memcpy_dtod_async(dest: Memory, src: Memory, size: int, stream: Stream | None = None) -> None:
    """Copy on the device, after the work that the stream holds now."""
    _copy_in_order(raw_bytes(dest, size), raw_bytes(src, size), stream, snapshot=False)


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
    source = raw_bytes(array)
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


def _copy_in_order(target: Bytes, source: Bytes, stream: Stream | None, *, snapshot: bool) -> None:
    if stream is None:
        synchronize_all()
        target[:] = source
    elif stream.is_done():
        target[:] = source
    else:
        stream_of(stream).enqueue(partial(np.copyto, target, source.copy() if snapshot else source))


def _fill(dest: Memory, data: int, size: int, dtype: type[np.unsignedinteger], stream: Stream | None) -> None:
    value = np.array(int(data) & np.iinfo(dtype).max, dtype)
    elements = raw_bytes(dest, size * value.itemsize).view(dtype)
    if stream is None:
        synchronize_all()
        elements[:] = value
    else:
        stream_of(stream).enqueue(partial(np.copyto, elements, value))


def _writable(array: object) -> Bytes:
    target = raw_bytes(array)
    if not target.flags.writeable:
        raise LogicError("a copy from the device needs an array that can be written")
    return target
