"""A GPU as the device of scripts: real device memory, page-locked memory and streams, through the driver alone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorwright.base.errors import ExecutionError
from tensorwright.devices.cuda.device import create as create_device
from tensorwright.devices.cuda.memory import ALIGNMENT, lock_pages, unlock_pages
from tensorwright.devices.cuda.stream import DEFAULT, CudaEvent, CudaStream

if TYPE_CHECKING:
    import numpy as np

    from tensorwright.compat.machine import Bytes
    from tensorwright.devices.device import Stream


@dataclass(frozen=True)
class CudaFacts:
    """What the driver says."""

    name: str
    capability: tuple[int, int]
    bus: str
    version: tuple[int, int, int]
    driver_version: int


class CudaMachine:
    """See `Machine`. Streams wait for the default stream and it for them, as those that `pycuda` makes."""

    def __init__(self, number: int) -> None:
        self._device = create_device(number)
        self._context = self._device.context
        self._default = CudaStream(self._context, DEFAULT)
        self.device = self._device.label

    @property
    def facts(self) -> CudaFacts:
        properties, version = self._context.properties, self._context.driver.version
        return CudaFacts(
            name=properties.name,
            capability=divmod(properties.capability, 10),
            bus=self._context.bus,
            version=(version // 1000, version % 1000 // 10, 0),
            driver_version=version,
        )

    def allocate(self, size: int) -> int:
        address = self._device.allocator.allocate(size, ALIGNMENT, 0)
        assert address is not None
        return address

    def free(self, address: int) -> None:
        self.join()
        self._device.allocator.free(address)

    def lock_pages(self, address: int, size: int) -> None:
        lock_pages(self._context, address, size)

    def unlock_pages(self, address: int) -> None:
        with suppress(ExecutionError):  # The pages go in any case.
            self.join()
            unlock_pages(self._context, address)

    def to_device(self, target: int, source: Bytes, stream: Stream | None) -> None:
        self._device.upload(target, source.ctypes.data, source.size, stream)

    def to_host(self, target: Bytes, source: int, stream: Stream | None) -> None:
        self._device.download(target.ctypes.data, source, target.size, stream)
        if stream is not None:
            stream.synchronize()

    def on_device(self, target: int, source: int, size: int, stream: Stream | None) -> None:
        self._device.copies.on_device(target, source, size, (stream or self._default).handle)
        self._finish(stream)

    def fill(self, target: int, value: np.unsignedinteger, count: int, stream: Stream | None) -> None:
        self._device.copies.fill(target, int(value), count, (stream or self._default).handle, value.itemsize)
        self._finish(stream)

    def _finish(self, stream: Stream | None) -> None:
        if stream is None:
            self._default.synchronize()

    def free_memory(self) -> tuple[int, int]:
        return self._context.free_memory()

    def create_stream(self) -> CudaStream:
        return CudaStream(self._context, waits_for_default=True)

    def create_event(self) -> CudaEvent:
        return self._device.create_event()

    def find_stream(self, handle: int) -> CudaStream:
        return self._device.find_stream(handle)

    def is_finishing(self, stream: Stream) -> None:
        """Nothing: the driver destroys a stream when its work is done."""

    def synchronize(self) -> None:
        self._context.synchronize()

    def join(self) -> None:
        with suppress(ExecutionError):
            self.synchronize()


def create(number: int) -> CudaMachine:
    """The GPU of a number.

    Raises:
        ExecutionError: it is not there.
    """
    return CudaMachine(number)
