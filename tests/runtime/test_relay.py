"""Requests on their way to a process that a test plays, and to real ones."""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from graphs import binary, given, network, unary
from tensorwright.base.errors import DeviceError, ExecutionError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.plan.plan import Plan
from tensorwright.runtime import pool as pools
from tensorwright.runtime.exchange import Messages
from tensorwright.runtime.pool import EnginePool
from tensorwright.runtime.reach import OtherMemory, Token
from tensorwright.runtime.relay import AHEAD, Relay
from tensorwright.tensor.dim import symbol

SECONDS = 30


@pytest.fixture(scope="module")
def plan() -> Plan:
    graph = network(binary("add", unary("exp", given("x", symbol("batch", 1, 1, 64), 8)), 1.0))
    return build(graph, BuildConfig(level=0, device="null", timing_cache=""))


def assert_right(found: dict[str, np.ndarray], x: np.ndarray) -> None:
    np.testing.assert_allclose(found["out0"], np.exp(x) + 1, rtol=1e-6)


@dataclass
class Played:
    """A process that a test plays: what it was asked, by slot, and how it answers."""

    plan: Plan
    memory: OtherMemory = field(default_factory=lambda: OtherMemory(os.getpid()))
    waiting: dict[int, tuple[int, int, int]] = field(default_factory=dict)

    def connect(self, _memory: None, _contexts: int, _threads: int) -> Messages:
        here, self.socket = socket.socketpair()
        self.messages = Messages(self.socket)
        return Messages(here)

    def lost(self) -> DeviceError:
        return DeviceError("it is gone", lost=True)

    def asked(self, slot: int) -> tuple[int, int, int]:
        """What a slot was sent: the batch, and the addresses of input and output."""
        while slot not in self.waiting:
            self._read()
        return self.waiting.pop(slot)

    @property
    def next(self) -> list[int]:
        """The slots that were sent something."""
        while self.socket.fileno() >= 0 and select.select([self.socket], [], [], 0)[0]:
            self._read()
        return [*self.waiting]

    def _read(self) -> None:
        for message in self.messages.receive_all():
            number, steps, *sent = message.numbers
            assert steps == 0
            self.waiting[number] = tuple(sent)

    def compute(self, slot: int) -> None:
        batch, source, target = self.asked(slot)
        x = np.empty((batch, 8), np.float32)
        self.memory.read(x.ctypes.data, source, x.nbytes)
        y = np.exp(x) + 1
        self.memory.write(target, y.ctypes.data, y.nbytes)

    def answer(self, slot: int, message: str = "", is_device: bool = False, is_lost: bool = False) -> None:
        self.messages.send((slot, is_device, is_lost), message)

    def end(self) -> None:
        self.messages.close()


@pytest.fixture
def played(plan: Plan) -> Played:
    return Played(plan)


@pytest.fixture
def relay(played: Played) -> Iterator[Relay[str]]:
    relay = Relay[str](played, 1)  # type: ignore[arg-type]
    yield relay
    relay.end()
    assert relay.answers() == []


def begun(relay: Relay[str], request: str, inputs: np.ndarray | Mapping[str, np.ndarray]) -> int:
    slot = relay.reserve()
    assert slot is not None
    relay.begin(slot, request, inputs)
    return slot


def test_answers_come_in_any_order_and_together(played: Played, relay: Relay[str], rng: np.random.Generator) -> None:
    cases = {str(batch): rng.standard_normal((batch, 8), np.float32) for batch in (1, 64, 3, 1)[: relay.capacity]}
    slots = {name: begun(relay, name, x) for name, x in cases.items()}
    for name in reversed(cases):
        played.compute(slots[name])
        played.answer(slots[name])
    answers = relay.answers()
    assert [request for request, _, error in answers if error is None] == list(reversed(cases))
    for request, outputs, _ in answers:
        assert_right(outputs, cases[request])


def test_there_is_room_for_more_than_is_computed(played: Played, relay: Relay[str]) -> None:
    x = np.ones((1, 8), np.float32)
    slots = [begun(relay, str(number), x) for number in range(1 + AHEAD)]
    assert (relay.room, relay.reserve()) == (0, None)
    played.answer(slots[2])
    assert [request for request, _, _ in relay.answers()] == ["2"]
    assert relay.reserve() == slots[2]
    relay.release(slots[2])


def test_inputs_live_as_long_as_they_are_read(played: Played, relay: Relay[str], rng: np.random.Generator) -> None:
    class Made(Mapping[str, np.ndarray]):
        """Makes an array whenever it is asked for one."""

        def __getitem__(self, name: str) -> np.ndarray:
            return x.copy()

        def __iter__(self) -> Iterator[str]:
            return iter(["x"])

        def __len__(self) -> int:
            return 1

    x = rng.standard_normal((64, 8), np.float32)
    slot = begun(relay, "made", Made())
    gc.collect()
    others = [np.full((64, 8), np.nan, np.float32) for _ in range(16)]  # They would take the memory of what is gone.
    played.compute(slot)
    played.answer(slot)
    ((_, outputs, _),) = relay.answers()
    assert_right(outputs, x)
    assert len(others) == 16


def test_errors_belong_to_their_requests(played: Played, relay: Relay[str]) -> None:
    with pytest.raises(ExecutionError, match="expected shape"):
        begun(relay, "wrong", np.ones((1, 9), np.float32))
    assert relay.room == relay.capacity
    x = np.ones((1, 8), np.float32)
    for message, is_device in (("bad numbers", False), ("bad memory", True)):
        played.answer(begun(relay, message, x), message, is_device)
        ((request, _, error),) = relay.answers()
        assert request == str(error) == message
        assert type(error) is (DeviceError if is_device else ExecutionError)


