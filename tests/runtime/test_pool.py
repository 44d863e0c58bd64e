"""Pools on null devices whose inferences wait, fail or are lost as a test says."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from counting import CountingAllocator
from graphs import binary, given, network, unary
from tensorwright.base.errors import DeviceError, ExecutionError, PlanError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.devices.device import Allocator, Module
from tensorwright.devices.null.device import NullDevice, NullExecutor, NullModule
from tensorwright.plan.file import serialize_plan, write_plan
from tensorwright.plan.plan import Plan
from tensorwright.runtime.load import load
from tensorwright.runtime.pool import EnginePool
from tensorwright.tensor.dim import symbol

SECONDS = 30
"""How long a test waits for what must come."""


@pytest.fixture(scope="module")
def plan() -> Plan:
    graph = network(binary("add", unary("exp", given("x", symbol("batch", 1, 1, 4), 3)), 1.0))
    return build(graph, BuildConfig(level=0, device="null", timing_cache=""))


@pytest.fixture(scope="module")
def cpu_plan() -> Plan:
    graph = network(binary("add", unary("exp", given("x", symbol("batch", 1, 1, 4), 3)), 1.0))
    return build(graph, BuildConfig(level=0, threads=4, timing_cache=""))


class Scripted(NullDevice):
    """A null device that calls `before` with the number of an inference before it runs."""

    def __init__(self, number: int, before: Callable[[int], object] = lambda run: None) -> None:
        super().__init__(number)
        self.before = before
        self.runs = itertools.count()
        self.weights = 0

    def load(self, plan: Plan, allocator: Allocator, threads: int, shared: Module | None = None) -> NullModule:
        self.weights += 1
        return _Module(plan, self, allocator)

    @property
    def blocks(self) -> int:
        return len(self._memory._blocks) + len(self._staging._blocks)


class _Module(NullModule):
    def __init__(self, plan: Plan, device: Scripted, allocator: Allocator) -> None:
        super().__init__(plan, device._memory, allocator)
        self.device = device

    def create_executor(self) -> NullExecutor:
        return _Executor(self)


class _Executor(NullExecutor):
    def run(self) -> None:
        self._module.device.before(next(self._module.device.runs))
        super().run()


def lost(message: str = "fell off the bus") -> Callable[[int], None]:
    def fail(run: int) -> None:
        raise DeviceError(message, lost=True)

    return fail


def lost_from(first: int) -> Callable[[int], None]:
    """Lost at this inference, and at all later ones."""
    return lambda run: lost()(run) if run >= first else time.sleep(0.001)


def inputs(number: float) -> np.ndarray:
    return np.full((1, 3), number, np.float32)


def outputs(number: float) -> np.ndarray:
    return np.exp(inputs(number)) + 1


def assert_right(found: dict[str, np.ndarray], number: float) -> None:
    np.testing.assert_allclose(found["out0"], outputs(number), rtol=1e-6)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What keeps inferences waiting until it is set."""
    event = threading.Event()
    yield event
    event.set()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.001)


# ---- what it is


def test_results_come_in_order_and_every_device_works(plan: Plan) -> None:
    barrier = threading.Barrier(3)

    def before(run: int) -> None:
        if run:
            time.sleep(0.001 * (run % 3))
        else:
            barrier.wait(SECONDS)

    devices = [Scripted(number, before) for number in range(3)]
    with EnginePool(plan, devices) as pool:
        for number, found in enumerate(pool.map(inputs(n / 64) for n in range(64))):
            assert_right(found, number / 64)
        states = pool.devices
    assert sum(state.completed for state in states) == 64
    assert all(state.completed for state in states)
    assert [(state.name, state.contexts, state.lost) for state in states] == [(f"null:{n}", 3, None) for n in range(3)]
    assert [device.weights for device in devices] == [1, 1, 1]


def test_a_file_a_name_and_a_call(plan: Plan) -> None:
    content = serialize_plan(plan)
    with load(content, devices=["null:0", "null:1", "null"], contexts=1) as pool:
        assert_right(pool({"x": inputs(0.5)}), 0.5)
        assert [(state.name, state.contexts) for state in pool.devices] == [("null:0", 2), ("null:1", 1)]
        assert pool.name == plan.name
        assert pool.bindings == plan.bindings
        assert repr(pool) == f"EnginePool('{plan.name}', null:0, null:1)"
    with load(content, devices="all") as pool:
        assert [engine.device.label for engine in pool.engines] == ["null:0"]


