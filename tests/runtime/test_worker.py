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
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.exchange import Messages
from tensorwright.runtime.reach import OtherMemory
from tensorwright.runtime.remote import Reply, ask, reply_of
from tensorwright.runtime.worker import ByReaching, Contexts, Service
from tensorwright.tensor.dim import symbol

SECONDS = 30
THREADS = 5


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
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    graph = network(binary("add", unary("exp", given("x", symbol("batch", 1, 1, 4096), 8)), 1.0))
    plan = build(graph, BuildConfig(level=0, device="null", timing_cache=""))
    device = LateDevice()
    with Engine(plan, device=device) as engine:
        here, there = socket.socketpair()
        places = [ByReaching(engine, OtherMemory(os.getpid())) for _ in range(THREADS)]
        service = Service(engine.modules[0].plan, Contexts(engine, request.param), Messages(there), places)
        client = Client(engine, device, Messages(here), [threading.Thread(target=service.work) for _ in places])
        for thread in client.threads:
            thread.start()
        yield client
        client.end()
        assert not any(place._buffer.has(1) for place in places)


def test_a_device_has_several_inferences_before_it(client: Client, rng: np.random.Generator) -> None:
    """All threads have begun one before the first has ended, whatever their sizes."""
    begun = threading.Semaphore(0)
    is_open, waits = threading.Event(), []
    enqueued = client.device._put

    def put(stream: object, work: object) -> None:
        enqueued(stream, work)  # type: ignore[arg-type]
        begun.release()

    def waited() -> None:
        waits.append(threading.current_thread())
        assert is_open.wait(SECONDS)

    client.device._put, client.device.waited = put, waited  # type: ignore[method-assign]
    xs = [rng.standard_normal((batch, 8), np.float32) for batch in (4096, *rng.integers(1, 4096, THREADS - 1))]
    ys = [client.ask(number, x) for number, x in enumerate(xs)]
    for _ in range(2 * THREADS):  # Inputs and outputs.
        assert begun.acquire(timeout=SECONDS)
    assert len(waits) <= 1  # One waits for the device, others for their turn.
    is_open.set()
    for number in sorted(client.reply().number for _ in xs):
        np.testing.assert_allclose(ys[number], np.exp(xs[number]) + 1, rtol=1e-6)


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
