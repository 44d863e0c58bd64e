"""GPUs of this machine, and the primary context that everybody in a process shares."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_int, c_size_t, c_uint, c_void_p
from dataclasses import dataclass

from tensorwright.base.errors import ExecutionError
from tensorwright.devices.cuda.library import DESTROYED, Driver

_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_MULTIPROCESSORS, _L2_BYTES, _SHARED_BYTES = 16, 38, 97
_CLOCK, _MEMORY_CLOCK, _BUS_BITS = 13, 36, 37
CORES = 128
"""Multiply-adds in float32 that a multiprocessor begins in a cycle, on all but a few GPUs."""
NAME_BYTES = 256


@dataclass(frozen=True)
class GpuProperties:
    """What a GPU is. capability: ten times its compute capability. shared_bytes: what one block may ask for at most.

    float32_gflops, memory_gigabytes_per_second: by its clocks and widths, at best.
    """

    name: str
    capability: int
    multiprocessors: int
    l2_bytes: int
    shared_bytes: int
    memory_bytes: int
    float32_gflops: float
    memory_gigabytes_per_second: float


class Context:
    """The primary context of one GPU, which libraries share, retained until `close`; or the one that the program has
    made for it itself and made current in this thread, as `pycuda` does: addresses of one mean nothing in the other.

    Everything of it may be used from several threads. A process that was forked after the context was made cannot use
    the GPU; it gets an error instead of undefined behaviour.

    Raises:
        ExecutionError: there is no GPU of this number.
    """

    def __init__(self, driver: Driver, ordinal: int = 0) -> None:
        self.driver = driver
        self.ordinal = ordinal
        self._process = os.getpid()
        self._device = self._find(ordinal)
        self.properties = self._properties()
        own = self._own_of_thread()
        handle = c_void_p(own)
        if own is None:
            driver.call(f"opening {self}", "cuDevicePrimaryCtxRetain", ctypes.byref(handle), self._device)
        self._handle = handle
        self._finalizer = weakref.finalize(self, _release, driver, self._device, self._process, own is None)

    def __str__(self) -> str:
        return f"GPU {self.ordinal}"

    def call(self, attempt: str, function: str, *arguments: object) -> None:
        """Call a function of the driver with this context current.

        Raises:
            CudaError: it returned an error.
        """
        code = self.try_call(function, *arguments)
        if code:
            raise self.driver.error(f"{attempt} on {self}", function, code)

    def try_call(self, function: str, *arguments: object) -> int:
        """As `call`, but returns the driver's code. Another context that is current in this thread stays so."""
        if os.getpid() != self._process:
            raise ExecutionError(
                f"{self} was opened before this process was forked, and a forked process cannot use it: "
                "start processes with the method 'spawn', or load engines after forking"
            )
        current = _current(self.driver)
        if current == self._handle.value:
            return self.driver.try_call(function, *arguments)
        self.driver.call(f"using {self}", "cuCtxSetCurrent", self._handle)
        try:
            return self.driver.try_call(function, *arguments)
        finally:
            if current:
                self.driver.call("using another context again", "cuCtxSetCurrent", current)

    @contextmanager
    def current(self) -> Iterator[None]:
        """The context is current in this thread meanwhile, and so the GPU for all libraries."""
        outer = _current(self.driver)
        self.driver.call(f"using {self}", "cuCtxSetCurrent", self._handle)
        try:
            yield
        finally:
            self.driver.call("using another context again", "cuCtxSetCurrent", outer or self._handle)

    def synchronize(self) -> None:
        """Wait until all work on the GPU is done.

        Raises:
            CudaError: some of it failed.
        """
        self.call("waiting for all work", "cuCtxSynchronize")

    def free_memory(self) -> tuple[int, int]:
        """Bytes of device memory that are free, and all there are."""
        free, total = c_size_t(), c_size_t()
        self.call("asking for free memory", "cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    @property
    def bus(self) -> str:
        """Where the GPU is plugged in, such as ``0000:65:00.0``."""
        found = ctypes.create_string_buffer(NAME_BYTES)
        self.driver.call(f"finding the bus of {self}", "cuDeviceGetPCIBusId", found, NAME_BYTES, self._device)
        return found.value.decode()

    def close(self) -> None:
        """Give the context back. Twice is once."""
        self._finalizer()

    def _own_of_thread(self) -> int | None:
        """The context that the program has made for this GPU and made current; None if that is the primary one."""
        current, device, flags, is_active, primary = _current(self.driver), c_int(), c_uint(), c_int(), c_void_p()
        if current is None:
            return None
        self.driver.call("asking for the current GPU", "cuCtxGetDevice", ctypes.byref(device))
        if device.value != self._device:
            return None
        state = (ctypes.byref(flags), ctypes.byref(is_active))
        self.driver.call(f"asking for the state of {self}", "cuDevicePrimaryCtxGetState", self._device, *state)
        if not is_active.value:
            # A primary context that everybody has given back stays current, and is of no use.
            return None if self.driver.try_call("cuCtxSynchronize") == DESTROYED else current
        self.driver.call(f"opening {self}", "cuDevicePrimaryCtxRetain", ctypes.byref(primary), self._device)
        self.driver.call(f"closing {self}", "cuDevicePrimaryCtxRelease_v2", self._device)
        return None if primary.value == current else current

    def _find(self, ordinal: int) -> int:
        device, count = c_int(), self.driver.count()
        if not 0 <= ordinal < count:
            found = ", ".join(f"cuda:{number}" for number in range(count)) or "none"
            raise ExecutionError(f"no GPU {ordinal}: the GPUs that this process may use are {found}")
        self.driver.call(f"finding {self}", "cuDeviceGet", ctypes.byref(device), ordinal)
        return device.value

    def _properties(self) -> GpuProperties:
        name, memory = ctypes.create_string_buffer(NAME_BYTES), c_size_t()
        self.driver.call(f"naming {self}", "cuDeviceGetName", name, NAME_BYTES, self._device)
        self.driver.call(f"measuring {self}", "cuDeviceTotalMem_v2", ctypes.byref(memory), self._device)
        return GpuProperties(
            name=name.value.decode(),
            capability=10 * self._attribute(_CAPABILITY_MAJOR) + self._attribute(_CAPABILITY_MINOR),
            multiprocessors=self._attribute(_MULTIPROCESSORS),
            l2_bytes=self._attribute(_L2_BYTES),
            shared_bytes=self._attribute(_SHARED_BYTES),
            memory_bytes=memory.value,
            float32_gflops=self._attribute(_MULTIPROCESSORS) * CORES * 2 * self._attribute(_CLOCK) * 1e-6,
            memory_gigabytes_per_second=2 * self._attribute(_MEMORY_CLOCK) * self._attribute(_BUS_BITS) / 8 * 1e-6,
        )

    def _attribute(self, number: int) -> int:
        value = c_int()
        attempt = f"asking {self} for attribute {number}"
        self.driver.call(attempt, "cuDeviceGetAttribute", ctypes.byref(value), number, self._device)
        return value.value


def _current(driver: Driver) -> int | None:
    """The context that is current in this thread."""
    found = c_void_p()
    driver.call("asking for the current context", "cuCtxGetCurrent", ctypes.byref(found))
    return found.value


def _release(driver: Driver, device: int, process: int, is_retained: bool) -> None:
    if is_retained and os.getpid() == process:
        driver.try_call("cuDevicePrimaryCtxRelease_v2", device)
