"""The CPU as a device: the one place that names its parts."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tensorwright.base.errors import ExecutionError
from tensorwright.devices.cpu.abi import ALIGNMENT
from tensorwright.devices.cpu.executor import CpuModule
from tensorwright.devices.cpu.host import check
from tensorwright.devices.cpu.memory import PageAllocator
from tensorwright.devices.cpu.stream import CpuEvent, CpuStream, find_event, find_stream

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator, Module, Stream
    from tensorwright.plan.plan import MachineStamp, Plan


class CpuDevice:
    """Runs plans on the threads and in the memory of this process."""

    name = label = "cpu"
    memory_alignment = ALIGNMENT
    has_host_memory = True

    def __init__(self) -> None:
        self._allocator = PageAllocator()

    def check(self, stamp: MachineStamp) -> None:
        check(stamp)

    def upload(self, address: int, source: int, size: int, stream: Stream | None = None) -> None:
        _copy(address, source, size, stream)

    def download(self, target: int, address: int, size: int, stream: Stream | None = None) -> None:
        _copy(target, address, size, stream)

    @property
    def staging(self) -> Allocator:
        return self._allocator

    def is_staging(self, address: int) -> bool:
        return True

    @property
    def allocator(self) -> Allocator:
        return self._allocator

    def load(self, plan: Plan, allocator: Allocator, threads: int, shared: Module | None = None) -> CpuModule:
        weights = plan.weights if shared is None else shared.plan.weights
        return CpuModule(replace(plan, weights=weights), allocator, threads)

    def arrays(self, allocator: Allocator) -> None:
        """None: nobody else has arrays there that are not arrays of the process."""

    def create_stream(self) -> CpuStream:
        return CpuStream()

    def create_event(self) -> CpuEvent:
        return CpuEvent()

    def find_stream(self, handle: int) -> CpuStream:
        return find_stream(handle)

    def find_event(self, handle: int) -> CpuEvent:
        return find_event(handle)


def _copy(target: int, source: int, size: int, stream: Stream | None) -> None:
    if stream is None:
        ctypes.memmove(target, source, size)
    else:
        stream.enqueue(partial(ctypes.memmove, target, source, size))


def create(number: int = 0) -> CpuDevice:
    """The CPU of this machine.

    Raises:
        ExecutionError: another one than the first is asked for.
    """
    if number:
        raise ExecutionError(f"device 'cpu:{number}': all processors of this machine are one device, cpu")
    return CpuDevice()


def count() -> int:
    """One: all processors are one device."""
    return 1
