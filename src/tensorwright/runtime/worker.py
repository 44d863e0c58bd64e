"""The process behind a remote device: it loads a plan and makes a context for everybody who connects."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from tensorwright.base.errors import DeviceError, TensorwrightError
from tensorwright.runtime.bindings import Sizes
from tensorwright.runtime.copying import Copier
from tensorwright.runtime.exchange import ALIGNMENT, Messages, SharedMemory, lanes, layout
from tensorwright.runtime.load import load
from tensorwright.runtime.reach import OtherMemory, reached
from tensorwright.runtime.remote import REACHES, READY, Reply
from tensorwright.runtime.staging import Room

if TYPE_CHECKING:
    from tensorwright.runtime.context import ExecutionContext
    from tensorwright.runtime.engine import Engine

_Asked: TypeAlias = tuple[list[int], list[int], int]
"""Values of the plan's symbols, addresses of its bindings in the other process, and the steps to time, if any."""


class Exchange(Protocol):
    """How inputs come to a context and outputs from it."""

    def run(self, context: ExecutionContext, sizes: Sizes, bindings: Sequence[int], steps: int) -> list[int]:
        """One inference on bindings of the other process; the ticks of so many steps."""
        ...

    def close(self) -> None: ...


class ByReaching:
    """Inputs are fetched from the other process, to where the device reaches them by itself; outputs brought there."""

    def __init__(self, engine: Engine, memory: OtherMemory) -> None:
        self._buffer = Room(engine.device.staging, ALIGNMENT, "inputs and outputs of another process")
        self._fetch, self._bring = Copier(move=memory.read), Copier(move=memory.write)

    def run(self, context: ExecutionContext, sizes: Sizes, bindings: Sequence[int], steps: int) -> list[int]:
        found = layout(context.plan, sizes.symbols)
        start = self._buffer.of(found.size)
        for address, offset, size in lanes(context.plan, "input", bindings, found):
            self._fetch.copy_whole(start + offset, address, size)
        ticks = context.run_here(sizes, [start + offset for offset, _ in found.places], steps)
        for address, offset, size in lanes(context.plan, "output", bindings, found):
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

    def run(self, context: ExecutionContext, sizes: Sizes, bindings: Sequence[int], steps: int) -> list[int]:
        found = layout(context.plan, sizes.symbols)
        self._memory.reserve(found.size)
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
        message, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if not message:
            return
        connection, *shared = descriptors
        exchange = ByReaching(engine, other) if other else BySharing(SharedMemory(*shared))
        work = (engine, Messages(socket.socket(fileno=connection)), exchange)
        threading.Thread(target=_serve, args=work, daemon=True).start()


def _serve(engine: Engine, messages: Messages, exchange: Exchange) -> None:
    """One inference for every message, until the other end is closed."""
    with closing(messages), suppress(EOFError, OSError):
        context: ExecutionContext | None = None
        known: dict[tuple[int, ...], Sizes] = {}
        while True:
            symbols, bindings, steps = cast("_Asked", messages.receive())
            try:
                context = context or engine.create_execution_context()
                sizes = known.setdefault(tuple(symbols), Sizes(tuple(symbols), ()))
                reply: Reply = exchange.run(context, sizes, bindings, steps), "", False, False
            except DeviceError as error:
                reply = [], str(error), True, error.lost
            except Exception as error:  # noqa: BLE001 - raised by who asked
                reply = [], str(error) or repr(error), False, False
            messages.send(reply)
    exchange.close()