def test_several_contexts_of_a_cpu_share_its_threads_and_weights(cpu_plan: Plan) -> None:
    with EnginePool(cpu_plan, ["cpu", "cpu"], contexts=2) as pool:
        assert [(state.name, state.contexts) for state in pool.devices] == [("cpu", 4)]
        assert [engine.threads for engine in pool.engines] == [1]
        for number, found in enumerate(pool.map(inputs(n / 8) for n in range(40))):
            assert_right(found, number / 8)


def test_wrong_inputs_are_told_to_who_gave_them(plan: Plan) -> None:
    with EnginePool(plan, [Scripted(0), Scripted(1)]) as pool:
        wrong = pool.submit(np.ones((1, 4), np.float32))
        right = pool.submit(inputs(1.0))
        with pytest.raises(ExecutionError, match="expected shape"):
            wrong.result(SECONDS)
        assert_right(right.result(SECONDS), 1.0)
        assert not any(state.lost for state in pool.devices)


def test_what_is_asked_wrongly_is_refused(plan: Plan, cpu_plan: Plan) -> None:
    with pytest.raises(ExecutionError, match="expected 'all' or a list such as"):
        EnginePool(plan, "null:0")
    with pytest.raises(ExecutionError, match="expected 'all' or a list such as"):
        EnginePool(plan, [])
    with pytest.raises(ExecutionError, match="contexts: expected a positive integer or None, found 0"):
        EnginePool(plan, ["null"], contexts=0)
    with pytest.raises(ExecutionError, match="patience: expected seconds or None, found -1"):
        EnginePool(plan, ["null"], patience=-1)
    with pytest.raises(PlanError, match="built for the device 'null', it cannot run on 'cpu'"):
        EnginePool(plan, ["null", "cpu"])
    with pytest.raises(ExecutionError, match="device 'gpu:1': expected one of cpu, cuda, null"):
        EnginePool(plan, ["gpu:1"])
    with pytest.raises(PlanError, match=r"null:0 cannot be in the pool of .*: the plan was built for the device cpu"):
        EnginePool(cpu_plan, [Scripted(0)])
    content = serialize_plan(plan)
    with pytest.raises(ExecutionError, match="device is 'null' and devices 'all'; say one of them"):
        load(content, device="null", devices="all")  # type: ignore[call-overload]
    with pytest.raises(ExecutionError, match="queue, patience belong to a pool"):
        load(content, queue=3, patience=1.0)  # type: ignore[call-overload]


def test_devices_that_differ_take_plans_of_their_own(plan: Plan, cpu_plan: Plan, tmp_path: Path) -> None:
    paths = [tmp_path / "null.plan", tmp_path / "cpu.plan"]
    for one, path in zip((plan, cpu_plan), paths, strict=True):
        write_plan(one, path)
    with load(paths, devices=["null:3", "cpu"]) as pool:
        assert [(state.name, state.contexts) for state in pool.devices] == [("null:3", 3), ("cpu", 1)]
        assert [engine.stamp.device for engine in pool.engines] == ["null", "cpu"]
        for number, found in enumerate(pool.map(inputs(n / 32) for n in range(32))):
            assert_right(found, number / 32)
    with load(paths, devices="all") as pool:
        assert [state.name for state in pool.devices] == ["null:0", "cpu"]
    other = build(network(unary("exp", given("z", 3))), BuildConfig(level=0, threads=1, timing_cache=""))
    with pytest.raises(PlanError, match=r"expected to have the same inputs and outputs, found .*input x.*input z"):
        EnginePool([plan, other], "all")
    with pytest.raises(PlanError, match="expected a plan or several, found none"):
        load([], devices="all")
    with pytest.raises(PlanError, match="expected the path of a plan, or its bytes, found list"):
        load(paths)  # type: ignore[call-overload]


