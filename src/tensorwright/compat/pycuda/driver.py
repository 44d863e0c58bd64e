"""`pycuda.driver`: there is one device, the one that was chosen."""

from __future__ import annotations

from enum import IntFlag

from tensorwright.compat.machine import machine
from tensorwright.compat.pycuda.copies import (
    from_device,
    from_device_like,
    memcpy_dtod,
    memcpy_dtod_async,
    memcpy_dtoh,
    memcpy_dtoh_async,
    memcpy_htod,
    memcpy_htod_async,
    memset_d8,
    memset_d8_async,
    memset_d16,
    memset_d16_async,
    memset_d32,
    memset_d32_async,
    to_device,
)
from tensorwright.compat.pycuda.errors import Error, LaunchError, LogicError, MemoryError, RuntimeError
from tensorwright.compat.pycuda.memory import (
    DeviceAllocation,
    PagelockedHostAllocation,
    mem_alloc,
    mem_alloc_pitch,
    pagelocked_empty,
    pagelocked_empty_like,
    pagelocked_zeros,
    pagelocked_zeros_like,
)
from tensorwright.compat.pycuda.streams import Event, Stream

__all__ = [
    "Context",
    "Device",
    "DeviceAllocation",
    "Error",
    "Event",
    "LaunchError",
    "LogicError",
    "MemoryError",
    "PagelockedHostAllocation",
    "RuntimeError",
    "Stream",
    "ctx_flags",
    "event_flags",
    "from_device",
    "from_device_like",
    "get_driver_version",
    "get_version",
    "host_alloc_flags",
    "init",
    "mem_alloc",
    "mem_alloc_pitch",
    "mem_get_info",
    "memcpy_dtod",
    "memcpy_dtod_async",
    "memcpy_dtoh",
    "memcpy_dtoh_async",
    "memcpy_htod",
    "memcpy_htod_async",
    "memset_d8",
    "memset_d8_async",
    "memset_d16",
    "memset_d16_async",
    "memset_d32",
    "memset_d32_async",
    "pagelocked_empty",
    "pagelocked_empty_like",
    "pagelocked_zeros",
    "pagelocked_zeros_like",
    "to_device",
]


class ctx_flags(IntFlag):  # noqa: N801 - the name of the original
    """Accepted without effect."""

    SCHED_AUTO = 0
    SCHED_SPIN = 1
    SCHED_YIELD = 2
    SCHED_BLOCKING_SYNC = 4
    MAP_HOST = 8
    LMEM_RESIZE_TO_MAX = 16


class event_flags(IntFlag):  # noqa: N801 - the name of the original
    """Accepted without effect."""

    DEFAULT = 0
    BLOCKING_SYNC = 1
    DISABLE_TIMING = 2
    INTERPROCESS = 4


class host_alloc_flags(IntFlag):  # noqa: N801 - the name of the original
    """Accepted without effect: all memory is mapped and portable."""

    PORTABLE = 1
    DEVICEMAP = 2
    WRITECOMBINED = 4


class Device:
    """The device."""

    def __init__(self, number: int = 0) -> None:
        if number != 0:
            raise LogicError(f"Device: expected 0, the only device, found {number!r}")

    @staticmethod
    def count() -> int:
        """One."""
        return 1

    def name(self) -> str:
        """What the system or the driver calls it."""
        return machine().facts.name

    def compute_capability(self) -> tuple[int, int]:
        """Of a GPU; (0, 0) for the CPU, which has none."""
        return machine().facts.capability

    def total_memory(self) -> int:
        """Bytes of memory that it has."""
        return mem_get_info()[1]

    def pci_bus_id(self) -> str:
        """Where a GPU is plugged in; "cpu" for the CPU."""
        return machine().facts.bus

    def make_context(self, flags: int = 0) -> Context:
        """A context; there is nothing to make."""
        del flags
        return Context(self)

    def retain_primary_context(self) -> Context:
        """A context; there is nothing to retain."""
        return Context(self)


class Context:
    """The state of the device in this process. All contexts are one."""

    def __init__(self, device: Device | None = None) -> None:
        self._device = device or Device(0)

    def push(self) -> None:
        """Nothing: the context is always current."""

    @staticmethod
    def pop() -> None:
        """Nothing: the context is always current."""

    def detach(self) -> None:
        """Nothing: memory goes with the objects that own it."""

    @staticmethod
    def attach(flags: int = 0) -> Context:
        """The context."""
        del flags
        return Context()

    @staticmethod
    def get_current() -> Context:
        """The context."""
        return Context()

    @staticmethod
    def get_device() -> Device:
        """The device."""
        return Device(0)

    @staticmethod
    def synchronize() -> None:
        """Wait until the work of all streams is done, and raise the first error of it."""
        machine().synchronize()


def init(flags: int = 0) -> None:
    """Nothing: the device is always ready."""
    del flags


def mem_get_info() -> tuple[int, int]:
    """Free and total bytes of memory of the device."""
    return machine().free_memory()


def get_version() -> tuple[int, int, int]:
    """The version of CUDA that the driver has; (0, 0, 0) on the CPU."""
    return machine().facts.version


def get_driver_version() -> int:
    """The same as one number; 0 on the CPU."""
    return machine().facts.driver_version
