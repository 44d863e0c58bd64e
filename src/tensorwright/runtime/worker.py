"""The process behind a remote device: it loads a plan and makes a context for everybody who connects."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from tensorwright.base.errors import DeviceError, TensorwrightError
from tensorwright.runtime.bindings import Sizes
from tensorwright.runtime.exchange import Layout, Message, Messages, SharedMemory, layout
from tensorwright.runtime.load import load
from tensorwright.runtime.places import Begun, ByReaching, BySharing, Contexts, Place, Reach
from tensorwright.runtime.reach import OtherMemory, reached
from tensorwright.runtime.remote import COUNTS, REACHES, READY

if TYPE_CHECKING:
    from tensorwright.plan.plan import Plan
    from tensorwright.runtime.engine import Engine

TOGETHER = 3
"""Answers that go together while the device has as many inferences before it: each of them wakes the other process."""
MOST_DESCRIPTORS = 253
"""So many the system passes on with a message."""


class Inference(NamedTuple):
    """One that has begun: the number of its request, and where its data lie here and there."""

    number: int
    place: Place
    found: Layout
    bindings: Sequence[int]
    begun: Begun


class Service:
    """What the threads that serve one client share.

    Each begins an inference and then ends the one that began first, be it another's: so one of them waits for the
    device at a time, in the order of the requests, while others fetch inputs and bring outputs.

    places: one for each thread. The one that was used last is used first: it may still be in the processor's caches.
    """

    def __init__(self, plan: Plan, contexts: Contexts, messages: Messages, places: Sequence[Place]) -> None:
        self._plan = plan
        self._contexts = contexts
        self._messages = messages
        self._places = [*places]
        self._begun: deque[Inference] = deque()
        self._waiting = threading.Lock()
        self._answers: list[Message] = []
        self._answering = threading.Lock()
        self._known: dict[tuple[int, ...], tuple[Sizes, Layout]] = {}

    def work(self) -> None:
        """Serve until the other end is closed."""
        with suppress(EOFError, OSError):
            while True:
                if self._begin(*self._messages.receive().numbers):
                    self._end_next()
        self._places.pop().close()

    def _begin(self, number: int, steps: int, *numbers: int) -> bool:
        """Begin what was asked for: the values of the plan's symbols, and the addresses of its bindings over there."""
        count = len(self._plan.symbols)
        symbols, bindings = numbers[:count], numbers[count:]
        place = self._places.pop()
        try:
            sizes, found = self._known.get(symbols) or self._learn(symbols)
            begun = place.begin(self._contexts, sizes, found, bindings, steps)
        except Exception as error:  # noqa: BLE001 - raised by who asked
            self._places.append(place)
            self._refuse(number, error)
            return False
        self._begun.append(Inference(number, place, found, bindings, begun))
        return True

    def _end_next(self) -> None:
        """Wait for the inference that began first, and answer who asked for it."""
        try:
            with self._waiting:
                number, place, found, bindings, begun = self._begun.popleft()
                if begun.wait is not None:
                    begun.wait()
            place.bring(found, bindings)
        except Exception as error:  # noqa: BLE001 - raised by who asked
            self._refuse(number, error)
        else:
            self._answer(Message((number, False, False, *begun.ticks)))
        finally:
            self._places.append(place)

    def _learn(self, symbols: tuple[int, ...]) -> tuple[Sizes, Layout]:
        self._known[symbols] = found = Sizes(symbols, ()), layout(self._plan, symbols)
        return found

    def _refuse(self, number: int, error: Exception) -> None:
        is_device = isinstance(error, DeviceError)
        is_lost = isinstance(error, DeviceError) and error.lost
        self._answer(Message((number, is_device, is_lost), str(error) or repr(error)))

    def _answer(self, message: Message) -> None:
        """Send an answer, with those before it; or leave that to whoever ends what has begun, if that is much."""
        with self._answering:
            self._answers.append(message)
            if len(self._answers) >= TOGETHER or len(self._begun) < TOGETHER:
                answers, self._answers = self._answers, []
                self._messages.send(*answers)


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
        places: list[Place]
        if other is None:
            places = [BySharing(SharedMemory(*shared))]
        else:
            reach = Reach(engine, other)
            places = [ByReaching(reach) for _ in range(threads)]
        messages = Messages(socket.socket(fileno=connected))
        service = Service(engine.modules[0].plan, Contexts(engine, contexts), messages, places)
        for _ in places:
            threading.Thread(target=service.work, daemon=True).start()
