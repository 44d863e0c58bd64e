"""The null device: memory of its own, and no processor but NumPy."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableSequence
from typing import Any

import tensorwright
from tensorwright.base.errors import ExecutionError
from tensorwright.devices.buffer import Buffer
from tensorwright.devices.device import Allocator, Event, Module, Stream
from tensorwright.devices.host_memory import HostMemory
from tensorwright.devices.null.memory import NullMemory
from tensorwright.plan.plan import MachineStamp, Plan
from tensorwright.plan.stamp import require_equal

ALIGNMENT = 64
ENTRY = "run"
"""The function of a plan's code: it takes what gives memory by base, offset and size, the symbols' values, and what it
calls after every step."""


class NullEvent:
    """A mark in work that is always done."""

    handle = 1

    def __init__(self) -> None:
        self._time = 0.0

    def record(self, stream: Stream) -> None:
        self._time = time.perf_counter()

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: Event) -> float:
        assert isinstance(end, NullEvent)
        return (end._time - self._time) * 1e3


class NullStream:
    """Does work at once."""

    handle = 1

    def enqueue(self, work: Callable[[], object]) -> None:
        work()

    def wait_event(self, event: Event) -> None:
        pass

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass


class NullExecutor:
    """Runs generated NumPy code on memory of the device."""

    def __init__(self, module: NullModule) -> None:
        self.bindings: MutableSequence[int] = [0] * len(module.plan.bindings)
        self.symbols: MutableSequence[int] = [0] * len(module.plan.symbols)
        self._module = module
        self._arena = 0

    @property
    def runner(self) -> Callable[[], None]:
        return self.run

    def set_memory(self, address: int) -> None:
        self._arena = address

    def run(self) -> None:
        self.run_profiled(0)

    def run_profiled(self, steps: int) -> list[int]:
        ticks = [0]
        module = self._module
        memory = {"arena": self._arena, "weights": module.weights.address}

        def view(base: str, offset: int, size: int) -> memoryview:
            start = self.bindings[offset] if base == "binding" else memory[base] + offset
            return module.memory.view(start, size)

        module.run(view, self.symbols, lambda: ticks.append(len(ticks)))
        return ticks[: steps + 1]

    def close(self) -> None:
        pass


class NullModule:
    """The program of a plan as a Python function, and its weights in memory of the device.

    weights: those of another module, if they are the same.
    """

    checks_indices = False

    def __init__(self, plan: Plan, memory: NullMemory, allocator: Allocator, weights: Buffer | None = None) -> None:
        self.memory = memory
        self.memory_bytes = max(plan.arena_bytes, ALIGNMENT)
        size = plan.weights.nbytes
        self.weights = weights or Buffer(allocator, max(size, 1), ALIGNMENT, f"the weights of '{plan.name}'")
        if weights is None:
            memory.view(self.weights.address, size)[:] = plan.weights
        self.plan = plan
        namespace: dict[str, Any] = {}
        exec(compile(plan.executable.code, f"<plan '{plan.name}'>", "exec"), namespace)  # noqa: S102 - a plan is code
        self.run: Callable[..., None] = namespace[ENTRY]

    def create_executor(self) -> NullExecutor:
        return NullExecutor(self)

    def close(self) -> None:
        self.weights.close()


class NullDevice:
    """A machine that does not exist: it has memory of its own and runs generated NumPy code, step by step.

    It shows what a device has to bring, and that nothing else takes the processor for granted.
    """

    name = "null"
    memory_alignment = ALIGNMENT
    has_host_memory = False

    def __init__(self, number: int = 0) -> None:
        self.label = f"null:{number}"
        self._memory, self._staging = NullMemory(), HostMemory()
        self._stream, self._event = NullStream(), NullEvent()

    @property
    def allocator(self) -> Allocator:
        return self._memory

    def check(self, stamp: MachineStamp) -> None:
        require_equal(stamp, null_stamp())

    def load(self, plan: Plan, allocator: Allocator, threads: int, shared: Module | None = None) -> NullModule:
        weights = shared.weights if isinstance(shared, NullModule) else None
        return NullModule(plan, self._memory, allocator, weights)

    def upload(self, address: int, source: int, size: int, stream: Stream | None = None) -> None:
        self._memory.upload(address, source, size)

    def download(self, target: int, address: int, size: int, stream: Stream | None = None) -> None:
        self._memory.download(target, address, size)

    @property
    def staging(self) -> Allocator:
        return self._staging

    def is_staging(self, address: int) -> bool:
        return self._staging.has(address)

    def arrays(self, allocator: Allocator) -> None:
        """None: nobody else has arrays there that are not arrays of the process."""

    def create_stream(self) -> NullStream:
        return NullStream()

    def create_event(self) -> NullEvent:
        return NullEvent()

    def find_stream(self, handle: int) -> NullStream:
        if handle not in (0, self._stream.handle):
            raise ExecutionError(f"the null device has no stream {handle}; it has stream {self._stream.handle}")
        return self._stream

    def find_event(self, handle: int) -> NullEvent:
        if handle != self._event.handle:
            raise ExecutionError(f"the null device has no event {handle}; it has event {self._event.handle}")
        return self._event


def create(number: int = 0) -> NullDevice:
    """Every machine has any number of them."""
    return NullDevice(number)


def count() -> int:
    """One, unless others are asked for."""
    return 1


def null_stamp() -> MachineStamp:
    """What plans for the null device are stamped with."""
    return MachineStamp(
        package_version=tensorwright.__version__,
        device="null",
        architecture="numpy",
        operating_system="any",
        target="numpy",
        features=(),
        model="none",
    )
