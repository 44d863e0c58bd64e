"""What two processes exchange: messages, and memory in which the inputs and outputs of an inference lie."""

from __future__ import annotations

import mmap
import os
import socket
import struct
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
HEADER = "<II"
"""What a message begins with: how many numbers it has, and how many bytes of text behind them."""
NUMBER_BYTES = 8
AT_ONCE = 1 << 16


class Lane(NamedTuple):
    """Where a binding lies among the inputs or outputs: its number, its offset, and how many bytes it has."""

    number: int
    offset: int
    size: int


class Layout(NamedTuple):
    """Where inputs and outputs lie, and the bytes of all inputs and of all outputs."""

    inputs: tuple[Lane, ...]
    outputs: tuple[Lane, ...]
    input_bytes: int
    output_bytes: int

    @property
    def size(self) -> int:
        """The bytes of outputs behind inputs."""
        return self.input_bytes + self.output_bytes

    def addresses(self, inputs: int, outputs: int) -> list[int]:
        """The address of each binding, in order, given those of the first input and of the first output."""
        found = [0] * (len(self.inputs) + len(self.outputs))
        for start, lanes in ((inputs, self.inputs), (outputs, self.outputs)):
            for number, offset, _ in lanes:
                found[number] = start + offset
        return found


def layout(plan: Plan, symbols: Sequence[int]) -> Layout:
    """Where the bindings of an inference with these sizes lie; both processes agree on it."""
    values = {symbol.name: value for symbol, value in zip(plan.symbols, symbols, strict=True)}
    lanes: dict[str, list[Lane]] = {"input": [], "output": []}
    ends = dict.fromkeys(lanes, 0)
    for number, binding in enumerate(plan.bindings):
        size = prod(evaluate(dim, values) for dim in binding.type.shape) * binding.type.dtype.size
        lanes[binding.mode].append(Lane(number, ends[binding.mode], size))
        ends[binding.mode] += -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
    return Layout(tuple(lanes["input"]), tuple(lanes["output"]), ends["input"], ends["output"])


class Message(NamedTuple):
    """Numbers of 64 bits, and a text."""

    numbers: tuple[int, ...]
    text: str = ""

    @property
    def packed(self) -> bytes:
        numbers, text = self.numbers, self.text.encode()
        return struct.pack(f"{HEADER}{len(numbers)}q", len(numbers), len(text), *numbers) + text


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

    def send(self, *messages: Message) -> None:
        packed = b"".join([message.packed for message in messages])
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
        start = struct.calcsize(HEADER)
        count, length = struct.unpack_from(HEADER, self._at_least(start))
        text = start + NUMBER_BYTES * count
        received = self._at_least(text + length)
        found = Message(struct.unpack_from(f"<{count}q", received, start), received[text : text + length].decode())
        del received[: text + length]
        return found

    def _at_least(self, count: int) -> bytearray:
        """What was received, when it is so many bytes."""
        while len(self._received) < count:
            part = self._socket.recv(AT_ONCE)
            if not part:
                raise EOFError("the other process has closed its end")
            self._received += part
        return self._received


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
