from __future__ import annotations

import array
import mmap
import subprocess
import sys

import numpy as np
import pytest

import native_plans
from tensorwright.base.errors import ExecutionError
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import Symbol
from tensorwright.tensor.dtype import DTYPES, FLOAT32, INT64, UINT8


def as_mapping(content: bytes) -> mmap.mmap:
    mapping = mmap.mmap(-1, len(content))
    mapping[:] = content
    return mapping


FORMS = {
    "array": lambda x: x,
    "its buffer": lambda x: x.data,
    "read-only": lambda x: x.data.toreadonly(),
    "flat": lambda x: array.array("f", x.reshape(-1)),
    "bytes": lambda x: x.tobytes(),
    "bytearray": lambda x: bytearray(x.tobytes()),
    "mapping": lambda x: as_mapping(x.tobytes()),
    "characters": lambda x: x.data.cast("B").cast("c"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("threads", [1, 2])
def test_every_kind_of_buffer_gives_the_right_answer(rng, form, threads):
    x = rng.standard_normal((3, native_plans.WIDTH), np.float32)
    with Engine(native_plans.plan(batch=Symbol("N", 3, 3, 3)), threads=threads) as engine:
        result = engine.run_buffers({"x": form(x)})["y"]
    assert (result.shape, result.format, result.readonly) == (x.shape, "f", False)
    np.testing.assert_array_equal(np.asarray(result), native_plans.expected(x))


def test_sizes_follow_from_shapes_or_are_stated(rng):
    with Engine(native_plans.plan()).create_execution_context() as context:
        for batch in (1, 5, 3):
            x = rng.standard_normal((batch, native_plans.WIDTH), np.float32)
            np.testing.assert_array_equal(np.asarray(context.run_buffers({"x": x})["y"]), native_plans.expected(x))
        with pytest.raises(ExecutionError, match="the size of N is not known; call set_input_shape"):
            context.run_buffers({"x": x.tobytes()})
        context.set_input_shape("x", x.shape)
        result = context.run_buffers({"x": x.tobytes()})["y"]
    np.testing.assert_array_equal(np.asarray(result), native_plans.expected(x))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (7,), (2, 0), (2, 3, 5)])
def test_every_dtype_and_rank_passes_through(rng, dtype, shape):
    given = np.frombuffer(rng.bytes(30 * dtype.size), np.uint8)
    given = (given & 1 if dtype.name == "bool" else given).view(dtype.numpy)[: np.prod(shape, dtype=int)]
    with Engine(native_plans.copy_plan(dtype, shape)) as engine:
        result = engine.run_buffers({"x0": given.tobytes()})["y0"]
        if dtype.name != "bfloat16":
            assert engine.run_buffers({"x0": given.reshape(shape)})["y0"].tobytes() == result.tobytes()
    assert result.tobytes() == given.tobytes()
    if given.size and dtype.name not in ("float16", "bfloat16"):
        assert np.asarray(result).dtype == dtype.numpy
        assert result.shape == shape


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"abc", r"input 'x' of engine 'scaling': expected 48 bytes for float32 of shape \[3, 4\], found 3; pass all"),
        (np.ones((3, 4)), "expected elements of float32, or plain bytes, found the format 'd'; convert"),
        (np.ones((3, 4), np.int32), "found the format 'i'"),
        (np.ones((3, 4), ">f4"), "found the format '>f'"),
        (np.ones((4, 3), np.float32).T, r"expected contiguous elements, found strides \(4, 12\); pass a copy"),
        (np.ones((2, 4), np.float32), "dimension 'N' cannot|dimension 'N' is 2"),
        (np.ones((3, 1, 4), np.float32), "expected 2 dimensions"),
        ([1.0], "expected an object with the buffer protocol, found list; pass bytes"),
        (None, "found NoneType"),
    ],
    ids=str,
)
def test_wrong_buffers_are_refused_before_anything_runs(given, message):
    with Engine(native_plans.plan(batch=Symbol("N", 3, 3, 3))) as engine:
        engine._default_context()._latest.launcher.executor.run = lambda: pytest.fail("it ran")
        with pytest.raises(ExecutionError, match=message):
            engine.run_buffers({"x": given})


@pytest.mark.parametrize("given", [{}, {"z": b""}, {"x": b"", "z": b""}, b"", None])
def test_wrong_names_are_refused(given):
    with (
        Engine(native_plans.plan()) as engine,
        pytest.raises(ExecutionError, match="expected buffers for the inputs 'x'"),
    ):
        engine.run_buffers(given)


def test_bytes_are_the_elements_of_a_tensor_of_bytes():
    with Engine(native_plans.copy_plan(UINT8, (5,))) as engine:
        assert engine.run_buffers({"x0": b"abcde"})["y0"].tobytes() == b"abcde"
    with Engine(native_plans.copy_plan(INT64, (2,))) as engine:
        assert engine.run_buffers({"x0": array.array("l", [3, -4])})["y0"].tolist() == [3, -4]
        assert engine.run_buffers({"x0": array.array("q", [3, -4])})["y0"].tolist() == [3, -4]


def test_a_closed_context_refuses():
    engine = Engine(native_plans.copy_plan(FLOAT32, (1,)))
    engine.run_buffers({"x0": bytes(4)})
    engine.close()
    with pytest.raises(ExecutionError, match="is closed"):
        engine.run_buffers({"x0": bytes(4)})


PROGRAM = """
import sys
import tensorwright

engine = tensorwright.load(sys.argv[1])
engine.run_buffers({"x": memoryview(bytes(range(32))).cast("f", (2, 4))})
print("numpy" in sys.modules)
"""


def test_a_program_that_passes_buffers_never_loads_numpy(tmp_path):
    path = tmp_path / "a.plan"
    Engine(native_plans.plan()).save(path)
    command = [sys.executable, "-c", PROGRAM, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.stdout.split(), result.stderr) == (["False"], "")
