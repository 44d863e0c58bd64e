"""The CPU as the device of scripts: device memory, and page-locked memory, are pages of this process."""

from __future__ import annotations

import mmap
import os
import platform
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tensorwright.base.addresses import bytes_at
from tensorwright.devices.cpu.device import create as create_device
from tensorwright.devices.cpu.stream import (
    CpuEvent,
    CpuStream,
    find_stream,
    is_called_by_stream,
    join_all,
    synchronize_all,
)

if TYPE_CHECKING:
    from tensorwright.compat.machine import Bytes
    from tensorwright.devices.device import Stream


@dataclass(frozen=True)
class CpuFacts:
    """There is no CUDA: capability and versions are zeros, and the bus is one that no device has."""

    name: str
    capability: tuple[int, int] = (0, 0)
    bus: str = "cpu"
    version: tuple[int, int, int] = (0, 0, 0)
    driver_version: int = 0


class CpuMachine:
    """See `Machine`. A copy to the device that has to wait takes a snapshot of its source."""

    device = "cpu"

    def __init__(self, number: int) -> None:
        self._allocator = create_device(number).allocator
        self.facts = CpuFacts(platform.processor() or platform.machine())

    def allocate(self, size: int) -> int:
        address = self._allocator.allocate(size, mmap.PAGESIZE, 0)
        assert address is not None
        return address

    def free(self, address: int) -> None:
        if is_called_by_stream():  # It cannot wait for the others here: one of them may be waiting for it.
            threading.Thread(target=self.free, args=(address,), daemon=True).start()
            return
        join_all()
        self._allocator.free(address)

    def lock_pages(self, address: int, size: int) -> None:
        """Nothing: the device is the host."""

    def unlock_pages(self, address: int) -> None:
        """Nothing: the device is the host."""

    def to_device(self, target: int, source: Bytes, stream: Stream | None) -> None:
        _copy(bytes_at(target, source.size), source, stream, snapshot=True)

    def to_host(self, target: Bytes, source: int, stream: Stream | None) -> None:
        if stream is None:
            synchronize_all()
        else:
            stream.synchronize()
        target[:] = bytes_at(source, target.size)

    def on_device(self, target: int, source: int, size: int, stream: Stream | None) -> None:
        _copy(bytes_at(target, size), bytes_at(source, size), stream, snapshot=False)

    def fill(self, target: int, value: np.unsignedinteger, count: int, stream: Stream | None) -> None:
        elements = bytes_at(target, count * value.itemsize).view(value.dtype)
        if stream is None:
            synchronize_all()
            elements[:] = value
        else:
            stream.enqueue(partial(np.copyto, elements, value))

    def free_memory(self) -> tuple[int, int]:
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_AVPHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES")

    def create_stream(self) -> CpuStream:
        return CpuStream()

    def create_event(self) -> CpuEvent:
        return CpuEvent()

    def find_stream(self, handle: int) -> CpuStream:
        return find_stream(handle)

    def is_finishing(self, stream: Stream) -> None:
        if isinstance(stream, CpuStream) and not stream.is_caller():
            stream.join()

    def synchronize(self) -> None:
        synchronize_all()

    def join(self) -> None:
        join_all()


def _copy(target: Bytes, source: Bytes, stream: Stream | None, *, snapshot: bool) -> None:
    if stream is None:
        synchronize_all()
        target[:] = source
    elif stream.query():
        target[:] = source
    else:
        stream.enqueue(partial(np.copyto, target, source.copy() if snapshot else source))


def create(number: int) -> CpuMachine:
    """The CPU."""
    return CpuMachine(number)
