"""Contexts run on raw addresses, on streams, on memory of their own or lent."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import native_plans
from tensorwright.base.errors import ExecutionError, PlanError
from tensorwright.devices.cpu.device import CpuDevice
from tensorwright.devices.cpu.memory import PageAllocator
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.load import load
from tensorwright.runtime.profiler import profile
from tensorwright.tensor.dim import Symbol
from tensorwright.tensor.dtype import FLOAT32

WIDTH = native_plans.WIDTH


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def engine(request):
    with Engine(native_plans.plan(), threads=request.param) as engine:
        yield engine


class Buffers:
    """Arrays for x and y of a batch, y poisoned."""

    def __init__(self, rng, batch):
        self.x = rng.standard_normal((batch, WIDTH), np.float32)
        self.y = np.full((batch, WIDTH), np.nan, np.float32)

    @property
    def addresses(self):
        return [self.x.ctypes.data, self.y.ctypes.data]

    def check(self):
        np.testing.assert_array_equal(self.y, native_plans.expected(self.x))


def test_execute_runs_any_batch_on_raw_addresses(rng, engine):
    context = engine.create_execution_context()
    for batch in (1, 64, 7, 7):
        buffers = Buffers(rng, batch)
        assert context.execute(batch, buffers.addresses) is True
        buffers.check()


def test_execute_writes_nothing_but_its_batch(rng, engine):
    buffers = Buffers(rng, 8)
    engine.create_execution_context().execute(3, buffers.addresses)
    np.testing.assert_array_equal(buffers.y[:3], native_plans.expected(buffers.x[:3]))
    assert np.isnan(buffers.y[3:]).all()


def test_execute_refuses_before_anything_runs(rng, engine):
    context, buffers = engine.create_execution_context(), Buffers(rng, 2)
    x, y = buffers.addresses
    for batch, addresses, message in (
        (0, [x, y], "a batch size from 1 to 64, found 0"),
        (65, [x, y], "a batch size from 1 to 64, found 65"),
        (2, [x], "expected 2 addresses"),
        (2, [x, 0], "output 'y'"),
        (2, [x + 1, y], "input 'x' .* multiple of 4"),
        (None, [x, y], "the size of N is not known"),
    ):
        with pytest.raises(ExecutionError, match=message):
            context.execute(batch, addresses)
        with pytest.raises(ExecutionError, match=message):
            context.enqueue(batch, addresses, 0)
    assert np.isnan(buffers.y).all()


def test_input_shapes_take_the_place_of_a_batch_size(rng, engine):
    context, buffers = engine.create_execution_context(), Buffers(rng, 5)
    assert not context.all_binding_shapes_specified
    assert context.get_binding_shape("y") == (-1, WIDTH)
    context.set_input_shape("x", (5, WIDTH))
    assert context.all_binding_shapes_specified
    assert context.get_binding_shape(1) == (5, WIDTH)
    context.execute(None, buffers.addresses)
    buffers.check()
    context.execute(5, buffers.addresses)
    with pytest.raises(ExecutionError, match="'N' cannot be both 3 and 5: the batch size is 3, but axis 0 of"):
        context.execute(3, buffers.addresses)
    context.set_input_shape("x", (3, WIDTH))
    context.execute(3, buffers.addresses)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("y", (1, WIDTH), "output 'y' .* is no input"),
        ("z", (1, WIDTH), "no binding 'z'"),
        ("x", (65, WIDTH), "dimension 'N' is 65"),
        ("x", (1,), "expected 2 dimensions"),
        ("x", (1, 7), "axis 1 must be 4"),
    ],
)
def test_wrong_input_shapes_are_refused(engine, name, shape, message):
    context = engine.create_execution_context()
    with pytest.raises(ExecutionError, match=message):
        context.set_input_shape(name, shape)
    assert context.get_binding_shape("x") == (-1, WIDTH)


def test_enqueue_returns_before_the_work_is_done(rng, engine):
    device, context, gate = CpuDevice(), engine.create_execution_context(), threading.Event()
    stream, consumed = device.create_stream(), device.create_event()
    many = [Buffers(rng, batch) for batch in (3, 1, 64)]
    stream.enqueue(gate.wait)
    for buffers in many:
        assert context.enqueue(len(buffers.x), buffers.addresses, stream.handle, consumed.handle) is True
    assert not consumed.query()
    assert all(np.isnan(buffers.y).all() for buffers in many)
    gate.set()
    consumed.synchronize()
    many[-1].check()
    stream.synchronize()
    for buffers in many:
        buffers.check()


def test_enqueue_takes_objects_and_handles_alike(rng, engine):
    device, context = CpuDevice(), engine.create_execution_context()
    stream, event = device.create_stream(), device.create_event()
    for chosen, mark in ((stream, event), (stream.handle, event.handle), (0, None)):
        buffers = Buffers(rng, 4)
        context.enqueue(4, buffers.addresses, chosen, mark)
        device.find_stream(chosen if chosen == 0 else stream.handle).synchronize()
        buffers.check()
    with pytest.raises(ExecutionError, match="no stream has the handle 123456789"):
        context.enqueue(4, buffers.addresses, 123456789)
    with pytest.raises(ExecutionError, match="no event has the handle 123456789"):
        context.enqueue(4, buffers.addresses, stream, 123456789)


def test_a_failure_of_enqueued_work_surfaces_at_synchronize(rng, engine):
    device, context, gate = CpuDevice(), engine.create_execution_context(), threading.Event()
    stream, buffers = device.create_stream(), Buffers(rng, 4)
    stream.enqueue(gate.wait)
    context.enqueue(4, buffers.addresses, stream)
    context.close()
    gate.set()
    with pytest.raises(ExecutionError, match="closed"):
        stream.synchronize()


def test_one_context_may_serve_two_streams(rng, engine):
    device, context = CpuDevice(), engine.create_execution_context()
    streams = [device.create_stream() for _ in range(2)]
    many = [Buffers(rng, 1 + number % 64) for number in range(100)]
    for number, buffers in enumerate(many):
        context.enqueue(len(buffers.x), buffers.addresses, streams[number % 2])
    for stream in streams:
        stream.synchronize()
    for buffers in many:
        buffers.check()


def test_contexts_run_at_the_same_time_from_several_threads(rng, engine):
    wrong = []

    def work(context, x):
        for _ in range(50):
            wrong.extend(np.flatnonzero(context(x)["y"] != native_plans.expected(x)))

    xs = [rng.standard_normal((batch, WIDTH), np.float32) for batch in (1, 30, 64)]
    workers = [threading.Thread(target=work, args=(engine.create_execution_context(), x)) for x in xs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_a_context_outlives_its_engine(rng):
    engine = load(Engine(native_plans.plan()).serialize())
    context = engine.create_execution_context()
    del engine
    gc.collect()
    x = rng.standard_normal((3, WIDTH), np.float32)
    np.testing.assert_array_equal(context(x)["y"], native_plans.expected(x))


def test_a_context_without_memory_runs_once_it_is_lent_some(rng, engine):
    context, buffers = engine.create_execution_context_without_device_memory(), Buffers(rng, 9)
    for action in (
        lambda: context(buffers.x),
        lambda: context.execute(9, buffers.addresses),
        lambda: context.enqueue(9, buffers.addresses, 0),
    ):
        with pytest.raises(ExecutionError, match=f"no device memory yet; .* {engine.device_memory_size} bytes"):
            action()
    assert context.device_memory is None
    pages = PageAllocator()
    lent = pages.allocate(engine.device_memory_size, engine.device_memory_alignment, 0)
    context.device_memory = lent
    assert context.device_memory == lent
    context.execute(9, buffers.addresses)
    buffers.check()
    np.testing.assert_array_equal(context(buffers.x)["y"], native_plans.expected(buffers.x))
    context.close()
    pages.free(lent)


@pytest.mark.parametrize("address", [0, -64, 4096 + 32])
def test_lent_memory_must_be_aligned(engine, address):
    context = engine.create_execution_context_without_device_memory()
    with pytest.raises(ExecutionError, match="a positive multiple of 64, found"):
        context.device_memory = address


def test_a_context_with_memory_of_its_own_takes_no_other(engine):
    context = engine.create_execution_context()
    assert context.device_memory % 64 == 0
    with pytest.raises(ExecutionError, match="memory of its own; use create_execution_context_without_device_memory"):
        context.device_memory = 4096


def test_a_closed_context_takes_no_memory(engine):
    context = engine.create_execution_context_without_device_memory()
    context.close()
    with pytest.raises(ExecutionError, match="closed"):
        context.device_memory = 4096


def test_lent_memory_is_all_that_is_written(rng, engine):
    context, buffers = engine.create_execution_context_without_device_memory(), Buffers(rng, 64)
    size = engine.device_memory_size
    memory = np.full(size + 3 * 64, 0xA5, np.uint8)
    start = -memory.ctypes.data % 64 + 64
    context.device_memory = memory.ctypes.data + start
    context.execute(64, buffers.addresses)
    buffers.check()
    assert (memory[:start] == 0xA5).all()
    assert (memory[start + size :] == 0xA5).all()
    assert (memory[start : start + size] != 0xA5).any()


class Accountant:
    """Remembers what is out and what was asked for."""

    def __init__(self, limit=None):
        self.pages = PageAllocator()
        self.living = {}
        self.total = 0
        self.limit = limit

    def allocate(self, size, alignment, flags):
        if self.limit is not None and size > self.limit:
            return 0
        address = self.pages.allocate(size, alignment, flags)
        assert flags == 0
        self.living[address] = size
        self.total += size
        return address

    def free(self, address):
        del self.living[address]
        self.pages.free(address)


@pytest.mark.parametrize("threads", [1, 2])
def test_all_device_memory_comes_from_the_users_allocator_and_goes_back(rng, threads, monkeypatch):
    accountant = Accountant()
    monkeypatch.setattr(CpuDevice, "allocator", property(lambda _: pytest.fail("allocated behind the user's back")))
    engine = Engine(native_plans.plan(), allocator=accountant, threads=threads)
    weights = accountant.total
    assert weights == native_plans.SCALE.nbytes
    contexts = [engine.create_execution_context() for _ in range(2)]
    assert accountant.total >= weights + 2 * engine.device_memory_size
    x = rng.standard_normal((3, WIDTH), np.float32)
    before = accountant.total
    for context in contexts:
        context(x)
        assert context.device_memory in accountant.living
    assert accountant.total == before
    contexts[0].close()
    del context, contexts[1]
    gc.collect()
    assert accountant.living.keys() == {engine._modules[0].weights}
    engine(x)
    engine.close()
    assert accountant.living == {}


def test_memory_goes_back_without_close(rng):
    accountant = Accountant()
    engine = Engine(native_plans.plan(), allocator=accountant, threads=2)
    engine(rng.standard_normal((3, WIDTH), np.float32))
    context = engine.create_execution_context()
    assert len(accountant.living) == 5
    del engine, context
    gc.collect()
    assert accountant.living == {}


def test_mapped_weights_are_not_copied(tmp_path):
    Engine(native_plans.plan()).save(tmp_path / "a.plan")
    accountant = Accountant()
    with load(tmp_path / "a.plan", allocator=accountant):
        assert accountant.living == {}


def test_too_little_memory_is_an_error_that_leaves_nothing_behind():
    accountant = Accountant(limit=5000)
    engine = Engine(native_plans.plan(batch=Symbol("N", 1, 4, 640)), allocator=accountant, threads=20)
    with pytest.raises(ExecutionError, match=r"Accountant could not allocate 11520 bytes .* for activations"):
        engine.create_execution_context()
    gc.collect()
    assert accountant.living.keys() == {engine._modules[0].weights}
    engine.close()
    assert accountant.living == {}


def test_a_network_without_activations_still_waits_for_its_memory():
    array = np.ones((2, 2), np.float32)
    with Engine(native_plans.copy_plan(FLOAT32, (2, 2))) as engine:
        context = engine.create_execution_context_without_device_memory()
        with pytest.raises(ExecutionError, match="no device memory yet"):
            context(array)
        assert engine.device_memory_size > 0


def test_profiled_steps_have_names_and_times(rng, engine):
    context = engine.create_execution_context()
    x = rng.standard_normal((64, WIDTH), np.float32)
    result = profile(context, x, runs=5)
    assert [step.name for step in result.steps] == ["scale", "reverse"]
    assert any(step.ticks > 0 for step in result.steps)  # Some processors count slowly.
    assert 0 < result.nanoseconds < 1e9
    assert result.nanoseconds == pytest.approx(sum(s.ticks for s in result.steps) * result.nanoseconds_per_tick)
    np.testing.assert_array_equal(context(x)["y"], native_plans.expected(x))


def test_a_plan_without_step_names_cannot_be_profiled():
    with (
        Engine(native_plans.copy_plan(FLOAT32, (2, 2))) as engine,
        pytest.raises(ExecutionError, match="its report does not name its steps"),
    ):
        profile(engine.create_execution_context(), np.ones((2, 2), np.float32))


def test_a_context_that_is_dropped_stays_until_its_stream_is_done(rng):
    allocator, gate = Accountant(), threading.Event()
    stream = CpuDevice().create_stream()
    buffers = [Buffers(rng, 64) for _ in range(8)]
    engine = Engine(native_plans.plan(), allocator, threads=2)
    context = engine.create_execution_context()
    stream.enqueue(gate.wait)
    for one in buffers:
        context.enqueue(64, one.addresses, stream)
    del context, engine
    gc.collect()
    assert allocator.living
    gate.set()
    stream.synchronize()
    for one in buffers:
        one.check()
    gc.collect()
    assert not allocator.living


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_nothing_is_owned_twice(engine, copied):
    context = engine.create_execution_context()
    for thing in (engine, context, CpuDevice().create_stream(), CpuDevice().create_event(), PageAllocator()):
        with pytest.raises(ExecutionError, match=f"{type(thing).__name__} cannot be copied"):
            copied(thing)


@pytest.mark.parametrize("shape", [(1.0, WIDTH), (None, WIDTH), ("1", WIDTH), None, 3, "ab"])
def test_a_shape_is_integers(engine, shape):
    with engine.create_execution_context() as context, pytest.raises(ExecutionError, match="a sequence of integers"):
        context.set_input_shape("x", shape)


@pytest.mark.parametrize("address", [None, "64", 64.0, -64, 1 << 70])
def test_lent_memory_is_an_address(engine, address):
    context = engine.create_execution_context_without_device_memory()
    with pytest.raises(ExecutionError, match="expected the address of"):
        context.device_memory = address


def test_numbers_may_be_those_of_numpy(rng, engine):
    buffers = Buffers(rng, 5)
    context = engine.create_execution_context()
    context.set_input_shape("x", np.array([5, WIDTH]))
    assert context.execute(None, np.array(buffers.addresses))
    buffers.check()
    assert context.execute(np.int64(5), buffers.addresses)
    assert engine.get_binding_name(np.int32(1)) == "y"
    with pytest.raises(ExecutionError, match="no binding None"):
        engine.get_binding_name(None)


INFER_WHILE_FORKING = """
import os, signal, sys, threading
import numpy as np
import tensorwright as tw

