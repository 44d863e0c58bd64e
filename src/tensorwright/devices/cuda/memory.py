"""Memory of a GPU, page-locked memory of the host, and copies between them."""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_uint, c_ulonglong, c_void_p

from tensorwright.base.errors import ExecutionError
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.library import LOST, OUT_OF_MEMORY, CudaError
from tensorwright.devices.cuda.stream import DEFAULT

ALIGNMENT = 256
"""Every allocation of the driver starts at a multiple of so many bytes."""


_MEMORY_TYPE, _HOST, _ORDINAL = 2, 1, 9  # CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_MEMORYTYPE_HOST, …_DEVICE_ORDINAL
_PORTABLE = 1  # Page-locked for all GPUs of the process.


class DeviceAllocator:
    """Gives out memory of one GPU. May be called from several threads."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def allocate(self, size: int, alignment: int, flags: int) -> int:
        """The address of `size` bytes.

        Raises:
            ExecutionError: the memory is used up, which says how much is free; or the alignment is beyond the driver's.
        """
        if alignment > ALIGNMENT:
            raise ExecutionError(f"device memory is aligned to {ALIGNMENT} bytes, {alignment} were asked for")
        address = c_ulonglong()
        code = self._context.try_call("cuMemAlloc_v2", ctypes.byref(address), max(size, 1))
        if code:
            raise _failure(self._context, f"allocating {size} bytes", "cuMemAlloc_v2", code)
        return address.value

    def free(self, address: int) -> None:
        _free(self._context, "freeing memory", "cuMemFree_v2", address)


class PageLockedAllocator:
    """Gives out memory of the host that the GPU copies from and to directly, while the host goes on."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def allocate(self, size: int, alignment: int, flags: int) -> int:
        """The address of `size` bytes, aligned to a page.

        Raises:
            ExecutionError: there is not so much memory that may be locked.
        """
        address = c_void_p()
        code = self._context.try_call("cuMemHostAlloc", ctypes.byref(address), max(size, 1), _PORTABLE)
        if code:
            raise self._context.driver.error(f"locking {size} bytes of the host's memory", "cuMemHostAlloc", code)
        return address.value or 0

    def free(self, address: int) -> None:
        _free(self._context, "freeing page-locked memory", "cuMemFreeHost", address)


def _free(context: Context, attempt: str, function: str, address: int) -> None:
    code = context.try_call(function, address)
    if code and code not in LOST:  # A GPU that is lost has given everything back.
        raise context.driver.error(f"{attempt} on {context}", function, code)


def _failure(context: Context, attempt: str, function: str, code: int) -> CudaError:
    if code == OUT_OF_MEMORY:
        free, total = context.free_memory()
        attempt += f" of {context}, which has {free} of {total} bytes free,"
    return context.driver.error(attempt, function, code)


def device_of(context: Context, address: int) -> int:
    """The number of the GPU whose memory starts at an address.

    Raises:
        CudaError: it is no such memory.
    """
    number = c_int()
    attempt = f"finding the GPU with the memory at {address:#x}"
    context.call(attempt, "cuPointerGetAttribute", ctypes.byref(number), _ORDINAL, address)
    return number.value


def is_page_locked(context: Context, address: int) -> bool:
    """Whether memory of the host is page-locked, by whoever it is: the GPU copies from and to it directly."""
    kind = c_uint()
    code = context.try_call("cuPointerGetAttribute", ctypes.byref(kind), _MEMORY_TYPE, address)
    return code == 0 and kind.value == _HOST


def lock_pages(context: Context, address: int, size: int) -> None:
    """Have memory of the host stay where it is, so that GPUs copy from and to it directly.

    Raises:
        CudaError: there is not so much memory that may be locked, or it is locked already.
    """
    attempt = f"locking {size} bytes of the host's memory"
    context.call(attempt, "cuMemHostRegister_v2", address, size, _PORTABLE)


def unlock_pages(context: Context, address: int) -> None:
    """Let memory of the host go that `lock_pages` has locked."""
    context.call("unlocking memory of the host", "cuMemHostUnregister", address)


class Copies:
    """Copies of bytes. Without a stream they wait until they are done; with its handle they are put into it.

    A copy in a stream from or to host memory that is not page-locked may wait as well. Every pointer is an address.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def to_device(self, target: int, source: int, size: int, stream: int | None = None) -> None:
        self._copy(f"copying {size} bytes to the device", "cuMemcpyHtoD", target, source, size, stream)

    def to_host(self, target: int, source: int, size: int, stream: int | None = None) -> None:
        self._copy(f"copying {size} bytes to the host", "cuMemcpyDtoH", target, source, size, stream)

    def on_device(self, target: int, source: int, size: int, stream: int) -> None:
        attempt = f"copying {size} bytes on the device"
        self._context.call(attempt, "cuMemcpyDtoDAsync_v2", target, source, size, stream)

    def fill(self, target: int, value: int, count: int, stream: int, width: int = 1) -> None:
        """Write a value of 1, 2 or 4 bytes (`width`) so many times to device memory."""
        attempt = f"filling {width * count} bytes"
        self._context.call(attempt, f"cuMemsetD{8 * width}Async", target, value, count, stream)

    def _copy(self, attempt: str, function: str, target: int, source: int, size: int, stream: int | None) -> None:
        if stream is None:
            self._context.call(attempt, f"{function}_v2", target, source, size)
            # From pages that are not locked, the last bytes may still be on their way, and others' streams do not wait.
            self._context.call(attempt, "cuStreamSynchronize", DEFAULT)
        else:
            self._context.call(attempt, f"{function}Async_v2", target, source, size, stream)
