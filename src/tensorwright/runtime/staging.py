"""Inference on memory of this process, by devices that have memory of their own."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from tensorwright.base.errors import ExecutionError
from tensorwright.devices.buffer import Buffer
from tensorwright.runtime.copying import Copier
from tensorwright.tensor.dim import evaluate

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator, Device, Executor
    from tensorwright.plan.plan import Plan

ALIGNMENT = 16
DIRECT_BYTES = 64 << 10
"""From this size on it is worth asking whether the caller's memory needs no copy in between."""


class _Lane(NamedTuple):
    """The way of a binding: its number, its place on the device, the one it is staged at, and how many bytes it has."""

    number: int
    there: int
    between: int
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
            with suppress(ExecutionError):  # What the stream holds uses memory that others will use.
                self._stream.synchronize()
            raise

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

    def _upload(self) -> None:
        for number, there, between, size in self._inputs:
            source = self.bindings[number]
            if self._is_direct(source, size):
                self._device.upload(there, source, size, self._stream)
                continue
            for start, count in self._copier.copy(between, source, size):
                self._device.upload(there + start, between + start, count, self._stream)

    def _download(self) -> None:
        waiting = []
        for number, there, between, size in self._outputs:
            target = self.bindings[number]
            if not self._is_direct(target, size):
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
        lanes = [self._lane(number, size) for number, size in enumerate(self._sizes())]
        modes = [binding.mode for binding in self._plan.bindings]
        self._inputs = tuple(lane for lane, mode in zip(lanes, modes, strict=True) if mode == "input" and lane.size)
        self._outputs = tuple(lane for lane, mode in zip(lanes, modes, strict=True) if mode == "output" and lane.size)
        self._executor.symbols[:] = symbols
        self._executor.bindings[:] = [lane.there for lane in lanes]
        self._made_for = symbols

    def _lane(self, number: int, size: int) -> _Lane:
        return _Lane(number, self._there[number].of(size), self._between[number].of(size), size)

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
        if self._buffer is None or self._buffer.size < size:
            self.close()
            self._buffer = Buffer(self._allocator, max(size, 1), self._alignment, self._what)
        return self._buffer.address

    def close(self) -> None:
        """Give the memory back. Twice is once."""
        if self._buffer is not None:
            self._buffer.close()
        self._buffer = None
