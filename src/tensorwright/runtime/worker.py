"""The process behind a remote device: it loads a plan and makes a context for everybody who connects."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from tensorwright.base.errors import DeviceError, TensorwrightError
from tensorwright.runtime.bindings import Sizes
from tensorwright.runtime.exchange import SharedMemory, layout
from tensorwright.runtime.load import load
from tensorwright.runtime.remote import READY

if TYPE_CHECKING:
    from tensorwright.runtime.context import ExecutionContext
    from tensorwright.runtime.engine import Engine

_Reply = tuple[list[int], str, bool, bool]
"""Ticks; a message if something failed, whether the device did, and whether it is lost."""


def main() -> None:
    """Serve until the other process closes its end of the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The other process decides when this one ends.
    control, plan, name, threads = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    with socket.socket(fileno=control) as ours:
        try:
            engine = load(f"/proc/self/fd/{plan}", threads=threads, device=name, trusted=None)
        except TensorwrightError as error:
            ours.sendall(str(error).encode() + b"\0")
            return
        os.close(plan)
        ours.sendall(READY + b"\0")
        _accept(ours, engine)
    os._exit(0)  # Threads may wait in the driver for what never comes.


def _accept(control: socket.socket, engine: Engine) -> None:
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if not message:
            return
        connection, memory = descriptors
        work = (engine, Connection(connection), SharedMemory(memory))
        threading.Thread(target=_serve, args=work, daemon=True).start()


def _serve(engine: Engine, connection: Connection, memory: SharedMemory) -> None:
    """One inference for every message, until the connection is closed."""
    with connection, suppress(EOFError, OSError):
        context: ExecutionContext | None = None
        known: dict[tuple[int, ...], Sizes] = {}
        while True:
            symbols, steps = connection.recv()
            try:
                context = context or engine.create_execution_context()
                sizes = known.setdefault(symbols, Sizes(symbols, ()))
                reply: _Reply = _run(context, memory, sizes, steps), "", False, False
            except DeviceError as error:
                reply = [], str(error), True, error.lost
            except Exception as error:  # noqa: BLE001 - raised by who asked
                reply = [], str(error) or repr(error), False, False
            connection.send(reply)
    memory.close()


def _run(context: ExecutionContext, memory: SharedMemory, sizes: Sizes, steps: int) -> list[int]:
    found = layout(context.plan, sizes.symbols)
    memory.reserve(found.size)
    return context.run_here(sizes, [memory.address + offset for offset, _ in found.places], steps)
