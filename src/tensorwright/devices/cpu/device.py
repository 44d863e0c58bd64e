"""The CPU as a device: the one place that names its parts."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from tensorwright.devices.cpu.abi import ALIGNMENT
from tensorwright.devices.cpu.executor import CpuModule
from tensorwright.devices.cpu.host import check
from tensorwright.devices.cpu.memory import PageAllocator
from tensorwright.devices.cpu.stream import CpuEvent, CpuStream, find_event, find_stream

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator
    from tensorwright.plan.plan import MachineStamp, Plan


class CpuDevice:
    """Runs plans on the threads and in the memory of this process."""

    name = "cpu"
    memory_alignment = ALIGNMENT
    has_host_memory = True

    def __init__(self) -> None:
        self._allocator = PageAllocator()

    def check(self, stamp: MachineStamp) -> None:
        check(stamp)

    def upload(self, address: int, source: int, size: int) -> None:
        ctypes.memmove(address, source, size)

    def download(self, target: int, address: int, size: int) -> None:
        ctypes.memmove(target, address, size)

    @property
    def allocator(self) -> Allocator:
        return self._allocator

    def load(self, plan: Plan, allocator: Allocator, threads: int) -> CpuModule:
        return CpuModule(plan, allocator, threads)

    def create_stream(self) -> CpuStream:
        return CpuStream()

    def create_event(self) -> CpuEvent:
        return CpuEvent()

    def find_stream(self, handle: int) -> CpuStream:
        return find_stream(handle)

    def find_event(self, handle: int) -> CpuEvent:
        return find_event(handle)


def create() -> CpuDevice:
    """The CPU of this machine."""
    return CpuDevice()
