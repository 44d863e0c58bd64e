"""Real GPUs beside other libraries: their arrays, streams and contexts, threads and processes, and bad moments."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from counting import CountingAllocator
from tensorwright.base.errors import DeviceError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.devices.cuda.memory import is_page_locked
from tensorwright.graph.graph import Graph, apply, constant_value, input_value
from tensorwright.ops.activation import Relu
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.reduction import Reduction
from tensorwright.plan.file import write_plan
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.load import load
from tensorwright.tensor.dim import Symbol, expression
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

pytestmark = [pytest.mark.cuda, pytest.mark.filterwarnings("ignore")]  # Other libraries warn of their own matters.
WIDTH = 512
SLEEP = 40_000_000
"""Cycles, some 20 milliseconds, for which a stream is kept busy before what has to be waited for."""
TOLERANCES = {FLOAT32: 1e-5, FLOAT16: 2e-3, BFLOAT16: 2e-2}


def two_layers(dtype: DType = FLOAT32, most: int = 64) -> Graph:
    rng, batch = np.random.default_rng(3), Symbol("batch", 1, 8, most)
    x = input_value("x", TensorType(dtype, (expression(batch), WIDTH)))
    value = x
    for _ in range(2):
        weights = (rng.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5).astype(dtype.numpy)
        value = apply(Relu(), apply(MatMul(), value, constant_value(weights_of(weights))))
    return Graph((("x", x),), (("y", apply(Binary("add"), value, x)),), "two layers")


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[DType, Path]:
    folder, found = tmp_path_factory.mktemp("plans"), {}
    for dtype in TOLERANCES:
        found[dtype] = folder / f"{dtype.name}.plan"
        write_plan(build(two_layers(dtype), BuildConfig(device="cuda", level=0, timing_cache="")), found[dtype])
    return found


@pytest.fixture(scope="module")
def engine(plans: dict[DType, Path]) -> Engine:
    return load(plans[FLOAT32])


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((8, WIDTH), dtype=np.float32)


def assert_same(found: object, expected: np.ndarray, dtype: DType = FLOAT32) -> None:
    wide = np.asarray(found, np.float64)
    error = np.abs(wide - expected.astype(np.float64)).max() / np.abs(expected.astype(np.float64)).max()
    assert error <= TOLERANCES[dtype], error


def number_of_gpus() -> int:
    from tensorwright.devices.cuda.device import count

    return count()


# ---- arrays of others


@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda dtype: dtype.name)
def test_tensors_of_pytorch(torch, plans, dtype: DType, x: np.ndarray) -> None:
    engine = load(plans[dtype])
    expected = engine(x.astype(dtype.numpy))["y"]
    tensor = torch.from_numpy(x).cuda().to(getattr(torch, dtype.name))
    found = engine({"x": tensor})["y"]
    again = torch.from_dlpack(found)
    assert (again.data_ptr(), tuple(again.shape), str(again.dtype)) == (
        found.address,
        (8, WIDTH),
        f"torch.{dtype.name}",
    )
    assert_same(again.float().cpu().numpy(), expected, dtype)
    assert_same(found.numpy().astype(np.float32), expected, dtype)
    bare = engine(tensor)["y"]
    assert_same(bare.numpy().astype(np.float32), expected, dtype)


def test_memory_is_given_back_when_pytorch_is_done(torch, plans, engine: Engine, x: np.ndarray) -> None:
    tensor, expected, allocator = torch.from_numpy(x).cuda(), engine(x)["y"], CountingAllocator(engine.device.allocator)
    counted = load(plans[FLOAT32], allocator=allocator)
    for _ in range(200):
        with torch.cuda.stream(torch.cuda.Stream()):
            found = torch.from_dlpack(counted(tensor)["y"])
        assert len(allocator.alive) < 10
    del found
    assert_same(torch.from_dlpack(counted(tensor)["y"]).cpu().numpy(), expected)


def test_work_is_ordered_with_the_callers_stream(torch, engine: Engine, x: np.ndarray) -> None:
    expected, source = engine(x)["y"], torch.from_numpy(x).cuda()
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    for explicit in (True, False):
        tensor = torch.zeros_like(source)
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(SLEEP)
            tensor.copy_(source)
            found = engine(tensor, stream=stream.cuda_stream) if explicit else engine(tensor)
            result = torch.from_dlpack(found["y"]).clone()
        stream.synchronize()
        assert_same(result.cpu().numpy(), expected)


def test_the_default_stream_is_that_of_everybody(torch, engine: Engine, x: np.ndarray) -> None:
    expected, source = engine(x)["y"], torch.from_numpy(x).cuda()
    tensor, result = torch.zeros_like(source), torch.zeros_like(source)
    torch.cuda.synchronize()
    context = engine.create_execution_context()
    context.set_input_shape("x", x.shape)
    torch.cuda._sleep(SLEEP)
    tensor.copy_(source)
    context.execute(None, [tensor.data_ptr(), result.data_ptr()])
    assert_same(result.cpu().numpy(), expected)
    result.zero_()
    torch.cuda._sleep(SLEEP)
    context.enqueue(None, [tensor.data_ptr(), result.data_ptr()], 0)
    assert_same(result.cpu().numpy(), expected)


def test_raw_streams_and_events(torch, engine: Engine, x: np.ndarray) -> None:
    expected, source = engine(x)["y"], torch.from_numpy(x).cuda()
    result, stream, event = torch.zeros_like(source), torch.cuda.Stream(), torch.cuda.Event()
    event.record(stream)
    torch.cuda.synchronize()
    context = engine.create_execution_context()
    context.set_input_shape("x", x.shape)
    with torch.cuda.stream(stream):
        torch.cuda._sleep(SLEEP)
    context.enqueue(None, [source.data_ptr(), result.data_ptr()], stream.cuda_stream, event.cuda_event)
    assert not event.query()
    event.synchronize()
    assert_same(result.cpu().numpy(), expected)


def test_one_context_in_several_streams(torch, engine: Engine, x: np.ndarray) -> None:
    tensors = [torch.from_numpy(x * factor).cuda() for factor in (1, -1, 0.5)]
    expected = [engine(x * np.float32(factor))["y"] for factor in (1, -1, 0.5)]
    context, streams = engine.create_execution_context(), [torch.cuda.Stream() for _ in tensors]
    torch.cuda.synchronize()
    with torch.cuda.stream(streams[0]):
        torch.cuda._sleep(SLEEP)
    for _ in range(20):
        results = [context(t, stream=s.cuda_stream)["y"] for t, s in zip(tensors, streams, strict=True)]
    for found, wanted in zip(results, expected, strict=True):
        assert_same(found.numpy(), wanted)


def test_arrays_of_cupy(engine: Engine, x: np.ndarray) -> None:
    cupy = pytest.importorskip("cupy")
    expected, array = engine(x)["y"], cupy.asarray(x)
    found = engine({"x": array})["y"]
    assert_same(cupy.from_dlpack(found).get(), expected)
    assert_same(cupy.asarray(found).get(), expected)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        other = engine({"x": cupy.asarray(x)}, stream=stream.ptr)["y"]
        assert_same(cupy.asarray(other).get(), expected)


def test_arrays_of_jax(engine: Engine, x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    jax = pytest.importorskip("jax")
    expected, array = engine(x)["y"], jax.device_put(x, jax.devices("gpu")[0])
    found = engine({"x": array})["y"]
    assert_same(np.asarray(jax.dlpack.from_dlpack(found)), expected)


def test_page_locked_memory_is_recognised(torch, engine: Engine, x: np.ndarray) -> None:
    large = np.ascontiguousarray(np.tile(x, (8, 1)))
    pinned = torch.from_numpy(large).pin_memory().numpy()
    context = engine.device.context
    assert is_page_locked(context, pinned.ctypes.data)
    assert not is_page_locked(context, large.ctypes.data)
    np.testing.assert_array_equal(engine(pinned)["y"], engine(large)["y"])


def test_pytorchs_gpu_stays_the_current_one(torch, plans, x: np.ndarray) -> None:
    if number_of_gpus() < 2:
        pytest.skip("this machine has one GPU")
    torch.cuda.set_device(0)
    torch.zeros(1, device="cuda:0")
    engine = load(plans[FLOAT32], device="cuda:1")
    expected = load(plans[FLOAT32])(x)["y"]
    assert_same(engine(x)["y"], expected)
    assert torch.cuda.current_device() == 0
    tensor = torch.from_numpy(x).to("cuda:1")
    found = torch.from_dlpack(engine(tensor)["y"])
    assert found.device == torch.device("cuda:1")
    assert_same(found.cpu().numpy(), expected)
    with pytest.raises(Exception, match="found one on cuda:0; load the plan with"):
        engine(torch.from_numpy(x).to("cuda:0"))


def test_a_context_of_the_program(plans, x: np.ndarray) -> None:
    """What `pycuda` does: a context of its own, whose memory means nothing in the primary one."""
    script = f"""
