"""The null device: takes any plan, and answers every inference with zeros."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import replace

from tensorwright.base.errors import ExecutionError
from tensorwright.devices.cpu.abi import ALIGNMENT
from tensorwright.devices.cpu.memory import PageAllocator
from tensorwright.devices.device import Allocator, Event, Stream
from tensorwright.plan.plan import Plan
from tensorwright.tensor.dim import evaluate


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
    """Writes zeros to all outputs."""

    def __init__(self, plan: Plan) -> None:
        self.bindings = [0] * len(plan.bindings)
        self.symbols = [0] * len(plan.symbols)
        self._plan = plan

    def set_memory(self, address: int) -> None:
        pass

    @property
    def runner(self) -> Callable[[], None]:
        return self.run

    def run(self) -> None:
        environment = {s.name: value for s, value in zip(self._plan.symbols, self.symbols, strict=True)}
        for binding, address in zip(self._plan.bindings, self.bindings, strict=True):
            if binding.mode == "output":
                size = evaluate(binding.type.elements, environment) * binding.type.dtype.size
                ctypes.memset(address, 0, size)

    def run_profiled(self, steps: int) -> list[int]:
        self.run()
        return [0] * (steps + 1)

    def close(self) -> None:
        pass


class NullModule:
    """A plan without its code and weights."""

    memory_bytes = ALIGNMENT

    def __init__(self, plan: Plan) -> None:
        self.plan = replace(plan, weights=memoryview(b""))

    def create_executor(self) -> NullExecutor:
        return NullExecutor(self.plan)

    def close(self) -> None:
        pass


class NullDevice:
    """Needs no processor in particular, takes no time, and gives no answers."""

    name = "null"
    memory_alignment = ALIGNMENT

    def __init__(self) -> None:
        self._allocator = PageAllocator()
        self._stream, self._event = NullStream(), NullEvent()

    @property
    def allocator(self) -> Allocator:
        return self._allocator

    def load(self, plan: Plan, allocator: Allocator, threads: int) -> NullModule:
        return NullModule(plan)

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
