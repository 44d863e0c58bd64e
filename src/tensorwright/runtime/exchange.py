"""What two processes exchange: messages, and memory in which the inputs and outputs of an inference lie."""

from __future__ import annotations

import json
import mmap
import os
import socket
import threading
import weakref
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from tensorwright.base.addresses import mapping_address
from tensorwright.base.fork import forkable
from tensorwright.tensor.dim import evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorwright.plan.plan import Plan

ALIGNMENT = 256
LENGTH_BYTES = 8
AT_ONCE = 1 << 16


class Layout(NamedTuple):
    """For each binding its offset and its bytes; and the bytes of all."""

    places: tuple[tuple[int, int], ...]
    size: int


def layout(plan: Plan, symbols: Sequence[int]) -> Layout:
    """Where the bindings of an inference with these sizes lie; both processes agree on it."""
    values = {symbol.name: value for symbol, value in zip(plan.symbols, symbols, strict=True)}
    places, end = [], 0
    for binding in plan.bindings:
        size = prod(evaluate(dim, values) for dim in binding.type.shape) * binding.type.dtype.size
        places.append((end, size))
        end += -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
    return Layout(tuple(places), end)


def lanes(plan: Plan, mode: str, bindings: Sequence[int], found: Layout) -> list[tuple[int, int, int]]:
    """Of each binding of a mode: its address among `bindings`, its offset in the layout, and its bytes."""
    every = zip(plan.bindings, bindings, found.places, strict=True)
    return [(address, offset, size) for binding, address, (offset, size) in every if binding.mode == mode]


class Messages:
    """What JSON can say, through a socket, which is closed with it or when nobody refers to it any more.

    Most messages take one call of the system to send and one to receive: after each, threads wait for the interpreter.
    Any thread may send; one receives.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._socket = stream
        self._received = bytearray()
        self._sending = forkable(threading.Lock())
        self._finalizer = weakref.finalize(self, stream.close)

    def send(self, message: object) -> None:
        packed = json.dumps(message).encode()
        with self._sending:
            self._socket.sendall(len(packed).to_bytes(LENGTH_BYTES, "little") + packed)

    def receive(self) -> object:
        """The next message.

        Raises:
            EOFError: the other end is closed.
        """
        length = int.from_bytes(self._take(LENGTH_BYTES), "little")
        return json.loads(self._take(length))

    def receive_all(self) -> list[object]:
        """The next message, and those that have come with it.

        Raises:
            EOFError: the other end is closed.
        """
        found = [self.receive()]
        while self._received:
            found.append(self.receive())
        return found

    def end(self) -> None:
        """Have both ends find it closed."""
        with suppress(OSError):  # The other end may be closed already.
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._finalizer()

    def _take(self, count: int) -> bytearray:
        """The next bytes."""
        while len(self._received) < count:
            part = self._socket.recv(AT_ONCE)
            if not part:
                raise EOFError("the other process has closed its end")
            self._received += part
        taken, self._received = self._received[:count], self._received[count:]
        return taken


class SharedMemory:
    """Memory behind a file descriptor, which it owns, mapped into this process. address: where it starts."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.address = 0
        self._mapping: mmap.mmap | None = None

    def reserve(self, size: int) -> bool:
        """Have so many bytes mapped; returns whether the address has changed."""
        if self._mapping is not None and len(self._mapping) >= size:
            return False
        whole = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        if os.fstat(self.descriptor).st_size < whole:
            os.ftruncate(self.descriptor, whole)
        self._mapping = mmap.mmap(self.descriptor, whole)
        self.address = mapping_address(self._mapping)
        return True

    def close(self) -> None:
        """Let go of the file; the mapping goes with the last reference."""
        os.close(self.descriptor)
        self._mapping = None
