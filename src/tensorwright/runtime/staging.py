"""Inference on memory of this process, by devices that have memory of their own."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence
from contextlib import suppress
from functools import partial
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from tensorwright.base.errors import ExecutionError
from tensorwright.devices.buffer import Buffer
from tensorwright.runtime.copying import Copier
from tensorwright.tensor.dim import evaluate

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator, Device, Event, Executor
    from tensorwright.plan.plan import Plan

ALIGNMENT = 16
DIRECT_BYTES = 64 << 10
"""From this size on it is worth asking whether the caller's memory needs no copy in between."""


class _Lane(NamedTuple):
    """The way of a binding: its number, its place on the device, and how many bytes it has."""

    number: int
    there: int
    size: int


class StagedExecutor:
    """An executor whose bindings are addresses of this process: it copies inputs to the device, outputs back.

    Copies and kernels are put into one stream, whose end is waited for. They go through memory that the device reaches
    while the host goes on; if the caller's is such memory, they go there at once. Several of these executors keep a
    device busy: while one computes, others copy.

    executor: what it copies for; only this object uses it. Memory grows with the sizes that occur.
    """

    def __init__(self, executor: Executor, device: Device, allocator: Allocator, plan: Plan) -> None:
        self.bindings: MutableSequence[int] = [0] * len(plan.bindings)
        self.symbols: MutableSequence[int] = [0] * len(plan.symbols)
        self._executor = executor
        self._device = device
        self._stream = device.create_stream()
        self._copier = Copier()
        self._plan = plan
        self._there = [Room(allocator, device.memory_alignment, f"a copy of '{b.name}'") for b in plan.bindings]
        self._between = [Room(device.staging, ALIGNMENT, f"staging '{b.name}'") for b in plan.bindings]
        self._marks: list[Event] = []
        self._made_for: tuple[int, ...] | None = None
        self._inputs: tuple[_Lane, ...] = ()
        self._outputs: tuple[_Lane, ...] = ()

    @property
    def runner(self) -> Callable[[], None]:
        return self.run

    def run(self) -> None:
        self._ready()
        try:
            self._upload()
            self._stream.enqueue(self._executor.run)
            self._download()
        except BaseException:
            self._abandon()
            raise

    def begin(self) -> Callable[[], None]:
        """Begin an inference whose bindings are all staging memory; what waits for its end.

        The next one may begin before: then the device goes on to it by itself.
        """
        self._ready()
        event = self._marks.pop() if self._marks else self._device.create_event()
        try:
            for number, there, size in self._inputs:
                self._device.upload(there, self.bindings[number], size, self._stream)
            self._stream.enqueue(self._executor.run)
            for number, there, size in self._outputs:
                self._device.download(self.bindings[number], there, size, self._stream)
            event.record(self._stream)
        except BaseException:
            self._abandon()
            raise
        return partial(self._wait, event)

    def run_profiled(self, steps: int) -> list[int]:
        self._ready()
        self._upload()
        self._stream.synchronize()
        ticks = self._executor.run_profiled(steps)
        self._download()
        return ticks

    def set_memory(self, address: int) -> None:
        self._executor.set_memory(address)

    def close(self) -> None:
        self._executor.close()
        self._copier.close()
        for room in (*self._there, *self._between):
            room.close()
        self._made_for = None

    def _wait(self, event: Event) -> None:
        event.synchronize()
        self._marks.append(event)

    def _abandon(self) -> None:
        """Wait for what the stream holds: it uses memory that others will use."""
        with suppress(ExecutionError):
            self._stream.synchronize()

    def _upload(self) -> None:
        for number, there, size in self._inputs:
            source = self.bindings[number]
            if self._is_direct(source, size):
                self._device.upload(there, source, size, self._stream)
                continue
            between = self._between[number].of(size)
            for start, count in self._copier.copy(between, source, size):
                self._device.upload(there + start, between + start, count, self._stream)

    def _download(self) -> None:
        waiting = []
        for number, there, size in self._outputs:
            target = self.bindings[number]
            if not self._is_direct(target, size):
                between = self._between[number].of(size)
                waiting.append((target, between, size))
                target = between
            self._device.download(target, there, size, self._stream)
        self._stream.synchronize()
        for copy in waiting:
            self._copier.copy_whole(*copy)

    def _is_direct(self, address: int, size: int) -> bool:
        return size >= DIRECT_BYTES and self._device.is_staging(address)

    def _ready(self) -> None:
        """Have room for the sizes of this inference, and the executor know them and where everything is."""
        symbols = tuple(self.symbols)
        if symbols == self._made_for:
            return
        self._made_for = None
        rooms = [*zip(self._there, self._sizes(), strict=True)]
        if not all(room.has(size) for room, size in rooms):
            self._stream.synchronize()  # What has begun uses the memory that is given back now.
        lanes = [_Lane(number, room.of(size), size) for number, (room, size) in enumerate(rooms)]
        modes = [binding.mode for binding in self._plan.bindings]
        self._inputs = tuple(lane for lane, mode in zip(lanes, modes, strict=True) if mode == "input" and lane.size)
        self._outputs = tuple(lane for lane, mode in zip(lanes, modes, strict=True) if mode == "output" and lane.size)
        self._executor.symbols[:] = symbols
        self._executor.bindings[:] = [lane.there for lane in lanes]
        self._made_for = symbols

    def _sizes(self) -> list[int]:
        values = {symbol.name: value for symbol, value in zip(self._plan.symbols, self.symbols, strict=True)}
        types = [binding.type for binding in self._plan.bindings]
        return [prod(evaluate(dim, values) for dim in type.shape) * type.dtype.size for type in types]


class Room:
    """Memory that grows; what it held is lost then. what: its purpose, for the error if there is none."""

    def __init__(self, allocator: Allocator, alignment: int, what: str) -> None:
        self._allocator = allocator
        self._alignment = alignment
        self._what = what
        self._buffer: Buffer | None = None

    def of(self, size: int) -> int:
        """The address of at least so many bytes, which hold anything."""
        if self._buffer is None or not self.has(size):
            self.close()
            self._buffer = Buffer(self._allocator, max(size, 1), self._alignment, self._what)
        return self._buffer.address

    def has(self, size: int) -> bool:
        """Whether there is so much already."""
        return self._buffer is not None and self._buffer.size >= size

    def close(self) -> None:
        """Give the memory back. Twice is once."""
        if self._buffer is not None:
            self._buffer.close()
        self._buffer = None
