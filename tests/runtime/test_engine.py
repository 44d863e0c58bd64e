"""Engines compute what their plans say, from NumPy arrays of every kind, and tell about themselves."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import native_plans
from tensorwright.base.errors import ExecutionError, PlanError
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.load import load
from tensorwright.tensor.dim import Symbol
from tensorwright.tensor.dtype import DTYPES, FLOAT32

WIDTH = native_plans.WIDTH


def inputs(rng, batch: int) -> np.ndarray:
    return rng.standard_normal((batch, WIDTH), np.float32)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_batch_size_gives_the_right_answer(rng, threads):
    with Engine(native_plans.plan(), threads=threads) as engine:
        for batch in (1, 5, 64, 2):
            x = inputs(rng, batch)
            np.testing.assert_array_equal(engine(x)["y"], native_plans.expected(x))
            np.testing.assert_array_equal(engine({"x": x})["y"], native_plans.expected(x))


def test_more_shapes_than_are_remembered(rng):
    with Engine(native_plans.plan(batch=Symbol("N", 0, 1, 200))) as engine:
        for batch in (*range(200), *range(10)):
            x = inputs(rng, batch)
            np.testing.assert_array_equal(engine(x)["y"], native_plans.expected(x))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(3, 5), (), (1,), (40, 50), (2, 0)], ids=str)
def test_every_dtype_and_rank_passes_through(rng, dtype, shape):
    array = np.frombuffer(rng.bytes(4 * 2000 * dtype.size), np.uint8)
    array = (array & 1 if dtype.name == "bool" else array).view(dtype.numpy)[: np.prod(shape, dtype=int)].reshape(shape)
    with Engine(native_plans.copy_plan(dtype, shape)) as engine:
        result = engine(array)["y0"]
    assert result.dtype == dtype.numpy
    assert result.shape == shape
    assert result.tobytes() == array.tobytes()


def test_large_outputs_take_memory_that_nobody_refers_to(rng):
    with Engine(native_plans.copy_plan(FLOAT32, (100, 200))) as engine:
        arrays = [rng.standard_normal((100, 200), np.float32) for _ in range(3)]
        first, second = engine(arrays[0])["y0"], engine(arrays[1])["y0"]
        part, places = second[3:, ::2], {array.ctypes.data for array in (first, second)}
        np.testing.assert_array_equal(first, arrays[0])
        del first, second
        again = engine(arrays[2])["y0"]
        third = engine(arrays[2])["y0"]
        np.testing.assert_array_equal(part, arrays[1][3:, ::2])
        assert again.ctypes.data in places
        assert third.ctypes.data not in places


def test_outputs_that_grow_seldom_take_other_memory(rng):
    with Engine(native_plans.plan(batch=Symbol("N", 0, 1, 4000))) as engine:
        places = set()
        for batch in range(3000, 3200):
            x = inputs(rng, batch)
            y = engine(x)["y"]
            np.testing.assert_array_equal(y, native_plans.expected(x))
            places.add(y.ctypes.data)
    assert len(places) <= 4


def test_outputs_are_new_aligned_writable_arrays(rng):
    for shape in ((3, 5), (100, 200)):
        with Engine(native_plans.copy_plan(FLOAT32, shape)) as engine:
            first, second = (rng.standard_normal(shape, np.float32) for _ in range(2))
            results = [engine(array)["y0"] for array in (first, second)]
        for array, result in zip((first, second), results, strict=True):
            assert result.ctypes.data % 64 == 0
            assert result.flags.writeable
            assert result.flags.c_contiguous
            np.testing.assert_array_equal(result, array)


def test_inputs_may_lie_anywhere(rng, tmp_path):
    plan = native_plans.copy_plan(FLOAT32, (3, 5))
    array = rng.standard_normal((3, 5), np.float32)
    readonly = array.copy()
    readonly.flags.writeable = False
    odd = np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(np.float32).reshape(3, 5)
    np.save(tmp_path / "a.npy", array)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    with Engine(plan) as engine:
        for variant in (readonly, odd, mapped, np.stack([array, array])[1], array[:, ::1]):
            np.testing.assert_array_equal(engine(variant)["y0"], array)


def test_several_inputs_go_by_name(rng):
    first, second = (rng.standard_normal((2, 3), np.float32) for _ in range(2))
    with Engine(native_plans.copy_plan(FLOAT32, (2, 3), inputs=2), threads=2) as engine:
        results = engine({"x1": second, "x0": first})
        assert list(results) == ["y0", "y1"]
        np.testing.assert_array_equal(results["y0"], first)
        np.testing.assert_array_equal(results["y1"], second)


GOOD = np.ones((2, WIDTH), np.float32)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            GOOD.astype(np.float64),
            r"input 'x' of engine 'scaling': expected dtype float32, found float64; pass",
        ),
        (GOOD.astype(">f4"), "expected dtype float32, found float32 in foreign byte order"),
        (GOOD.astype(ml_dtypes.bfloat16), "expected dtype float32, found bfloat16"),
        (np.ones((WIDTH, 2), np.float32).T, r"expected a C-contiguous array, found strides \(4, 8\)"),
        (np.ones((4, WIDTH), np.float32)[::2], r"found strides \(32, 4\) .* pass numpy.ascontiguousarray"),
        ({"x": [[1, 2, 3, 4]]}, r"expected a NumPy array of float32, found list; pass numpy.asarray\(value, numpy.flo"),
        ([[1, 2, 3, 4]], "expected arrays for the inputs 'x', found list; pass a dict of arrays by name"),
        (None, "found NoneType"),
        ({"z": GOOD}, r"missing: \['x'\]; unknown: \['z'\]"),
        ({"x": GOOD, "z": GOOD}, r"missing: none; unknown: \['z'\]"),
        ({}, r"missing: \['x'\]; unknown: none"),
        (np.ones((65, WIDTH), np.float32), r"dimension 'N' is 65, .* expected 1 to 64"),
        (np.ones((0, WIDTH), np.float32), r"dimension 'N' is 0, .* expected 1 to 64"),
        (np.ones((2, WIDTH + 1), np.float32), r"found \[2, 5\]: axis 1 must be 4"),
        (np.ones(WIDTH, np.float32), r"expected 2 dimensions \[N in 1..64, 4\], found 1 dimensions \[4\]"),
    ],
    ids=lambda item: item[:30] if isinstance(item, str) else type(item).__name__,
)
def test_wrong_inputs_are_refused_before_anything_runs(given, message):
    with Engine(native_plans.plan()) as engine:
        engine._default_context()._latest.launcher.executor.run = lambda: pytest.fail("it ran")
        with pytest.raises(ExecutionError, match=message):
            engine(given)
        with pytest.raises(pytest.fail.Exception, match="it ran"):
            engine(GOOD)


def test_a_bare_array_needs_a_network_of_one_input(rng):
    with (
        Engine(native_plans.copy_plan(FLOAT32, (2, 3), inputs=2)) as engine,
        pytest.raises(ExecutionError, match="for the inputs 'x0', 'x1', found ndarray; pass a dict"),
    ):
        engine(np.ones((2, 3), np.float32))


def test_an_engine_tells_about_its_bindings():
    with Engine(native_plans.plan(threads=2)) as engine:
        assert engine.name == "scaling"
        assert engine.threads == 2
        assert engine.num_bindings == len(engine) == 2
        assert list(engine) == ["x", "y"]
        assert (engine[0], engine["y"], engine.get_binding_index("y"), engine.get_binding_name(1)) == ("x", 1, 1, "y")
        assert engine.get_binding_shape(0) == engine.get_binding_shape("y") == (-1, WIDTH)
        assert engine.get_binding_dtype("x") is FLOAT32
        assert engine.binding_is_input(0)
        assert not engine.binding_is_input("y")
        assert "x" in engine
        assert "z" not in engine
        assert engine.max_batch_size == 64
        assert engine.num_layers == 2
        assert engine.device_memory_size == 64 * WIDTH * 4 + 2 * 64
        assert engine.report["steps"][0] == {"name": "scale"}
        assert repr(engine) == "Engine('scaling', input x: float32[N×4], output y: float32[N×4])"
        with pytest.raises(ExecutionError, match="no binding 'z'"):
            engine.get_binding_index("z")
        with pytest.raises(ExecutionError, match="no binding 2"):
            engine[2]


def test_save_load_serialize(rng, tmp_path):
    x = inputs(rng, 3)
    with Engine(native_plans.plan()) as engine:
        engine.save(tmp_path / "a.plan")
        content = engine.serialize()
    with load(tmp_path / "a.plan", threads=2) as from_file, load(content) as from_bytes:
        (tmp_path / "a.plan").unlink()
        for loaded in (from_file, from_bytes, load(bytearray(content)), load(memoryview(content))):
            np.testing.assert_array_equal(loaded(x)["y"], native_plans.expected(x))
            assert loaded.serialize() == content
        assert from_file.threads == 2
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "a.plan")


def test_the_source_of_the_weights_may_change_afterwards(rng):
    weights = bytearray(native_plans.SCALE.tobytes())
    x = inputs(rng, 3)
    with Engine(replace(native_plans.plan(), weights=memoryview(weights))) as engine:
        weights[:] = bytes(len(weights))
        np.testing.assert_array_equal(engine(x)["y"], native_plans.expected(x))


REWRITTEN = """
import sys
import numpy as np
import tensorwright as tw

