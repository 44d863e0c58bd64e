"""A GPU as a device: the one place that names its parts."""

from __future__ import annotations

import warnings
import weakref
from typing import TYPE_CHECKING

import tensorwright
from tensorwright.devices.cuda.arrays import CudaArrays
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.executor import CudaModule
from tensorwright.devices.cuda.fallback import difference, needs_compiler
from tensorwright.devices.cuda.libraries.calls import Libraries
from tensorwright.devices.cuda.library import driver
from tensorwright.devices.cuda.memory import ALIGNMENT, Copies, DeviceAllocator, PageLockedAllocator, is_page_locked
from tensorwright.devices.cuda.stream import DEFAULT, LEGACY, CudaEvent, CudaStream
from tensorwright.plan.plan import MachineStamp, Plan
from tensorwright.plan.stamp import require_equal

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator, Module, Stream


class CudaDevice:
    """One NVIDIA GPU. Streams and events may come from anybody: handles are those of the driver."""

    name = "cuda"
    memory_alignment = ALIGNMENT
    has_host_memory = False

    def __init__(self, context: Context) -> None:
        self.label = f"{self.name}:{context.ordinal}"
        self.context = context
        self.copies = Copies(context)
        self.page_locked = PageLockedAllocator(context)
        self.libraries = Libraries(context)
        self._allocator = DeviceAllocator(context)
        self._streams: weakref.WeakValueDictionary[int, CudaStream] = weakref.WeakValueDictionary()
        self._events: weakref.WeakValueDictionary[int, CudaEvent] = weakref.WeakValueDictionary()

    @property
    def allocator(self) -> Allocator:
        return self._allocator

    def check(self, stamp: MachineStamp) -> None:
        require_equal(stamp, gpu_stamp(stamp.target, self.context.properties.name))
        if needs_compiler(stamp, self.context.properties):
            warnings.warn(
                f"{difference(stamp, self.context.properties)}: the driver compiles the kernels now, which takes "
                "seconds, and none was chosen for this GPU; build it again here for speed",
                RuntimeWarning,
                stacklevel=2,
            )

    def load(self, plan: Plan, allocator: Allocator, threads: int, shared: Module | None = None) -> CudaModule:
        weights = shared.weights if isinstance(shared, CudaModule) else None
        return CudaModule(plan, self.context, allocator, self.libraries, weights)

    def upload(self, address: int, source: int, size: int, stream: Stream | None = None) -> None:
        self.copies.to_device(address, source, size, None if stream is None else stream.handle)

    def download(self, target: int, address: int, size: int, stream: Stream | None = None) -> None:
        self.copies.to_host(target, address, size, None if stream is None else stream.handle)

    @property
    def staging(self) -> Allocator:
        return self.page_locked

    def is_staging(self, address: int) -> bool:
        return is_page_locked(self.context, address)

    def arrays(self, allocator: Allocator) -> CudaArrays:
        return CudaArrays(self.context, allocator)

    def create_stream(self) -> CudaStream:
        stream = CudaStream(self.context)
        self._streams[stream.handle] = stream
        return stream

    def create_event(self) -> CudaEvent:
        event = CudaEvent(self.context)
        self._events[event.handle] = event
        return event

    def find_stream(self, handle: int) -> CudaStream:
        """The stream with this handle, whoever made it; 0 and 1 stand for the default stream, which waits for others
        unless they were made not to be waited for.
        """
        known = self._streams.get(handle)
        return known or CudaStream(self.context, DEFAULT if handle == LEGACY else handle)

    def find_event(self, handle: int) -> CudaEvent:
        """The event with this handle, whoever made it."""
        return self._events.get(handle) or CudaEvent(self.context, handle)


def create(number: int = 0) -> CudaDevice:
    """The GPU of a number.

    Raises:
        ExecutionError: there is no driver, it is too old, or there is no such GPU.
    """
    return CudaDevice(Context(driver(), number))


def count() -> int:
    """How many GPUs this process may use.

    Raises:
        ExecutionError: there is no driver, or it is too old.
    """
    return driver().count()


def gpu_stamp(target: str, model: str) -> MachineStamp:
    """What plans for a GPU are stamped with: only the GPU matters, not the machine around it."""
    return MachineStamp(
        package_version=tensorwright.__version__,
        device=CudaDevice.name,
        architecture="nvidia",
        operating_system="any",
        target=target,
        features=(),
        model=model,
    )
