"""What the runtime asks of a device: memory, streams, events and executors of plans."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from tensorwright.plan.plan import MachineStamp, Plan

if TYPE_CHECKING:
    from tensorwright.tensor.dtype import DType


@runtime_checkable
class Allocator(Protocol):
    """Gives out device memory. It may be called from several threads at once."""

    def allocate(self, size: int, alignment: int, flags: int) -> int | None:
        """The address of `size` bytes that is a multiple of `alignment` (a power of two); 0 or None on failure."""
        ...

    def free(self, address: int) -> None:
        """Take back memory that `allocate` gave out."""
        ...


class Event(Protocol):
    """A mark in the work of a stream."""

    @property
    def handle(self) -> int: ...

    def record(self, stream: Stream) -> None:
        """Put the mark behind all work that the stream holds now."""
        ...

    def query(self) -> bool:
        """Whether the work before the latest mark is done; True when there is no mark."""
        ...

    def synchronize(self) -> None:
        """Wait until the work before the latest mark is done."""
        ...

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from this mark to the mark of `end`."""
        ...


class Stream(Protocol):
    """Work that is done in order, while the caller goes on."""

    @property
    def handle(self) -> int: ...

    def enqueue(self, work: Callable[[], object]) -> None:
        """Put work behind all work that the stream holds now, and return at once."""
        ...

    def wait_event(self, event: Event) -> None:
        """Work enqueued from now on starts after the event's latest mark."""
        ...

    def query(self) -> bool:
        """Whether all work is done."""
        ...

    def synchronize(self) -> None:
        """Wait until all work is done, and raise the first error since the last call."""
        ...


class DeviceView(NamedTuple):
    """Somebody's array in device memory. dtype: its name as `DType` has it. owner: what keeps the memory alive."""

    address: int
    shape: tuple[int, ...]
    dtype: str
    is_contiguous: bool
    owner: object


class DeviceArrays(Protocol):
    """Takes arrays on a device and makes new ones; for one thread at a time."""

    def view(self, value: object, stream: Stream) -> DeviceView | None:
        """An array of anybody, safe to be read by work that is put into the stream from now on; None if it is none.

        Raises:
            ExecutionError: it lies on another device, or has elements that no `DType` stands for.
        """
        ...

    def make(self, shape: tuple[int, ...], dtype: DType, stream: Stream, what: str) -> tuple[object, int]:
        """A new array that work of the stream will fill, for whoever takes arrays of this device; and its address."""
        ...

    def keep(self, owners: list[object], stream: Stream) -> None:
        """Keep these alive until the work that the stream holds now is done."""
        ...


class Executor(Protocol):
    """A plan that is ready to run on memory of its own; one inference at a time.

    bindings: one address per binding, in the order of the plan; symbols: one value per symbol.
    Both are filled by the caller before `run`.
    """

    bindings: MutableSequence[int]
    symbols: MutableSequence[int]

    @property
    def runner(self) -> Callable[[], None]:
        """What does the same as `run`, for who calls it often."""
        ...

    def run(self) -> None:
        """One inference; returns when it is done."""
        ...

    def set_memory(self, address: int) -> None:
        """Use `memory_bytes` bytes at this address for activations and scratch memory."""
        ...

    def run_profiled(self, steps: int) -> list[int]:
        """One inference; the device's ticks before, between and after the steps, `steps` + 1 numbers."""
        ...

    def close(self) -> None:
        """Give back threads and memory. Twice is once."""
        ...


class Module(Protocol):
    """The code and weights of a plan on the device, shared by all its executors.

    checks_indices: whether an inference refuses indices that are out of range, instead of leaving them in memory.
    """

    plan: Plan
    memory_bytes: int
    checks_indices: bool

    def create_executor(self) -> Executor: ...

    def close(self) -> None:
        """Give back the memory. All executors must be closed. Twice is once."""
        ...


class Device(Protocol):
    """A machine that plans run on.

    name: its kind, which stamps of plans say; label: which one it is, such as ``cuda:1``.
    has_host_memory: whether its addresses are those of this process, so that nothing needs to be copied to and fro.
    """

    name: str
    label: str
    memory_alignment: int
    has_host_memory: bool

    def check(self, stamp: MachineStamp) -> None:
        """Refuse a plan that cannot run here.

        Raises:
            PlanError: version, system, processor or features differ; the message names both sides.
        """
        ...

    def upload(self, address: int, source: int, size: int, stream: Stream | None = None) -> None:
        """Copy `size` bytes from an address of this process to one of the device; as work of a stream if one is given,
        which goes on while the caller does if the source is staging memory.
        """
        ...

    def download(self, target: int, address: int, size: int, stream: Stream | None = None) -> None:
        """Copy `size` bytes from an address of the device to one of this process; streams: see `upload`."""
        ...

    def arrays(self, allocator: Allocator) -> DeviceArrays | None:
        """What takes and makes arrays in device memory; None where arrays are those of the process."""
        ...

    @property
    def staging(self) -> Allocator:
        """Gives memory of this process that the device reaches by itself, for copies in streams."""
        ...

    def is_staging(self, address: int) -> bool:
        """Whether memory of this process is such, whoever allocated it."""
        ...

    @property
    def allocator(self) -> Allocator:
        """The allocator for who brings none."""
        ...

    def load(self, plan: Plan, allocator: Allocator, threads: int, shared: Module | None = None) -> Module:
        """Bring a plan to the device. shared: a module with the same weights, which outlives this one."""
        ...

    def create_stream(self) -> Stream: ...

    def create_event(self) -> Event: ...

    def find_stream(self, handle: int) -> Stream:
        """The living stream with this handle; 0 stands for the default stream."""
        ...

    def find_event(self, handle: int) -> Event:
        """The living event with this handle."""
        ...