def test_a_machine_without_the_devices_says_so(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorwright.devices.cuda.library._DRIVERS", [])
    monkeypatch.setattr("tensorwright.devices.cuda.library.LIBRARY", "libcuda-that-nobody-has.so.1")
    abroad = replace(plan, stamp=replace(plan.stamp, device="cuda"))
    with pytest.raises(PlanError, match=r"for the device 'cuda', which this machine lacks: libcuda-that-nobody-has"):
        EnginePool(abroad)
    with EnginePool([abroad, plan]) as pool:
        assert [state.name for state in pool.devices] == ["null:0"]


# ---- waiting


def test_who_adds_too_many_waits(plan: Plan, gate: threading.Event) -> None:
    with EnginePool(plan, [Scripted(0, lambda run: gate.wait(SECONDS))], contexts=1, queue=2) as pool:
        futures = [pool.submit(inputs(0.0))]
        wait_until(futures[0].running)
        futures += [pool.submit(inputs(n)) for n in (1.0, 2.0)]
        late: list[Future] = []
        adder = threading.Thread(target=lambda: late.append(pool.submit(inputs(3.0))))
        adder.start()
        adder.join(0.05)
        assert adder.is_alive()
        gate.set()
        adder.join(SECONDS)
        for number, future in enumerate([*futures, *late]):
            assert_right(future.result(SECONDS), number)


def test_inputs_are_taken_only_as_far_ahead_as_the_queue_is_long(plan: Plan, gate: threading.Event) -> None:
    taken: list[int] = []

    def batches() -> Iterator[np.ndarray]:
        for number in range(20):
            taken.append(number)
            yield inputs(number / 20)

    with EnginePool(plan, [Scripted(0)], contexts=1, queue=3) as pool:
        results = pool.map(batches())
        assert not taken
        assert_right(next(results), 0.0)
        assert len(taken) == 4
        assert len(list(results)) == 19


def test_who_waits_for_room_gets_it_in_turn(plan: Plan, gate: threading.Event) -> None:
    order: list[int] = []
    with EnginePool(plan, [Scripted(0, lambda run: gate.wait(SECONDS))], contexts=1, queue=1) as pool:
        first = pool.submit(inputs(0.0))
        wait_until(first.running)
        pool.submit(inputs(0.0))
        queue = pool._crew.queue

        def add(number: int) -> None:
            pool.submit(inputs(number)).add_done_callback(lambda future: order.append(number))

        adders = []
        for number in range(5):
            adders.append(threading.Thread(target=add, args=(number,)))
            adders[-1].start()
            wait_until(lambda: len(queue._line) == number + 1)  # noqa: B023 - called at once
        gate.set()
        for adder in adders:
            adder.join(SECONDS)
    assert order == [0, 1, 2, 3, 4]


def test_a_slow_device_does_less_and_keeps_nobody_waiting(plan: Plan, gate: threading.Event) -> None:
    begun = threading.Event()

    def waits(run: int) -> None:
        begun.set()
        gate.wait(SECONDS)

    with EnginePool(plan, [Scripted(0, waits), Scripted(1, lambda run: begun.wait(SECONDS))], contexts=1) as pool:
        futures = [pool.submit(inputs(n / 32)) for n in range(32)]
        wait_until(lambda: sum(future.done() for future in futures) == 31)
        gate.set()
        for number, future in enumerate(futures):
            assert_right(future.result(SECONDS), number / 32)
        assert [state.completed for state in pool.devices] == [1, 31]


def test_a_request_can_be_cancelled_while_it_waits(plan: Plan, gate: threading.Event) -> None:
    with EnginePool(plan, [Scripted(0, lambda run: gate.wait(SECONDS))], contexts=1) as pool:
        first, second = pool.submit(inputs(1.0)), pool.submit(inputs(2.0))
        wait_until(first.running)
        assert second.cancel()
        gate.set()
        assert_right(first.result(SECONDS), 1.0)
        with pytest.raises(CancelledError):
            second.result(SECONDS)


# ---- devices that fail


def test_a_device_that_is_lost_in_the_middle_loses_no_request(plan: Plan) -> None:
    reports: list[str] = []
    devices = [Scripted(0), Scripted(1, lost_from(5)), Scripted(2)]
    given: list[float] = []

    def until_lost() -> Iterator[np.ndarray]:
        while not reports:
            given.append(len(given) % 64 / 64)
            yield inputs(given[-1])

    with EnginePool(plan, devices, report=reports.append) as pool:
        for number, found in enumerate(pool.map(until_lost())):
            assert_right(found, given[number])
        states = pool.devices
    assert [state.lost is not None for state in states] == [False, True, False]
    assert sum(state.completed for state in states) == len(given)
    (report,) = reports
    assert report.endswith("null:1 is lost, null:0, null:2 left: fell off the bus")


def test_when_all_devices_are_lost_everybody_hears_why(plan: Plan) -> None:
    reports: list[str] = []
    with EnginePool(plan, [Scripted(0, lost("no power")), Scripted(1, lost_from(2))], report=reports.append) as pool:
        with pytest.raises(DeviceError):
            for _ in pool.map(inputs(n) for n in range(20)):
                pass
        wait_until(lambda: all(state.lost for state in pool.devices))
        with pytest.raises(DeviceError, match=r"has no devices left \(null:0: no power; null:1: fell off the bus\)"):
            pool.submit(inputs(0.0)).result(SECONDS)
    assert len(reports) == 2


def test_a_request_that_devices_are_lost_by_does_not_go_round(plan: Plan) -> None:
    def poisoned(device: Scripted) -> Callable[[int], None]:
        def before(run: int) -> None:
            blocks = [bytes(block) for block in device._memory._blocks.values()]
            if any(np.float32(13.0).tobytes() in block for block in blocks):
                raise DeviceError("it was the thirteen", lost=True)

        return before

    devices = [Scripted(number) for number in range(5)]
    for device in devices:
        device.before = poisoned(device)
    with EnginePool(plan, devices, contexts=1, report=lambda message: None) as pool:
        with pytest.raises(DeviceError, match=r"no device could do this request \(null:\d: it was the thirteen; null"):
            pool(inputs(13.0))
        assert sum(state.lost is not None for state in pool.devices) == 3
        assert_right(pool(inputs(2.0)), 2.0)


def test_what_one_device_cannot_do_another_does(plan: Plan) -> None:
    def full(run: int) -> None:
        raise DeviceError("there is no memory")

    with EnginePool(plan, [Scripted(0, full), Scripted(1)], contexts=1) as pool:
        for number, found in enumerate(pool.map(inputs(n / 8) for n in range(8))):
            assert_right(found, number / 8)
        assert [state.completed for state in pool.devices] == [0, 8]
        assert not any(state.lost for state in pool.devices)
    reason = r"null:\d: there is no memory; null:\d: there is no memory"
    with EnginePool(plan, [Scripted(0, full), Scripted(1, full)]) as pool, pytest.raises(DeviceError, match=reason):
        pool(inputs(0.0))


def test_a_request_that_only_a_lost_device_could_do_is_answered(plan: Plan, gate: threading.Event) -> None:
    def full(run: int) -> None:
        raise DeviceError("there is no memory")

    def waits(run: int) -> None:
        gate.wait(SECONDS)
        lost()(run)

    with EnginePool(plan, [Scripted(0, full), Scripted(1, waits)], contexts=1, report=lambda message: None) as pool:
        futures = [pool.submit(inputs(0.0)) for _ in range(2)]
        wait_until(lambda: any(future.running() for future in futures))
        gate.set()
        for future in futures:
            with pytest.raises(DeviceError, match="no device could do this request"):
                future.result(SECONDS)


def test_what_a_device_does_not_answer_in_time_another_does(plan: Plan, gate: threading.Event) -> None:
    reports: list[str] = []
    hangs = Scripted(0, lambda run: gate.wait(SECONDS))
    with EnginePool(plan, [hangs, Scripted(1)], contexts=1, patience=0.05, report=reports.append) as pool:
        for number, found in enumerate(pool.map(inputs(n / 32) for n in range(32))):
            assert_right(found, number / 32)
        assert pool.devices[0].completed == 0
    assert any("null:0 is late with a request; null:1 does it as well" in report for report in reports)
    assert hangs.blocks, "memory in which a thread is still at work was given back"


def test_an_idle_device_looks_after_the_only_request(plan: Plan, gate: threading.Event) -> None:
    first = threading.Lock()

    def hangs_once(run: int) -> None:
        if first.acquire(blocking=False):
            gate.wait(SECONDS)

    devices = [Scripted(0, hangs_once), Scripted(1, hangs_once)]
    with EnginePool(plan, devices, contexts=1, patience=0.05, report=lambda message: 1 / 0) as pool:
        assert_right(pool(inputs(0.5)), 0.5)
        gate.set()


# ---- the end


def test_closing_under_load_answers_everything_and_leaks_nothing(plan: Plan) -> None:
    devices = [Scripted(number, lambda run: time.sleep(0.002)) for number in range(2)]
    pool = EnginePool(plan, devices, queue=4)
    answers: list[object] = []

    def ask(first: int) -> None:
        for number in range(first, first + 1000):
            try:
                answers.append((number, pool.submit(inputs(number / 1e4))))
            except ExecutionError as error:
                answers.append(error)
                return

    clients = [threading.Thread(target=ask, args=(1000 * n,)) for n in range(4)]
    for client in clients:
        client.start()
    wait_until(lambda: len(answers) > 20)
    pool.close()
    for client in clients:
        client.join(SECONDS)
    refused = [answer for answer in answers if isinstance(answer, ExecutionError)]
    assert len(refused) == 4
    assert all("is closed; load its plan again" in str(error) for error in refused)
    for answer in answers:
        if isinstance(answer, tuple):
            assert_right(answer[1].result(SECONDS), answer[0] / 1e4)
    assert not any(thread.is_alive() for thread in pool._threads)
    assert [device.blocks for device in devices] == [0, 0]
    pool.close()
    with pytest.raises(ExecutionError, match="is closed"):
        pool(inputs(0.0))


def test_closing_can_drop_what_waits(plan: Plan, gate: threading.Event) -> None:
    device = Scripted(0, lambda run: gate.wait(SECONDS))
    pool = EnginePool(plan, [device], contexts=1, queue=8)
    futures = [pool.submit(inputs(n)) for n in range(4)]
    wait_until(futures[0].running)
    closer = threading.Thread(target=lambda: pool.close(cancel=True))
    closer.start()
    for future in futures[1:]:
        with pytest.raises(ExecutionError, match="is closed"):
            future.result(SECONDS)
    gate.set()
    closer.join(SECONDS)
    assert_right(futures[0].result(SECONDS), 0)
    assert not device.blocks


def test_a_device_may_be_lost_while_the_pool_closes(plan: Plan, gate: threading.Event) -> None:
    def fails(run: int) -> None:
        gate.wait(SECONDS)
        lost()(run)

    devices = [Scripted(0, fails), Scripted(1)]
    pool = EnginePool(plan, devices, contexts=1, queue=8, report=lambda message: None)
    futures = [pool.submit(inputs(n)) for n in range(6)]
    closer = threading.Thread(target=pool.close)
    closer.start()
    wait_until(lambda: sum(future.done() for future in futures) >= 5)
    gate.set()
    closer.join(SECONDS)
    for number, future in enumerate(futures):
        assert_right(future.result(SECONDS), number)


def test_a_pool_that_is_forgotten_ends(plan: Plan) -> None:
    device = Scripted(0)
    pool = EnginePool(plan, [device])
    pool(inputs(0.0))
    gone = weakref.ref(pool)
    threads = pool._threads
    del pool
    gc.collect()
    assert gone() is None
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    del threads, thread
    gc.collect()
    assert not device.blocks


def test_results_that_nobody_takes_are_cancelled(plan: Plan) -> None:
    with EnginePool(plan, [Scripted(0)], contexts=1, queue=4) as pool:
        results = pool.map(inputs(n) for n in itertools.count())
        next(results)
        results.close()
        assert_right(pool(inputs(1.0)), 1.0)


def test_a_forked_process_is_told(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    with EnginePool(plan, [Scripted(0)]) as pool:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(ExecutionError, match="does not live on in a forked process"):
            pool.submit(inputs(0.0))
        monkeypatch.undo()


def test_memory_comes_from_one_allocator(plan: Plan) -> None:
    device = Scripted(0)
    allocator = CountingAllocator(device.allocator)
    with EnginePool(plan, [device], allocator=allocator) as pool:
        assert_right(pool(inputs(0.0)), 0.0)
        assert allocator.alive == set(device._memory._blocks)
    assert not allocator.alive
