"""The process behind a remote device: it loads a plan and makes a context for everybody who connects."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from tensorwright.base.errors import DeviceError, TensorwrightError
from tensorwright.runtime.bindings import Sizes
from tensorwright.runtime.copying import Copier
from tensorwright.runtime.exchange import ALIGNMENT, Layout, Messages, SharedMemory, lanes, layout
from tensorwright.runtime.load import load
from tensorwright.runtime.reach import OtherMemory, reached
from tensorwright.runtime.remote import COUNTS, REACHES, READY, Reply
from tensorwright.runtime.staging import Room

if TYPE_CHECKING:
    from tensorwright.plan.plan import Plan
    from tensorwright.runtime.context import ExecutionContext
    from tensorwright.runtime.engine import Engine

MOST_DESCRIPTORS = 253
"""So many the system passes on with a message."""
_Asked: TypeAlias = tuple[int, list[int], list[int], int]
"""A number, values of the plan's symbols, addresses of its bindings in the other process, and the steps to time."""


class Contexts:
    """Contexts of an engine that are lent, each made when it is first needed. Who gets none waits."""

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


class Exchange(Protocol):
    """How inputs come to a context and outputs from it."""

    def run(self, contexts: Contexts, sizes: Sizes, found: Layout, bindings: Sequence[int], steps: int) -> list[int]:
        """One inference on bindings of the other process; the ticks of so many steps."""
        ...

    def close(self) -> None: ...


class ByReaching:
    """Inputs are fetched from the other process, to where the device reaches them by itself; outputs brought there.

    A context is needed in between alone.
    """

    def __init__(self, engine: Engine, memory: OtherMemory) -> None:
        self._plan = engine.modules[0].plan
        self._buffer = Room(engine.device.staging, ALIGNMENT, "inputs and outputs of another process")
        self._fetch, self._bring = Copier(move=memory.read), Copier(move=memory.write)

    def run(self, contexts: Contexts, sizes: Sizes, found: Layout, bindings: Sequence[int], steps: int) -> list[int]:
        start = self._buffer.of(found.size)
        for address, offset, size in lanes(self._plan, "input", bindings, found):
            self._fetch.copy_whole(start + offset, address, size)
        with contexts.lent() as context:
            ticks = context.run_here(sizes, [start + offset for offset, _ in found.places], steps)
        for address, offset, size in lanes(self._plan, "output", bindings, found):
            self._bring.copy_whole(address, start + offset, size)
        return ticks

    def close(self) -> None:
        self._fetch.close()
        self._bring.close()
        self._buffer.close()


class BySharing:
    """The other process puts inputs into shared memory and takes outputs from there."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory

    def run(self, contexts: Contexts, sizes: Sizes, found: Layout, _bindings: Sequence[int], steps: int) -> list[int]:
        self._memory.reserve(found.size)
        with contexts.lent() as context:
            return context.run_here(sizes, [self._memory.address + offset for offset, _ in found.places], steps)

    def close(self) -> None:
        self._memory.close()


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
        count, requests = COUNTS.unpack(message)
        answers, *asked = [Messages(socket.socket(fileno=number)) for number in descriptors[: 1 + requests]]
        contexts = Contexts(engine, count)
        for messages in asked:
            exchange = ByReaching(engine, other) if other else BySharing(SharedMemory(*descriptors[1 + requests :]))
            work = (engine.modules[0].plan, contexts, messages, answers, exchange)
            threading.Thread(target=_serve, args=work, daemon=True).start()


def _serve(plan: Plan, contexts: Contexts, asked: Messages, answers: Messages, exchange: Exchange) -> None:
    """One inference for every message, until the other end is closed."""
    with closing(answers), closing(asked), suppress(EOFError, OSError):
        known: dict[tuple[int, ...], tuple[Sizes, Layout]] = {}
        while True:
            number, symbols, bindings, steps = cast("_Asked", asked.receive())
            try:
                values = tuple(symbols)
                if values not in known:
                    known[values] = Sizes(values, ()), layout(plan, values)
                sizes, found = known[values]
                reply: Reply = number, exchange.run(contexts, sizes, found, bindings, steps), "", False, False
            except DeviceError as error:
                reply = number, [], str(error), True, error.lost
            except Exception as error:  # noqa: BLE001 - raised by who asked
                reply = number, [], str(error) or repr(error), False, False
            answers.send(reply)
    exchange.close()
