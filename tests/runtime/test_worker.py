"""The side of a pool's process: inferences that begin before others have ended."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from graphs import binary, given, network, unary
from late_device import LateDevice
from tensorwright.base.errors import DeviceError, ExecutionError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.runtime import places
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.exchange import Messages
from tensorwright.runtime.places import ByReaching, Contexts, Reach
from tensorwright.runtime.reach import OtherMemory
from tensorwright.runtime.remote import Reply, ask, reply_of
from tensorwright.runtime.worker import TOGETHER, Service
from tensorwright.tensor.dim import symbol

SECONDS = 30
THREADS = 2 * TOGETHER + 2


@dataclass
class Client:
    """The other end of a service, in this process, and the device behind it."""

    engine: Engine
    device: LateDevice
    messages: Messages
    threads: list[threading.Thread] = field(default_factory=list)

    def ask(self, number: int, x: np.ndarray, steps: int = 0) -> np.ndarray:
        """Have exp(x) + 1 computed into the array that is returned."""
        y = np.full_like(x, np.nan)
        ask(self.messages, number, [len(x)], [x.ctypes.data, y.ctypes.data], steps)
        return y

    def reply(self) -> Reply:
        return reply_of(self.messages.receive())

    def end(self) -> None:
        self.messages.end()
        for thread in self.threads:
            thread.join(SECONDS)
            assert not thread.is_alive()


@pytest.fixture(params=[1, 2])
def contexts(request: pytest.FixtureRequest) -> int:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=["staged", "uploaded"])
def client(request: pytest.FixtureRequest, contexts: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    if request.param == "uploaded":  # As inputs are that are large.
        monkeypatch.setattr(places, "LARGE", 1)
        monkeypatch.setattr(places, "PIECE", 2000)
        monkeypatch.setattr(places, "copying_threads", lambda _most: 3)
    graph = network(binary("add", unary("exp", given("x", symbol("batch", 1, 1, 4096), 8)), 1.0))
    plan = build(graph, BuildConfig(level=0, device="null", timing_cache=""))
    device = LateDevice()
    with Engine(plan, device=device) as engine:
        here, there = socket.socketpair()
        reach = Reach(engine, OtherMemory(os.getpid()))
        assert reach.belt is not None
        device.quiet = reach.belt._stream
        rooms = [ByReaching(reach) for _ in range(THREADS)]
        service = Service(engine.modules[0].plan, Contexts(engine, contexts), Messages(there), rooms)
        client = Client(engine, device, Messages(here), [threading.Thread(target=service.work) for _ in rooms])
        for thread in client.threads:
            thread.start()
        yield client
        client.end()
        assert not any(room.has(1) for each in rooms for room in (each._inputs, each._outputs, each._there))
        assert reach.belt._pieces.empty()


def test_a_device_has_several_inferences_before_it(client: Client, rng: np.random.Generator) -> None:
    """All threads have begun one before the first has ended, whatever their sizes."""
    begun, is_open, waits = threading.Semaphore(0), threading.Event(), []

    def waited() -> None:
        waits.append(threading.current_thread())
        assert is_open.wait(SECONDS)

    client.device.recorded, client.device.waited = begun.release, waited
    xs = [rng.standard_normal((batch, 8), np.float32) for batch in (4096, *rng.integers(1, 4096, THREADS - 1))]
    ys = [client.ask(number, x) for number, x in enumerate(xs)]
    for _ in xs:
        assert begun.acquire(timeout=SECONDS)
    assert len(waits) <= 1  # One waits for the device, others for their turn.
    is_open.set()
    for number in sorted(client.reply().number for _ in xs):
        np.testing.assert_allclose(ys[number], np.exp(xs[number]) + 1, rtol=1e-6)


def test_answers_go_together_while_the_device_has_enough_before_it(client: Client, rng: np.random.Generator) -> None:
    begun, may_end = threading.Semaphore(0), threading.Semaphore(0)
    client.device.waited = lambda: may_end.acquire(timeout=SECONDS)
    client.device.recorded = begun.release
    x = rng.standard_normal((2, 8), np.float32)
    for number in range(THREADS):
        client.ask(number, x)
    for _ in range(THREADS):
        assert begun.acquire(timeout=SECONDS)
    may_end.release(TOGETHER)
    assert len(client.messages.receive_all()) == TOGETHER
    may_end.release(THREADS - TOGETHER)
    for _ in range(THREADS - TOGETHER):
        assert client.reply().failure is None


def test_sizes_grow_while_others_are_under_way(client: Client, rng: np.random.Generator) -> None:
    xs = [rng.standard_normal((batch, 8), np.float32) for batch in (1, 4096, 3, 7, 300, 2, 4000, 64) for _ in range(4)]
    ys = [client.ask(number, x) for number, x in enumerate(xs)]
    for _ in xs:
        reply = client.reply()
        assert reply.failure is None
        np.testing.assert_allclose(ys[reply.number], np.exp(xs[reply.number]) + 1, rtol=1e-6)


def test_errors_belong_to_their_requests(client: Client, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 8), np.float32)
    ask(client.messages, 7, [3], [16, 16])  # No memory of anybody.
    reply = client.reply()
    assert (reply.number, type(reply.failure)) == (7, ExecutionError)
    assert "memory of process" in str(reply.failure)
    failures = [DeviceError("it is gone", lost=True), ValueError()]

    def fail() -> None:
        if failures:
            raise failures.pop()

    client.device.waited = fail
    for expected in (ExecutionError, DeviceError):
        client.ask(1, x)
        assert type(client.reply().failure) is expected
    for number in range(2 * THREADS):  # No place was lost.
        y = client.ask(number, x)
        assert client.reply() == Reply(number, [], None)
        np.testing.assert_allclose(y, np.exp(x) + 1, rtol=1e-6)


def test_steps_are_timed(client: Client) -> None:
    x = np.ones((2, 8), np.float32)
    y = client.ask(0, x, steps=len(client.engine.modules[0].plan.steps))
    assert client.reply().ticks == [*range(len(client.engine.modules[0].plan.steps) + 1)]
    np.testing.assert_allclose(y, np.exp(x) + 1, rtol=1e-6)
