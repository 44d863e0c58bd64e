"""What two processes exchange: messages, and memory in which the inputs and outputs of an inference lie."""

from __future__ import annotations

import mmap
import os
import socket
import struct
import threading
import weakref
from array import array
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
HEADER = struct.Struct("<II")
"""What a message begins with: how many numbers it has, and how many bytes of text behind them."""
NUMBER_BYTES = 8
AT_ONCE = 1 << 16


class Lane(NamedTuple):
    """Where a binding lies: its number, its offset, and how many bytes it has."""

    number: int
    offset: int
    size: int


class Layout(NamedTuple):
    """Where inputs and outputs lie, the offsets of all bindings in order, and the bytes of all."""

    inputs: tuple[Lane, ...]
    outputs: tuple[Lane, ...]
    offsets: tuple[int, ...]
    size: int


def layout(plan: Plan, symbols: Sequence[int]) -> Layout:
    """Where the bindings of an inference with these sizes lie; both processes agree on it."""
    values = {symbol.name: value for symbol, value in zip(plan.symbols, symbols, strict=True)}
    lanes, end = [], 0
    for number, binding in enumerate(plan.bindings):
        size = prod(evaluate(dim, values) for dim in binding.type.shape) * binding.type.dtype.size
        lanes.append(Lane(number, end, size))
        end += -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
    inputs, outputs = (
        tuple(lane for lane in lanes if plan.bindings[lane.number].mode == mode) for mode in ("input", "output")
    )
    return Layout(inputs, outputs, tuple(lane.offset for lane in lanes), end)


class Message(NamedTuple):
    """Numbers of 64 bits, and a text."""

    numbers: list[int]
    text: str = ""


class Messages:
    """Messages both ways through a socket, which is closed with it or when nobody refers to it any more.

    Most messages take one call of the system to send and one to receive, those that have come together one in all:
    after each, threads wait for the interpreter. Any thread may send and receive.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._socket = stream
        self._received = bytearray()
        self._sending = forkable(threading.Lock())
        self._receiving = forkable(threading.Lock())
        self._finalizer = weakref.finalize(self, stream.close)

    def send(self, numbers: Sequence[int], text: str = "") -> None:
        written = text.encode()
        packed = HEADER.pack(len(numbers), len(written)) + array("q", numbers).tobytes() + written
        with self._sending:
            self._socket.sendall(packed)

    def receive(self) -> Message:
        """The next message.

        Raises:
            EOFError: the other end is closed.
        """
        with self._receiving:
            return self._next()

    def receive_all(self) -> list[Message]:
        """The next message, and those that have come with it.

        Raises:
            EOFError: the other end is closed.
        """
        with self._receiving:
            found = [self._next()]
            while self._received:
                found.append(self._next())
            return found

    def end(self) -> None:
        """Have both ends find it closed."""
        with suppress(OSError):  # The other end may be closed already.
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._finalizer()

    def _next(self) -> Message:
        count, length = HEADER.unpack(self._take(HEADER.size))
        content = self._take(NUMBER_BYTES * count + length)
        numbers = array("q", bytes(content[: NUMBER_BYTES * count]))
        return Message(numbers.tolist(), content[NUMBER_BYTES * count :].decode())

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
