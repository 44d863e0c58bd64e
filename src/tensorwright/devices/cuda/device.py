"""A GPU as a device: the one place that names its parts."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import tensorwright
from tensorwright.base.errors import PlanError
from tensorwright.devices.cuda.arrays import CudaArrays
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.executor import CudaModule
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
        self._allocator = DeviceAllocator(context)
        self._streams: weakref.WeakValueDictionary[int, CudaStream] = weakref.WeakValueDictionary()
        self._events: weakref.WeakValueDictionary[int, CudaEvent] = weakref.WeakValueDictionary()

    @property
    def allocator(self) -> Allocator:
        return self._allocator

    def check(self, stamp: MachineStamp) -> None:
        require_equal(stamp, gpu_stamp(stamp.target, self.context.properties.name))
        found, wanted = self.context.properties.capability, target_capability(stamp.target)
        if found // 10 != wanted // 10 or found < wanted:
            raise PlanError(
                f"the plan was built for {stamp.target} on {stamp.model}; this is {self.context.properties.name} of "
                f"compute capability {found / 10:.1f}; build it again here"
            )

    def load(self, plan: Plan, allocator: Allocator, threads: int, shared: Module | None = None) -> CudaModule:
        weights = shared.weights if isinstance(shared, CudaModule) else None
        return CudaModule(plan, self.context, allocator, weights)

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


def target_capability(target: str) -> int:
    """Ten times the compute capability that a target such as ``sm_90`` is for.

    Raises:
        PlanError: it is no such name.
    """
    number = target.removeprefix("sm_")
    if not number.isdecimal() or number == target:
        raise PlanError(f"the plan was built for the target '{target}', expected one such as sm_90; build it again")
    return int(number)