def test_what_was_under_way_is_known_when_the_process_ends(played: Played, relay: Relay[str]) -> None:
    x = np.ones((1, 8), np.float32)
    begun(relay, "first", x)
    begun(relay, "second", x)
    played.end()
    with pytest.raises(DeviceError, match="it is gone"):
        relay.answers()
    assert sorted(relay.abandon()) == ["first", "second"]
    with pytest.raises(DeviceError, match="it is gone"):
        begun(relay, "third", x)
    assert relay.abandon() == []


def test_a_request_that_one_process_cannot_do_another_does(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[Played] = []

    def relay_to(_engine: object, contexts: int) -> Relay[pools.Request[pools.Inputs, pools.Outputs]]:
        sides.append(Played(plan))
        return Relay(sides[-1], contexts)  # type: ignore[arg-type]

    monkeypatch.setattr(pools, "_relay", relay_to)
    x = np.ones((1, 8), np.float32)
    with EnginePool(plan, ["null:0", "null:1"], contexts=1) as pool:
        future = pool.submit(x)
        first, slot = asked_of(sides)
        first.asked(slot)
        first.answer(slot, "out of memory", is_device=True)
        second, slot = asked_of(sides)
        assert second is not first
        second.compute(slot)
        second.answer(slot)
        assert_right(future.result(SECONDS), x)
        assert [state.completed for state in pool.devices] == [0, 1]
        futures = [pool.submit(x) for _ in range(4)]
        first, _ = asked_of(sides)
        first.end()
        sides.remove(first)
        for _ in futures:
            second, slot = asked_of(sides)
            second.compute(slot)
            second.answer(slot)
        for future in futures:
            assert_right(future.result(SECONDS), x)
        assert sum(state.lost is not None for state in pool.devices) == 1


def test_who_brings_a_request_may_be_interrupted(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    side, x = Played(plan), np.ones((1, 8), np.float32)

    def interrupted(_slot: object, _inputs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pools, "_relay", lambda _engine, contexts: Relay(side, contexts))
    with EnginePool(plan, ["null:0"], contexts=1) as pool:
        with monkeypatch.context() as patched:
            patched.setattr("tensorwright.runtime.relay._Slot.prepare", interrupted)
            with pytest.raises(KeyboardInterrupt):
                pool.submit(x)
        future = pool.submit(x)
        _, slot = asked_of([side])
        side.compute(slot)
        side.answer(slot)
        assert_right(future.result(SECONDS), x)


def test_a_slow_process_does_less(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, fast = Played(plan), Played(plan)
    sides = iter((slow, fast))
    monkeypatch.setattr(pools, "_relay", lambda _engine, contexts: Relay(next(sides), contexts))
    x = np.ones((1, 8), np.float32)
    with EnginePool(plan, ["null:0", "null:1"], contexts=1, queue=64) as pool:
        futures = [pool.submit(x) for _ in range(40)]
        for _ in range(40 - (1 + AHEAD)):
            wait_until(lambda: bool(fast.next))
            slot = fast.next[0]
            fast.compute(slot)
            fast.answer(slot)
        wait_until(lambda: sum(future.done() for future in futures) == 40 - (1 + AHEAD))
        assert not fast.next
        for slot in list(slow.next):
            slow.compute(slot)
            slow.answer(slot)
        for future in futures:
            assert_right(future.result(SECONDS), x)
        assert [state.completed for state in pool.devices] == [1 + AHEAD, 40 - (1 + AHEAD)]


def asked_of(sides: list[Played]) -> tuple[Played, int]:
    """One that was asked, and the slot."""
    wait_until(lambda: any(side.next for side in sides))
    return next((side, side.next[0]) for side in sides if side.next)


def pool_of(plan: Plan, **options: object) -> EnginePool:
    return EnginePool(plan, ["null:0", "null:1"], processes=True, contexts=1, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["relay", "patience", "shared"])
def test_pools_of_processes(plan: Plan, way: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "shared":  # As where the system does not let a process reach into another one.
        monkeypatch.setattr(Token, "text", f"{os.getpid()}:16:{'00' * 16}")
    cases = [rng.standard_normal((rng.integers(1, 65), 8), np.float32) for _ in range(60)]
    with pool_of(plan, patience=SECONDS if way == "patience" else None) as pool:
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("tensorwright-null")]
        assert len(threads) == 2
        assert [place.relay is not None for place in pool._crew.places] == [way == "relay"] * 2
        wrong = pool.submit(np.ones((1, 9), np.float32))
        for case, found in zip(cases, pool.map(cases), strict=True):
            assert_right(found, case)
        with pytest.raises(ExecutionError, match="expected shape"):
            wrong.result(SECONDS)
        assert sum(state.completed for state in pool.devices) == 60


def test_closing_under_load_and_forgetting(plan: Plan) -> None:
    x = np.ones((1, 8), np.float32)
    gc.collect()
    descriptors = _descriptors()
    pool = pool_of(plan)
    futures = [pool.submit(x) for _ in range(12)]
    pool.close()
    for future in futures:
        assert_right(future.result(0), x)
    with pytest.raises(ExecutionError, match="is closed"):
        pool.submit(x)
    del pool, futures, future
    gc.collect()
    assert _descriptors() == descriptors
    pool = pool_of(plan)
    future, workers = pool.submit(x), [engine.modules[0]._worker.pid for engine in pool.engines]
    assert_right(future.result(SECONDS), x)
    os.kill(workers[0], signal.SIGKILL)
    place = pool._crew.places[0]
    wait_until(lambda: place.lost is not None)  # Though nobody asked it for anything.
    del pool
    gc.collect()
    for worker in workers:
        wait_until(lambda worker=worker: not _is_there(worker))


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.001)


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