import ctypes, numpy as np
from tensorwright.devices.cuda.library import driver
from tensorwright.runtime.load import load
d, handle = driver(), ctypes.c_void_p()
d._library.cuCtxCreate_v2.argtypes = (ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
d.call("making a context", "cuCtxCreate_v2", ctypes.addressof(handle), 0, 0)
place = ctypes.c_ulonglong()
x, y = np.ones((8, {WIDTH}), np.float32), np.empty((8, {WIDTH}), np.float32)
addresses = []
for array in (x, y):
    d.call("allocating", "cuMemAlloc_v2", ctypes.byref(place), array.nbytes)
    addresses.append(place.value)
d.call("copying", "cuMemcpyHtoD_v2", addresses[0], x.ctypes.data, x.nbytes)
engine = load({str(plans[FLOAT32])!r})
assert engine.device.context._handle.value == handle.value
context = engine.create_execution_context()
context.set_input_shape("x", x.shape)
context.execute(None, addresses)
d.call("copying", "cuMemcpyDtoH_v2", y.ctypes.data, addresses[1], y.nbytes)
np.testing.assert_allclose(y, engine(x)["y"], rtol=1e-5)
print("right")
"""
    assert run(script).strip() == "right"


def test_engines_one_after_the_other(plans) -> None:
    """The first one's end takes the primary context, which stays current."""
    script = f"""
import numpy as np
from tensorwright.runtime.load import load
x = np.ones((8, {WIDTH}), np.float32)
found = []
for _ in range(3):
    with load({str(plans[FLOAT32])!r}) as engine:
        found.append(engine(x)["y"].copy())
    del engine
assert all(np.array_equal(found[0], one) for one in found)
print("right")
"""
    assert run(script).strip() == "right"


# ---- threads and processes


def test_threads_with_contexts_of_their_own(engine: Engine, rng: np.random.Generator) -> None:
    """While some record graphs for other sizes, others allocate, and the collector frees."""
    cases = [rng.standard_normal((batch, WIDTH), dtype=np.float32) for batch in (1, 8, 64)]
    expected, errors = [engine(case)["y"] for case in cases], list[BaseException]()

    def work(number: int) -> None:
        try:
            for turn in range(60):
                if turn % 20 == 0:
                    context = engine.create_execution_context()
                at = (turn + number) % len(cases)
                assert_same(context(cases[at])["y"], expected[at])
                if turn % 7 == 0:
                    gc.collect()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


def run(script: str, *, code: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_a_forked_child_is_told(plans) -> None:
    script = f"""
import os, numpy as np, tensorwright as tw
x = np.ones((8, {WIDTH}), np.float32)
engine = tw.load({str(plans[FLOAT32])!r})
pool = tw.load({str(plans[FLOAT32])!r}, devices=["cuda:0"])
engine(x)
child = os.fork()
if child == 0:
    for call in (lambda: engine(x), lambda: pool(x)):
        try:
            call()
        except tw.ExecutionError as error:
            assert "forked" in str(error), error
        else:
            os._exit(2)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
engine(x)
pool(x)
pool.close()
print("told")
"""
    assert run(script).strip() == "told"


def test_two_processes_on_one_gpu(plans, engine: Engine) -> None:
    script = f"""
import numpy as np, tensorwright as tw
x = np.ones((8, {WIDTH}), np.float32)
engine = tw.load({str(plans[FLOAT32])!r})
first = engine(x)["y"]
assert all((engine(x)["y"] == first).all() for _ in range(2000))
print(float(first.sum()))
"""
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(run(script))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert results[0] == results[1]


# ---- several GPUs


def test_a_pool_on_all_gpus(plans, engine: Engine, rng: np.random.Generator) -> None:
    cases = [rng.standard_normal((batch % 64 + 1, WIDTH), dtype=np.float32) for batch in range(200)]
    expected = [engine(case)["y"] for case in cases]
    with load(plans[FLOAT32], devices="all") as pool:
        assert len(pool.devices) == number_of_gpus()
        for found, wanted in zip(pool.map(cases), expected, strict=True):
            assert_same(found["y"], wanted)
        assert sum(state.completed for state in pool.devices) == 200
        assert all(state.completed for state in pool.devices)


def test_a_gpu_that_is_lost(plans) -> None:
    """A kernel that reads where no memory is takes all GPUs from the process: that is told, and nothing hangs."""
    script = f"""
import numpy as np, tensorwright as tw
x = np.ones((8, {WIDTH}), np.float32)
reports = []
pool = tw.load({str(plans[FLOAT32])!r}, devices="all", report=reports.append)
expected = pool(x)["y"]
context = pool.engines[0].create_execution_context()
context.set_input_shape("x", x.shape)
try:
    context.execute(None, [1 << 20, 1 << 20])
except tw.DeviceError as error:
    assert error.lost and "the GPU is lost to this process" in str(error), error
    print(error)
else:
    raise SystemExit("nothing was noticed")
try:
    for found in pool.map(x for _ in range(100)):
        np.testing.assert_array_equal(found["y"], expected)
except tw.DeviceError as error:
    assert "no device" in str(error), error
else:
    raise SystemExit("nothing was noticed")
pool.close()
assert all(state.lost for state in pool.devices), pool.devices
assert len(reports) == len(pool.devices), reports
print("survived")
"""
    assert run(script).strip().endswith("survived")


def test_gpus_in_processes_of_their_own_survive_each_other(plans, engine: Engine, rng: np.random.Generator) -> None:
    cases = [rng.standard_normal((8, WIDTH), dtype=np.float32) for _ in range(200)]
    expected = [engine(case)["y"] for case in cases]
    reports: list[str] = []
    with load(plans[FLOAT32], devices="all", processes=True, report=reports.append) as pool:
        for number, (found, wanted) in enumerate(zip(pool.map(cases), expected, strict=True)):
            assert_same(found["y"], wanted)
            if number == 20 and number_of_gpus() > 1:
                os.kill(pool.engines[0].modules[0]._worker.pid, signal.SIGKILL)
    assert len(reports) == (number_of_gpus() > 1)


# ---- memory


def largest_shares() -> Graph:
    """The largest share in each row of (n, n) shares: 1 TiB of them for 2^19 rows, which no GPU has."""
    n = expression(Symbol("n", 1, 8, 1 << 19))
    a, b = input_value("a", TensorType(FLOAT32, (n, 16))), input_value("b", TensorType(FLOAT32, (16, n)))
    shares = apply(Softmax(1), apply(MatMul(), a, b))
    return Graph((("a", a), ("b", b)), (("y", apply(Reduction("max", (1,)), shares)),), "largest shares")


def test_out_of_memory_says_what_for_and_is_no_end(
    engine: Engine, x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asks for too much at once: to hold all that there is would fail the tests that run beside this one."""
    monkeypatch.setenv("TENSORWRIGHT_CHECK_PLAN", "0")  # The check looks at every piece of memory.
    huge = Engine(build(largest_shares(), BuildConfig(device="cuda", level=0, timing_cache="")))
    expected = engine(x)["y"]
    with pytest.raises(
        DeviceError, match=r"could not allocate \d+ bytes .* for .* of GPU 0, which has \d+ of"
    ) as caught:
        huge.create_execution_context()
    assert not caught.value.lost
    assert_same(engine(x)["y"], expected)
