"""Plans for GPUs: built for any architecture without one, launched on a stand-in for the driver; and on a GPU, if there
is one, every case and every small network, built, tuned, saved, loaded and run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cases.case import Case, assert_close
from cases.collection import CASES as ALL_CASES
from cuda_fake import FakeLibrary
from end_to_end.test_networks import GRAPHS, check
from end_to_end.test_null import graph_of
from graphs import network
from regions.tensor_cores import REGIONS
from tensorwright.base.errors import BuildError, DeviceError, ExecutionError, PlanError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.devices.cuda import library
from tensorwright.devices.cuda.image import Image, ImageStep, read_image, write_image
from tensorwright.devices.cuda.library import CudaError, Driver
from tensorwright.devices.cuda.tensor_map import TensorMap
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, apply, constant_value, input_value
from tensorwright.ops.activation import Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Concatenation, Slice
from tensorwright.plan.file import read_plan, serialize_plan
from tensorwright.plan.plan import Plan
from tensorwright.runtime.bindings import Sizes
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.exchange import layout
from tensorwright.runtime.load import load
from tensorwright.tensor.dim import Symbol, expression, symbol, symbols_of
from tensorwright.tensor.dtype import FLOAT16, FLOAT32, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of
from tensorwright.tune.tolerance import relative_error

ABROAD = BuildConfig(device="cuda", instruction_set="sm_90", level=0, timing_cache="")
HERE = BuildConfig(device="cuda", level=1, timing_cache="")
BATCH = Symbol("batch", 1, 2, 4)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    """A stand-in for the driver that this process finds."""
    found = FakeLibrary(16 << 20)
    monkeypatch.setattr(library, "_DRIVERS", [Driver(found)])
    return found


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build(small_network(), ABROAD)


def small_network() -> Graph:
    x = input_value("x", TensorType(FLOAT32, (expression(BATCH), 12)))
    y = input_value("y", TensorType(FLOAT32, (12, 8)))
    product = apply(Relu(), apply(MatMul(), x, y))
    return Graph((("x", x), ("y", y)), (("z", apply(MatMul(transpose_a=True), product, product)),))


def inputs_of(batch: int) -> dict[str, np.ndarray]:
    return {"x": np.ones((batch, 12), np.float32), "y": np.ones((12, 8), np.float32)}


def test_a_plan_is_made_without_a_gpu(plan: Plan, tmp_path: Path) -> None:
    assert plan.stamp.device == "cuda"
    assert plan.stamp.target == "sm_90"
    image = read_image(plan.executable.code, plan.symbols, "the plan")
    assert len(image.steps) == 2
    assert all(set(step.symbols) == {"batch"} for step in image.steps)


def test_parts_of_a_concatenation_start_at_whole_accesses() -> None:
    short, long = (input_value(name, TensorType(FLOAT32, (1, size))) for name, size in (("a", 3), ("b", 8)))
    joined = apply(Concatenation(1), apply(Relu(), short), apply(Relu(), long))
    graph = Graph((("a", short), ("b", long)), (("y", apply(Softmax(1), joined)),))
    plan = build(graph, replace(ABROAD, exclude_tactics=("one cluster",)))
    image = read_image(plan.executable.code, plan.symbols, "the plan")
    assert all(place % 16 == 0 for step in image.steps for base, place in step.operands if base == "arena")
    assert len(image.steps) == 4


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, "split"),
        ({"fast_algorithms": False}, "tiled"),
        ({"strict_nans": True}, "tiled"),
        ({"tf32": True}, "tf32"),
    ],
    ids=str,
)
def test_float32_is_rounded_only_where_that_is_allowed(
    options: dict[str, bool], kind: str, rng: np.random.Generator
) -> None:
    x = input_value("x", TensorType(FLOAT32, (256, 256)))
    weights = constant_value(weights_of(rng.standard_normal((256, 256), np.float32)))
    graph = Graph((("x", x),), (("y", apply(MatMul(), x, weights)),))
    (step,) = build(graph, replace(ABROAD, **options)).report["steps"]
    assert step["tactic"].split()[0] == kind


def test_launches_follow_the_sizes_and_a_graph_is_kept(plan: Plan, fake: FakeLibrary, tmp_path: Path) -> None:
    Engine(plan).save(tmp_path / "small.plan")
    engine = load(tmp_path / "small.plan")
    engine(inputs_of(2))
    engine(inputs_of(2))
    assert (fake.count("cuGraphInstantiateWithFlags"), fake.count("cuGraphLaunch"), len(fake.launches)) == (1, 2, 2)
    first, second = fake.launches
    assert first["arguments"][-1] == second["arguments"][-1] == 2
    assert first["arguments"][0] == second["arguments"][1]
    assert 6 not in first["attributes"]
    assert 6 in second["attributes"]
    engine(inputs_of(3))
    assert [launch["arguments"][-1] for launch in fake.launches[2:]] == [3, 3]
    assert fake.count("cuGraphExecUpdate_v2") == 1
    engine.close()
    assert not fake.memory


def test_work_of_a_stream_is_not_waited_for(plan: Plan, fake: FakeLibrary) -> None:
    from tensorwright.devices.cuda.device import create

    device = create()
    engine = Engine(plan, device=device)
    context, stream = engine.create_execution_context(), device.create_stream()
    context.set_input_shape("x", (2, 12))
    addresses = [device.allocator.allocate(1024, 256, 0) for _ in range(3)]
    before = fake.count("cuStreamSynchronize")
    context.enqueue(None, addresses, stream)
    assert fake.count("cuStreamSynchronize") == before
    assert fake.calls[-1][0] == "cuGraphLaunch"
    assert fake.calls[-1][1][1] == stream.handle
    with pytest.raises(ExecutionError, match=r"input 'x' .* multiple of 16 bytes, found"):
        context.execute(None, [addresses[0] + 4, *addresses[1:]])


def test_inferences_begin_before_others_have_ended(plan: Plan, fake: FakeLibrary) -> None:
    engine = Engine(plan)
    context, waits, before = engine.create_execution_context(), [], len(fake.calls)
    for batch in (2, 2, 3):
        found = layout(plan, (batch,))
        start = engine.device.staging.allocate(found.size, 256, 0)
        waits.append(context.begin_here(Sizes((batch,), ()), [start + offset for offset in found.offsets]))
    one = ["cuMemcpyHtoDAsync_v2"] * 2 + ["cuGraphLaunch", "cuMemcpyDtoHAsync_v2", "cuEventRecord"]
    waited, freed = "cuStreamSynchronize", "cuMemFree_v2"
    calls = [name for name, _ in fake.calls[before:] if name in {*one, waited, freed, "cuEventSynchronize"}]
    # There is no room at first, and too little for the third.
    assert calls == [waited, *one, *one, waited, freed, *one]
    for wait in waits:
        wait()
    assert fake.count("cuEventSynchronize") == 3


def test_profiles_time_every_launch(plan: Plan, fake: FakeLibrary) -> None:
    context, before, of_the_gpu = Engine(plan).create_execution_context(), time.perf_counter_ns(), 1_500_000
    (first, *others), (second, *_) = (context.profile(inputs_of(2), 2) for _ in range(2))
    assert others == [first] * 2
    assert before + of_the_gpu <= first < second <= time.perf_counter_ns() + of_the_gpu
    assert not any(launch["attributes"] for launch in fake.launches)


def test_failing_launches_and_full_memory_are_named(plan: Plan, fake: FakeLibrary) -> None:
    engine = Engine(plan)
    fake.fail["cuLaunchKernelEx"] = 719
    with pytest.raises(CudaError, match=r"launching the kernel k[0-9a-f]{16} \(grid .*; it is step 1 '.+' of plan"):
        engine(inputs_of(2))
    del fake.fail["cuLaunchKernelEx"]
    engine(inputs_of(2))
    fake.size = 0
    with pytest.raises(ExecutionError, match=r"allocating .* bytes of GPU 0, which has"):
        Engine(plan)


def test_a_machine_without_a_driver_says_so(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_DRIVERS", [])
    monkeypatch.setattr(library, "LIBRARY", "libcuda-that-nobody-has.so.1")
    message = r"for the device 'cuda', which this machine lacks: libcuda-that-nobody-has\.so\.1 was not found"
    with pytest.raises(PlanError, match=message):
        Engine(plan)


def test_a_build_for_a_gpu_that_is_not_there_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_DRIVERS", [])
    monkeypatch.setattr(library, "LIBRARY", "libcuda-that-nobody-has.so.1")
    with pytest.raises(BuildError, match=r"no GPU to build for: libcuda.* name an architecture \(sm_75, .* level 0"):
        build(small_network(), BuildConfig(device="cuda", timing_cache=""))


def test_the_command_builds_for_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    model, plan = Path(__file__).parents[2] / "demo" / "lenet.onnx", tmp_path / "lenet.plan"
    options = ["--device", "cuda", "--instruction-set", "sm_80", "--level", "0", "--quiet"]
    command = [sys.executable, "-m", "tensorwright", "build", str(model), "-o", str(plan), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "7 steps" in done.stdout
    assert read_plan(plan).stamp.target == "sm_80"


def test_a_gpu_of_another_family_is_refused(plan: Plan, fake: FakeLibrary) -> None:
    fake.attributes[75] = 8
    with pytest.raises(PlanError, match=r"for sm_90 on a GPU of sm_90; this is Fake GPU of compute capability 8.0"):
        Engine(plan)


def test_devices_have_numbers(plan: Plan, fake: FakeLibrary, tmp_path: Path) -> None:
    fake.gpus = 2
    Engine(plan).save(tmp_path / "small.plan")
    for name in ("cuda:1", "cuda", "cuda:0"):
        with load(tmp_path / "small.plan", device=name) as engine:
            assert engine.device.label == ("cuda:1" if name == "cuda:1" else "cuda:0")
            engine(inputs_of(2))
    with pytest.raises(ExecutionError, match=r"no GPU 2: the GPUs that this process may use are cuda:0, cuda:1"):
        load(tmp_path / "small.plan", device="cuda:2")
    with pytest.raises(PlanError, match="built for the device 'cuda', it cannot run on 'cpu'"):
        load(tmp_path / "small.plan", device="cpu")
    with pytest.raises(BuildError, match=r"no GPU to build for: no GPU 3: .* cuda:0, cuda:1"):
        build(small_network(), BuildConfig(device="cuda:3", timing_cache=""))
    with pytest.raises(BuildError, match="device 'cuda:x': expected one of cpu, cuda, null"):
        build(small_network(), BuildConfig(device="cuda:x", timing_cache=""))
    with pytest.raises(BuildError, match="device 'cpu:1': all processors of this machine are one device"):
        build(small_network(), BuildConfig(device="cpu:1", timing_cache=""))


def test_a_target_is_said_by_either_option(plan: Plan) -> None:
    same = build(small_network(), BuildConfig(device="cuda", target="sm_90", level=0, timing_cache=""))
    assert same.stamp == plan.stamp
    with pytest.raises(BuildError, match="target is 'sm_80' and instruction_set 'sm_90'; say one of them"):
        BuildConfig(target="sm_80", instruction_set="sm_90")


def test_pools_of_gpus(plan: Plan, fake: FakeLibrary) -> None:
    fake.gpus = 2
    with load(serialize_plan(plan), devices="all") as pool:
        assert [(state.name, state.contexts) for state in pool.devices] == [("cuda:0", 3), ("cuda:1", 3)]
        for _ in pool.map(inputs_of(n % 4 + 1) for n in range(16)):
            pass
        assert sum(state.completed for state in pool.devices) == 16
        loaded = fake.count("cuModuleLoadDataEx")
    assert not fake.memory
    assert not fake._host
    with load(serialize_plan(plan)):
        assert fake.count("cuModuleLoadDataEx") == loaded + loaded // 2


def test_lost_gpus_are_told(plan: Plan, fake: FakeLibrary) -> None:
    fake.gpus = 2
    reports: list[str] = []
    with load(serialize_plan(plan), devices="all", contexts=1, report=reports.append) as pool:
        fake.fail["cuGraphLaunch"] = 700
        with pytest.raises(DeviceError, match=r"no device could do this request|no devices left") as caught:
            list(pool.map(inputs_of(1) for _ in range(4)))
        assert "CUDA_ERROR_ILLEGAL_ADDRESS" in str(caught.value)
        assert "the GPU is lost to this process" in str(caught.value)
    assert len(reports) == 2


def test_threads_and_unknown_targets_are_refused() -> None:
    with pytest.raises(BuildError, match="launched by one thread, found 3"):
        build(small_network(), BuildConfig(device="cuda", instruction_set="sm_90", threads=3, level=0))
    with pytest.raises(BuildError, match="no GPU architecture 'sm_12'; expected one of sm_75"):
        build(small_network(), BuildConfig(device="cuda", instruction_set="sm_12", level=0))


def test_layers_with_other_names_are_launches_of_one_kernel() -> None:
    inputs = [input_value(name, TensorType(FLOAT32, (symbol(name, 1, 50, 900), 300))) for name in "ba"]
    graph = network(*(apply(Softmax(1), x) for x in inputs))
    plan = build(graph, ABROAD)
    image = read_image(plan.executable.code, plan.symbols, "the plan")
    assert len(image.modules) == 1
    assert [step.symbols for step in image.steps] == [("b",), ("a",)]
    assert [{one.name for size in step.grid for one in symbols_of(size)} for step in image.steps] == [{"b"}, {"a"}]


def test_parts_are_launches_of_one_kernel() -> None:
    x = input_value("x", TensorType(FLOAT32, (20, 6)))
    parts = [apply(Slice((number, 0), (1, 6), (1, 1)), x) for number in range(20)]
    graph = Graph((("x", x),), tuple((f"y{number}", part) for number, part in enumerate(parts)), "parts")
    image = read_image(build(graph, ABROAD).executable.code, (), "the plan")
    assert len(image.modules) == 1
    assert [step.symbols for step in image.steps] == [(number,) for number in range(20)]


def test_damaged_launches_are_refused(rng: np.random.Generator) -> None:
    symbol = Symbol("n", 1, 2, 3)
    grid = (expression(symbol), 1, 1)
    step = ImageStep("k", (("arena", 0), ("binding", 1)), ("n", 7), grid, 32, 1, 0, dependent=True)
    tensor_map = TensorMap(1, 2, (64, expression(symbol)), (128,), (64, 32))
    image = Image({"k": b"code"}, (step, replace(step, maps=(tensor_map,))), 64, counter_bytes=256)
    code = write_image(image)
    assert read_image(code, (symbol,), "p") == image
    for _ in range(200):
        damaged = bytearray(code)
        damaged[rng.integers(0, len(code))] ^= 1 << rng.integers(0, 8)
        try:
            read_image(bytes(damaged), (symbol,), "p")
        except PlanError as error:
            assert "its launches cannot be read" in str(error)  # noqa: PT017 - some damage is none


@pytest.mark.parametrize(("dtype", "expected"), [(FLOAT16, "attention"), (FLOAT32, "split attention")])
def test_attention_and_first_convolutions_get_kernels_of_their_own_without_timing(
    dtype: DType, expected: str, rng: np.random.Generator
) -> None:
    heads = input_value("x", TensorType(dtype, (2, 40, 32)))
    powers = apply(Softmax(2), apply(MatMul(transpose_b=True), heads, heads))
    image = input_value("image", TensorType(FLOAT16, (1, 3, 96, 96)))
    weights = constant_value(weights_of(rng.standard_normal((32, 3, 7, 7)).astype(np.float16)))
    features = apply(Convolution((2, 2), (3, 3), (3, 3), (1, 1)), image, weights)
    graph = Graph(
        (("x", heads), ("image", image)), (("y", apply(MatMul(), powers, heads)), ("z", features)), "without timing"
    )
    steps = build(graph, ABROAD).report["steps"]
    assert isinstance(steps, list)
    tactics = [step["tactic"] for step in steps if isinstance(step, dict)]
    assert expected in tactics
    assert "fragment product" in tactics


@pytest.mark.cuda
@pytest.mark.parametrize("case", ALL_CASES, ids=repr)
def test_cases(case: Case, tmp_path: Path, rng: np.random.Generator) -> None:
    graph, arrays = graph_of(case), case.arrays(rng)
    Engine(build(graph, HERE)).save(tmp_path / "case.plan")
    inputs = {f"in{i}": np.array(a, order="C") for i, a in enumerate(arrays)}
    inputs["sizes"] = np.ones([case.symbols[s.name] for s in graph.symbols()], np.bool_)
    (found,) = load(tmp_path / "case.plan")(inputs).values()
    assert_close(found, case.expected(arrays).astype(found.dtype), case.scaled_tolerance)


@pytest.mark.cuda
@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_networks(make: Callable[[np.random.Generator], Graph], rng: np.random.Generator) -> None:
    graph = make(rng)
    check(graph, Engine(build(graph, HERE)), rng)


@pytest.mark.cuda
@pytest.mark.parametrize("level", [0, 3])
@pytest.mark.parametrize("name", ["product", "product-batches", "window", "window-stride", "window-bfloat16"])
def test_networks_in_two_byte_types(name: str, level: int, rng: np.random.Generator) -> None:
    graph = network(REGIONS[name].region(rng).output)
    engine = Engine(build(graph, BuildConfig(device="cuda", level=level, timing_cache="")))
    inputs = {
        name: rng.standard_normal([int(d) for d in value.type.shape]).astype(value.type.dtype.numpy)
        for name, value in graph.inputs
    }
    expected = evaluate_graph(graph, inputs)
    for output, found in engine(inputs).items():
        assert relative_error(found, expected[output]) < (2e-2 if "bfloat16" in name else 2e-3)
