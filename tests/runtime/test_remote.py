"""Devices in processes of their own: right, and what ends a process ends nothing else."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from graphs import binary, given, network, unary
from tensorwright.base.errors import DeviceError, ExecutionError, PlanError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Graph, apply, input_value
from tensorwright.ops.indexing import Gather
from tensorwright.plan.file import serialize_plan
from tensorwright.plan.plan import Plan
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.load import load
from tensorwright.runtime.profiler import profile
from tensorwright.runtime.reach import Token
from tensorwright.runtime.remote import RemoteDevice
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import FLOAT32, INT64
from tensorwright.tensor.type import TensorType

SECONDS = 60


def plan_for(device: str) -> Plan:
    graph = network(binary("add", unary("exp", given("x", symbol("batch", 1, 1, 4096), 8)), 1.0))
    return build(graph, BuildConfig(level=0, threads=2 if device == "cpu" else None, device=device, timing_cache=""))


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    return {device: plan_for(device) for device in ("cpu", "null")}


@pytest.fixture
def engine(plans: dict[str, Plan]) -> Iterator[Engine]:
    with Engine(plans["null"], device=RemoteDevice("null:2")) as engine:
        yield engine


def process_of(engine: Engine) -> int:
    return engine._modules[0]._worker.pid


def assert_right(found: dict[str, np.ndarray], x: np.ndarray) -> None:
    np.testing.assert_allclose(found["out0"], np.exp(x) + 1, rtol=1e-6)


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("kind", ["cpu", "null"])
def test_inferences_of_all_sizes(
    plans: dict[str, Plan], kind: str, is_shared: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_shared:  # As where the system does not let a process reach into another one.
        monkeypatch.setattr(Token, "text", f"{os.getpid()}:16:{'00' * 16}")
    with Engine(plans[kind], device=RemoteDevice(kind)) as engine:
        assert not (is_shared and engine._modules[0].is_reached)
        assert engine.device.label == f"{kind}:0 in a process"
        contexts = [engine, engine.create_execution_context()]
        for batch in (1, 7, 4096, 2):
            x = rng.standard_normal((batch, 8), dtype=np.float32)
            for run in contexts:
                assert_right(run(x), x)
        found = engine.run_buffers({"x": x})["out0"]
        np.testing.assert_allclose(np.asarray(found), np.exp(x) + 1, rtol=1e-6)
        assert len(profile(contexts[1], x).steps) == len(plans[kind].steps)


def test_what_is_wrong_with_inputs_is_said_here(engine: Engine) -> None:
    with pytest.raises(ExecutionError, match="expected dtype float32, found float64"):
        engine(np.ones((2, 8)))
    assert_right(engine(np.ones((2, 8), np.float32)), np.ones((2, 8)))
    with pytest.raises(ExecutionError, match="null:2 in a process has no streams and no memory here"):
        engine.create_execution_context().enqueue(1, [64, 64], 0)
    with pytest.raises(ExecutionError, match="an allocator gives memory of this process; leave it out"):
        Engine(plan_for("null"), RemoteDevice("null").allocator, device=RemoteDevice("null"))


def test_indices_are_checked_where_the_inference_is() -> None:
    table, places = input_value("table", TensorType(FLOAT32, (5, 3))), input_value("at", TensorType(INT64, (4,)))
    graph = Graph((("table", table), ("at", places)), (("y", apply(Gather(0), table, places)),), "gather")
    plan = build(graph, BuildConfig(level=0, threads=1, check_indices="always", timing_cache=""))
    assert plan.indices
    rows = np.arange(15, dtype=np.float32).reshape(5, 3)
    with Engine(plan, device=RemoteDevice("cpu")) as engine:
        np.testing.assert_array_equal(engine({"table": rows, "at": np.array([4, 0, -1, 2])})["y"], rows[[4, 0, -1, 2]])
        with pytest.raises(ExecutionError, match="was given the index 7; expected -5 to 4"):
            engine({"table": rows, "at": np.array([4, 0, 7, 2])})
        np.testing.assert_array_equal(engine({"table": rows, "at": np.array([1, 1, 1, 1])})["y"], rows[[1, 1, 1, 1]])


def test_what_cannot_be_loaded_is_said(plans: dict[str, Plan]) -> None:
    with pytest.raises(PlanError, match="built for the device 'cpu', it cannot run on 'null:0'"):
        Engine(plans["cpu"], device=RemoteDevice("null"))
    abroad = build(network(unary("exp", given("x", 8))), BuildConfig(device="cuda", target="sm_75", level=0))
    with pytest.raises(PlanError, match=r"cuda:77: (libcuda.so.1 was not found|no GPU 77)"):
        Engine(abroad, device=RemoteDevice("cuda:77"))


def test_a_plan_that_was_trusted_here_is_not_asked_for_a_signature_there(
    plans: dict[str, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORWRIGHT_TRUSTED", "")
    with Engine(plans["null"], device=RemoteDevice("null")) as engine:
        assert_right(engine(np.ones((1, 8), np.float32)), np.ones((1, 8)))


def test_a_process_that_ends_takes_its_device_alone(engine: Engine) -> None:
    x = np.ones((1, 8), np.float32)
    assert_right(engine(x), x)
    os.kill(process_of(engine), signal.SIGKILL)
    with pytest.raises(DeviceError, match=r"null:2: its process has ended \(signal SIGKILL\)") as caught:
        engine(x)
    assert caught.value.lost
    with pytest.raises(DeviceError, match="its process has ended"):
        engine.create_execution_context()(x)


def test_a_pool_loses_a_process_and_no_request(plans: dict[str, Plan], rng: np.random.Generator) -> None:
    reports: list[str] = []
    cases = [rng.standard_normal((1, 8), dtype=np.float32) for _ in range(150)]
    content = serialize_plan(plans["null"])
    with load(content, devices=["null:0", "null:1"], processes=True, contexts=2, report=reports.append) as pool:
        workers = [process_of(engine) for engine in pool.engines]
        assert len({*workers, os.getpid()}) == 3
        for number, (case, found) in enumerate(zip(cases, pool.map(cases), strict=True)):
            if number == 20:
                os.kill(workers[0], signal.SIGKILL)
            assert_right(found, case)
        for _ in range(200):  # Until the one that is gone was asked for something.
            if reports:
                break
            assert_right(pool(cases[0]), cases[0])
        assert [state.lost is not None for state in pool.devices] == [True, False]
    (report,) = reports
    assert "null:0 in a process is lost, null:1 in a process left: null:0: its process has ended" in report
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


def test_processes_end_with_their_engines(plans: dict[str, Plan]) -> None:
    engine = Engine(plans["null"], device=RemoteDevice("null"))
    worker = process_of(engine)
    os.kill(worker, 0)
    engine.close()
    engine.close()
    forgotten = Engine(plans["null"], device=RemoteDevice("null"))
    other = process_of(forgotten)
    del forgotten
    gc.collect()
    for process in (worker, other):
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_contexts_of_several_threads(engine: Engine, rng: np.random.Generator) -> None:
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            context, own = engine.create_execution_context(), np.random.default_rng(seed)
            for _ in range(10):
                x = own.standard_normal((own.integers(1, 64), 8), dtype=np.float32)
                assert_right(context(x), x)
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not errors, errors


def test_a_forked_process_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.ones((1, 8), np.float32)
    engine(x)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(ExecutionError, match="belongs to the process that loaded the plan, not to a forked one"):
        engine(x)
    monkeypatch.undo()
