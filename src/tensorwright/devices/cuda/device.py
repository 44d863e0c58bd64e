"""A GPU as a device: the one place that names its parts."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.library import driver
from tensorwright.devices.cuda.memory import ALIGNMENT, Copies, DeviceAllocator, PageLockedAllocator
from tensorwright.devices.cuda.stream import CudaEvent, CudaStream

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator


class CudaDevice:
    """One NVIDIA GPU. Streams and events may come from anybody: handles are those of the driver."""

    memory_alignment = ALIGNMENT

    def __init__(self, context: Context) -> None:
        self.context = context
        self.copies = Copies(context)
        self.page_locked = PageLockedAllocator(context)
        self._allocator = DeviceAllocator(context)
        self._streams: weakref.WeakValueDictionary[int, CudaStream] = weakref.WeakValueDictionary()
        self._events: weakref.WeakValueDictionary[int, CudaEvent] = weakref.WeakValueDictionary()
        self._default: CudaStream | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return f"cuda:{self.context.ordinal}"

    @property
    def allocator(self) -> Allocator:
        return self._allocator

    def create_stream(self) -> CudaStream:
        stream = CudaStream(self.context)
        self._streams[stream.handle] = stream
        return stream

    def create_event(self) -> CudaEvent:
        event = CudaEvent(self.context)
        self._events[event.handle] = event
        return event

    def find_stream(self, handle: int) -> CudaStream:
        """The stream with this handle, whoever made it; 0 stands for a stream of this device's own."""
        if handle:
            return self._streams.get(handle) or CudaStream(self.context, handle)
        with self._lock:
            if self._default is None:
                self._default = self.create_stream()
            return self._default

    def find_event(self, handle: int) -> CudaEvent:
        """The event with this handle, whoever made it."""
        return self._events.get(handle) or CudaEvent(self.context, handle)


def cuda_device(ordinal: int = 0) -> CudaDevice:
    """The GPU of a number.

    Raises:
        ExecutionError: there is no driver, it is too old, or there is no such GPU.
    """
    return CudaDevice(Context(driver(), ordinal))