path, copy = sys.argv[1], sys.argv[2] == "copy"
engine = tw.load(path, copy=copy, threads=1)
expected = engine(np.ones((3, 4), np.float32))["y"].tobytes()
with open(path, "r+b") as file:  # As `cp` does it.
    file.truncate(0)
print(engine(np.ones((3, 4), np.float32))["y"].tobytes() == expected)
"""


def test_a_copied_plan_outlives_its_file(tmp_path):
    Engine(native_plans.plan()).save(tmp_path / "a.plan")
    command = [sys.executable, "-c", REWRITTEN, tmp_path / "a.plan", "copy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n")  # Without the copy, the system ends it with SIGBUS.


@pytest.mark.parametrize("damage", [lambda content: content[:-5], lambda content: content + b"x"])
def test_a_copied_plan_is_verified(tmp_path, damage):
    (tmp_path / "a.plan").write_bytes(damage(Engine(native_plans.plan()).serialize()))
    with pytest.raises(PlanError):
        load(tmp_path / "a.plan", copy=True)


def test_copied_bytes_may_change_afterwards(rng):
    content = bytearray(Engine(native_plans.plan()).serialize())
    engine = load(content, copy=True)
    content[:] = bytes(len(content))
    x = rng.standard_normal((3, native_plans.WIDTH), np.float32)
    np.testing.assert_array_equal(engine(x)["y"], native_plans.expected(x))


def test_a_plan_for_another_machine_is_refused():
    plan = native_plans.plan()
    with pytest.raises(PlanError, match=r"version of tensorwright 0.0.7, this is"):
        Engine(replace(plan, stamp=replace(plan.stamp, package_version="0.0.7")))


@pytest.mark.parametrize("threads", [0, -1, 1025, 1.0])
def test_an_absurd_number_of_threads_is_refused(threads):
    with pytest.raises(ExecutionError, match="threads: expected an integer from 1 to 1024"):
        Engine(native_plans.plan(), threads=threads)


def test_one_engine_may_be_called_from_several_threads(rng):
    xs = [inputs(rng, batch) for batch in (1, 2, 3, 40)]
    wrong = []
    with Engine(native_plans.plan(), threads=2) as engine:

        def work(x):
            for _ in range(40):
                wrong.extend(np.flatnonzero(engine(x)["y"] != native_plans.expected(x)))

        workers = [threading.Thread(target=work, args=(x,)) for x in xs]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert wrong == []


def test_a_closed_engine_refuses_everything_clearly():
    engine = Engine(native_plans.plan())
    engine(GOOD)
    context = engine.create_execution_context()
    engine.close()
    engine.close()
    with pytest.raises(ExecutionError, match="closed"):
        engine(GOOD)
    with pytest.raises(ExecutionError, match="closed"):
        context(GOOD)
    for action in (engine.create_execution_context, engine.serialize):
        with pytest.raises(ExecutionError, match="engine 'scaling' is closed; load its plan again"):
            action()


@pytest.fixture
def fixed():
    """An engine whose only size is fixed, so that calls take the short way."""
    with Engine(native_plans.plan(batch=Symbol("N", 3, 3, 3))) as engine:
        yield engine


def test_fixed_sizes_take_the_short_way_and_the_long_one_alike(fixed, rng):
    context = fixed.create_execution_context()
    x = rng.standard_normal((3, native_plans.WIDTH), np.float32)
    outputs = [context(x)["y"] for _ in range(100)] + [context({"x": x})["y"] for _ in range(100)]
    read_only = x.copy()
    read_only.setflags(write=False)
    outputs += [context(read_only)["y"], context(x.view(type("Other", (np.ndarray,), {})))["y"]]
    assert context.fixed_call is not None
    assert context.fixed_call(read_only) is None
    assert context.fixed_call(x) is not None
    for y in outputs:
        assert type(y) is np.ndarray
        assert y.flags.c_contiguous
        assert y.flags.writeable
        assert y.ctypes.data % 64 == 0
        np.testing.assert_array_equal(y, native_plans.expected(x))
    assert len({y.ctypes.data for y in outputs}) == len(outputs)
    outputs[0][:] = 0
    np.testing.assert_array_equal(outputs[1], native_plans.expected(x))


@pytest.mark.parametrize(
    "wrong", [np.ones((2, 4), np.float32), np.ones((3, 4)), np.ones((3, 8), np.float32)[:, ::2], None]
)
def test_the_short_way_refuses_what_the_long_one_refuses(fixed, wrong):
    for given in (wrong, {"x": wrong}, {}, {"z": wrong}):
        with pytest.raises(ExecutionError, match="expected"):
            fixed(given)


def test_a_closed_context_of_fixed_sizes_refuses(fixed):
    context = fixed.create_execution_context()
    x = np.ones((3, native_plans.WIDTH), np.float32)
    context(x)
    context.close()
    with pytest.raises(ExecutionError, match="is closed"):
        context(x)
