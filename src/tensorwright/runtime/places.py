"""Where inputs and outputs of another process lie in the one that has the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tensorwright.runtime.copying import Copier, copying_threads
from tensorwright.runtime.exchange import ALIGNMENT
from tensorwright.runtime.staging import Room

if TYPE_CHECKING:
    from tensorwright.devices.device import Event
    from tensorwright.runtime.bindings import Sizes
    from tensorwright.runtime.context import ExecutionContext
    from tensorwright.runtime.engine import Engine
    from tensorwright.runtime.exchange import Layout, SharedMemory
    from tensorwright.runtime.reach import OtherMemory

LARGE = 8 << 20
"""Bytes of inputs from which on they wait on the device: on the host, they would leave the processor's caches."""
COPIERS = 8
"""Threads that fetch large inputs, and that bring large outputs."""
PIECE = 2 << 20
PIECES = COPIERS + 4
"""How many pieces travel at a time: one for each thread that fills it, and some that the device reads."""


class Contexts:
    """Contexts of an engine that take turns, each made when it is first needed.

    Each is lent for as long as it takes to begin an inference: a device that works by itself has several of one context
    before it, and need not wait for this process between them.
    """

    def __init__(self, engine: Engine, count: int) -> None:
        self._engine = engine
        self._free: SimpleQueue[ExecutionContext | None] = SimpleQueue()
        for _ in range(count):
            self._free.put(None)

    @contextmanager
    def lent(self) -> Iterator[ExecutionContext]:
        found = self._free.get()
        try:
            found = found or self._engine.create_execution_context()
            yield found
        finally:
            self._free.put(found)


class Begun(NamedTuple):
    """An inference. wait: what waits for its end, None if it has ended. ticks: of the steps that were timed."""

    wait: Callable[[], None] | None
    ticks: Sequence[int] = ()


class Place(Protocol):
    """Room for the inputs and outputs of one inference at a time."""

    def begin(self, contexts: Contexts, sizes: Sizes, found: Layout, bindings: Sequence[int], steps: int) -> Begun:
        """Begin an inference on bindings of the other process, of which so many steps are timed."""
        ...

    def bring(self, found: Layout, bindings: Sequence[int]) -> None:
        """Have the other process find the outputs, when it has ended."""
        ...

    def close(self) -> None: ...


class Belt:
    """Pieces of staging memory on which data of another process travel to memory of the device.

    Few of them take turns, so that each is still in the processor's caches when the device reads it and when it is
    written again.
    """

    def __init__(self, engine: Engine, read: Callable[[int, int, int], object]) -> None:
        self._device = engine.device
        self._read = read
        self._stream = self._device.create_stream()
        self._pieces: SimpleQueue[tuple[Room, Event]] = SimpleQueue()
        for _ in range(PIECES):
            room = Room(self._device.staging, ALIGNMENT, "a piece of an input of another process")
            self._pieces.put((room, self._device.create_event()))

    def move(self, target: int, source: int, size: int) -> None:
        """Have bytes of the other process (at `source`) on their way to an address of the device, at most `PIECE`."""
        room, is_read = self._pieces.get()
        try:
            is_read.synchronize()
            address = room.of(PIECE)
            self._read(address, source, size)
            self._device.upload(target, address, size, self._stream)
            is_read.record(self._stream)
        finally:
            self._pieces.put((room, is_read))

    def mark(self, event: Event) -> None:
        """Have an event reached when everything has arrived that is on its way now."""
        event.record(self._stream)

    def close(self) -> None:
        """Give the pieces back that are not under way. Twice is once."""
        self._stream.synchronize()
        with suppress(Empty):
            while True:
                self._pieces.get_nowait()[0].close()


class Reach:
    """What places share that reach into the other process: large inputs and outputs are copied one after another."""

    def __init__(self, engine: Engine, memory: OtherMemory) -> None:
        threads = copying_threads(COPIERS)
        self.engine = engine
        self.fetch, self.bring = Copier(threads, memory.read), Copier(threads, memory.write)
        self.belt = None if engine.device.has_host_memory else Belt(engine, memory.read)
        self.upload = self.fetch if self.belt is None else Copier(threads, self.belt.move, PIECE)

    def close(self) -> None:
        """Twice is once."""
        for copier in (self.fetch, self.bring, self.upload):
            copier.close()
        if self.belt is not None:
            self.belt.close()


class ByReaching:
    """Inputs are fetched from the other process to staging memory, large ones to the device; outputs brought there."""

    def __init__(self, reach: Reach) -> None:
        device = reach.engine.device
        self._reach = reach
        self._inputs = Room(device.staging, ALIGNMENT, "inputs of another process")
        self._outputs = Room(device.staging, ALIGNMENT, "outputs for another process")
        self._there = Room(device.allocator, device.memory_alignment, "inputs of another process")
        self._arrived = device.create_event()

    def begin(self, contexts: Contexts, sizes: Sizes, found: Layout, bindings: Sequence[int], steps: int) -> Begun:
        belt = self._reach.belt if found.input_bytes >= LARGE and not steps else None
        room, copier = (self._inputs, self._reach.fetch) if belt is None else (self._there, self._reach.upload)
        start = room.of(found.input_bytes)
        for number, offset, size in found.inputs:
            copier.copy_whole(start + offset, bindings[number], size)
        if belt is not None:
            belt.mark(self._arrived)
        addresses = found.addresses(start, self._outputs.of(found.output_bytes))
        with contexts.lent() as context:
            if steps:
                return Begun(None, context.run_here(sizes, addresses, steps))
            return Begun(context.begin_here(sizes, addresses, None if belt is None else self._arrived))

    def bring(self, found: Layout, bindings: Sequence[int]) -> None:
        start = self._outputs.of(found.output_bytes)
        for number, offset, size in found.outputs:
            self._reach.bring.copy_whole(bindings[number], start + offset, size)

    def close(self) -> None:
        self._reach.close()  # What is on its way to this room arrives before.
        for room in (self._inputs, self._outputs, self._there):
            room.close()


class BySharing:
    """The other process puts inputs into shared memory and takes outputs from there."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory

    def begin(self, contexts: Contexts, sizes: Sizes, found: Layout, bindings: Sequence[int], steps: int) -> Begun:
        self._memory.reserve(found.size)
        addresses = found.addresses(self._memory.address, self._memory.address + found.input_bytes)
        with contexts.lent() as context:
            return Begun(None, context.run_here(sizes, addresses, steps))

    def bring(self, found: Layout, bindings: Sequence[int]) -> None:
        """Nothing: the outputs are there."""

    def close(self) -> None:
        self._memory.close()