engine = tw.load(sys.argv[1], threads=int(sys.argv[2]))
x = np.random.default_rng().standard_normal((64, 4), np.float32)
expected = engine(x)["y"].tobytes()
done = threading.Event()

def infer():
    while not done.is_set():
        engine(x)
        engine.create_execution_context()(x)

threads = [threading.Thread(target=infer) for _ in range(2)]
for thread in threads:
    thread.start()
wrong = 0
for _ in range(10):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        right = all(engine(x)["y"].tobytes() == expected for _ in range(3))
        right = right and engine.create_execution_context()(x)["y"].tobytes() == expected
        engine.close()
        os._exit(0 if right else 1)
    wrong += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
done.set()
for thread in threads:
    thread.join()
print("wrong:", wrong)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("threads", [1, 2])
def test_children_infer_that_were_forked_during_inferences(tmp_path, threads):
    Engine(native_plans.plan()).save(tmp_path / "a.plan")
    command = [sys.executable, "-W", "ignore", "-c", INFER_WHILE_FORKING, tmp_path / "a.plan", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.stdout, done.returncode) == ("wrong: 0\n", 0), done.stderr


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_is_told_that_an_event_stayed_behind():
    stream, event, gate = CpuDevice().create_stream(), CpuDevice().create_event(), threading.Event()
    stream.enqueue(gate.wait)
    event.record(stream)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        with pytest.raises(ExecutionError, match="its stream went on in the parent process"):
            event.synchronize()
        stream.synchronize()
        event.record(stream)
        event.synchronize()
        os._exit(0)
    gate.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    event.synchronize()


@pytest.mark.parametrize("steps", [0, 1, 3, 1000, None, "2"])
def test_ticks_are_for_the_plans_own_number_of_steps(rng, engine, steps):
    context = engine.create_execution_context()
    x = rng.standard_normal((3, WIDTH), np.float32)
    assert len(context.profile(x, 2)) == 3
    with pytest.raises(ExecutionError, match="has 2 steps"):
        context.profile(x, steps)


@pytest.mark.parametrize(("stream", "event"), [(None, None), ("0", None), (1.5, None), (0, "x"), (0, 2.0)])
def test_streams_and_events_are_what_they_are(rng, engine, stream, event):
    buffers = Buffers(rng, 3)
    context = engine.create_execution_context()
    with pytest.raises(ExecutionError, match="expected a stream and an event or None"):
        context.enqueue(3, buffers.addresses, stream, event)


@pytest.mark.parametrize("source", [None, 3, 1.5, ["a.plan"], object()])
def test_a_plan_is_loaded_from_a_path_or_bytes(source):
    with pytest.raises(PlanError, match="expected the path of a plan, or its bytes"):
        load(source)
    with pytest.raises(PlanError, match="found one with a zero byte"):
        load("a\0b")
