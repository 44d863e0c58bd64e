"""The process behind a remote device: it loads a plan and makes a context for everybody who connects."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tensorwright.base.errors import DeviceError, TensorwrightError
from tensorwright.runtime.bindings import Sizes
from tensorwright.runtime.copying import Copier
from tensorwright.runtime.exchange import ALIGNMENT, Layout, Messages, SharedMemory, layout
from tensorwright.runtime.load import load
from tensorwright.runtime.reach import OtherMemory, reached
from tensorwright.runtime.remote import COUNTS, REACHES, READY
from tensorwright.runtime.staging import Room

if TYPE_CHECKING:
    from tensorwright.plan.plan import Plan
    from tensorwright.runtime.context import ExecutionContext
    from tensorwright.runtime.engine import Engine

MOST_DESCRIPTORS = 253
"""So many the system passes on with a message."""


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


class Place(Protocol):
    """Where the inputs and outputs of an inference lie in this process. is_staging: whether in staging memory."""

    is_staging: bool

    def fetch(self, found: Layout, bindings: Sequence[int]) -> int:
        """Where everything lies now, inputs of the other process among it."""
        ...

    def bring(self, found: Layout, bindings: Sequence[int]) -> None:
        """Have the other process find the outputs."""
        ...

    def close(self) -> None: ...


class ByReaching:
    """Inputs are fetched from the other process, to where the device reaches them by itself; outputs brought there."""

    is_staging = True

    def __init__(self, engine: Engine, memory: OtherMemory) -> None:
        self._buffer = Room(engine.device.staging, ALIGNMENT, "inputs and outputs of another process")
        self._fetch, self._bring = Copier(move=memory.read), Copier(move=memory.write)

    def fetch(self, found: Layout, bindings: Sequence[int]) -> int:
        start = self._buffer.of(found.size)
        for number, offset, size in found.inputs:
            self._fetch.copy_whole(start + offset, bindings[number], size)
        return start

    def bring(self, found: Layout, bindings: Sequence[int]) -> None:
        start = self._buffer.of(found.size)
        for number, offset, size in found.outputs:
            self._bring.copy_whole(bindings[number], start + offset, size)

    def close(self) -> None:
        self._fetch.close()
        self._bring.close()
        self._buffer.close()


class BySharing:
    """The other process puts inputs into shared memory and takes outputs from there."""

    is_staging = False

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory

    def fetch(self, found: Layout, _bindings: Sequence[int]) -> int:
        self._memory.reserve(found.size)
        return self._memory.address

    def bring(self, found: Layout, bindings: Sequence[int]) -> None:
        """Nothing: the outputs are there."""

    def close(self) -> None:
        self._memory.close()


class Inference(NamedTuple):
    """One that has begun: the number of its request, where its data lie here and there.

    wait: what waits for its end; None if it has ended, with these ticks.
    """

    number: int
    place: Place
    found: Layout
    bindings: Sequence[int]
    wait: Callable[[], None] | None
    ticks: Sequence[int]


class Service:
    """What the threads that serve one client share.

    Each begins an inference and then ends the one that began first, be it another's: so one of them waits for the
    device at a time, in the order of the requests, while others fetch inputs and bring outputs.
    """

    def __init__(self, plan: Plan, contexts: Contexts, messages: Messages, places: Sequence[Place]) -> None:
        self._plan = plan
        self._contexts = contexts
        self._messages = messages
        self._places: SimpleQueue[Place] = SimpleQueue()
        for place in places:
            self._places.put(place)
        self._begun: deque[Inference] = deque()
        self._waiting = threading.Lock()
        self._known: dict[tuple[int, ...], tuple[Sizes, Layout]] = {}

    def work(self) -> None:
        """Serve until the other end is closed."""
        with suppress(EOFError, OSError):
            while True:
                if self._begin(*self._messages.receive().numbers):
                    self._end_next()
        self._places.get().close()  # There is one for each thread.

    def _begin(self, number: int, steps: int, *numbers: int) -> bool:
        """Begin what was asked for: the values of the plan's symbols, and the addresses of its bindings over there."""
        count = len(self._plan.symbols)
        symbols, bindings = numbers[:count], numbers[count:]
        place = self._places.get()
        try:
            sizes, found = self._known.get(symbols) or self._learn(symbols)
            start = place.fetch(found, bindings)
            addresses = [start + offset for offset in found.offsets]
            wait, ticks = None, list[int]()
            with self._contexts.lent() as context:
                if place.is_staging and not steps:
                    wait = context.begin_here(sizes, addresses)
                else:
                    ticks = context.run_here(sizes, addresses, steps)
        except Exception as error:  # noqa: BLE001 - raised by who asked
            self._places.put(place)
            self._refuse(number, error)
            return False
        self._begun.append(Inference(number, place, found, bindings, wait, ticks))
        return True

    def _end_next(self) -> None:
        """Wait for the inference that began first, and answer who asked for it."""
        try:
            with self._waiting:
                begun = self._begun.popleft()
                if begun.wait is not None:
                    begun.wait()
            begun.place.bring(begun.found, begun.bindings)
        except Exception as error:  # noqa: BLE001 - raised by who asked
            self._refuse(begun.number, error)
        else:
            self._messages.send((begun.number, False, False, *begun.ticks))
        finally:
            self._places.put(begun.place)

    def _learn(self, symbols: tuple[int, ...]) -> tuple[Sizes, Layout]:
        self._known[symbols] = found = Sizes(symbols, ()), layout(self._plan, symbols)
        return found

    def _refuse(self, number: int, error: Exception) -> None:
        is_device = isinstance(error, DeviceError)
        is_lost = isinstance(error, DeviceError) and error.lost
        self._messages.send((number, is_device, is_lost), str(error) or repr(error))


def main() -> None:
    """Serve until the other process closes its end of the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The other process decides when this one ends.
    control, plan, name, threads, token = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]
    with socket.socket(fileno=control) as ours:
        try:
            engine = load(f"/proc/self/fd/{plan}", threads=threads, device=name, trusted=None)
        except TensorwrightError as error:
            ours.sendall(str(error).encode() + b"\0")
            return
        os.close(plan)
        other = reached(token)
        ours.sendall((REACHES if other else READY) + b"\0")
        _accept(ours, engine, other)
    os._exit(0)  # Threads may wait in the driver for what never comes.


def _accept(control: socket.socket, engine: Engine, other: OtherMemory | None) -> None:
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, COUNTS.size, MOST_DESCRIPTORS)
        if not message:
            return
        contexts, threads = COUNTS.unpack(message)
        connected, *shared = descriptors
        places: list[Place] = [
            ByReaching(engine, other) if other else BySharing(SharedMemory(*shared)) for _ in range(threads)
        ]
        messages = Messages(socket.socket(fileno=connected))
        service = Service(engine.modules[0].plan, Contexts(engine, contexts), messages, places)
        for _ in places:
            threading.Thread(target=service.work, daemon=True).start()
