"""Plans for GPUs that newer ones run, too: on a stand-in for the driver, on an emulated GPU, and on a real one."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cuda_emulator import emulated
from cuda_fake import FakeLibrary
from end_to_end.test_networks import GRAPHS, check
from graphs import network
from regions.collection import EXAMPLES
from tensorwright.base.errors import BuildError, PlanError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.codegen.cuda.compile import compile_ptx
from tensorwright.codegen.cuda.targets import CUDA_TARGETS, cuda_target_named
from tensorwright.devices.cuda import fallback, library
from tensorwright.devices.cuda.image import Image, read_image, write_image
from tensorwright.devices.cuda.library import CudaError, Driver
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, apply, input_value
from tensorwright.kernels.cuda.catalogue import tactics
from tensorwright.ops.activation import Relu
from tensorwright.ops.matmul import MatMul
from tensorwright.plan.bundle import bundle
from tensorwright.plan.file import serialize_plan, write_plan
from tensorwright.plan.plan import Executable, Plan
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.load import load
from tensorwright.tensor.dim import Symbol, expression
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tune.tolerance import relative_error

COMPATIBLE = BuildConfig(device="cuda", target="sm_80", level=0, timing_cache="", compatible=True)
WARNING = r"built for sm_80 on a GPU of sm_80; this is .+ of compute capability \d+\.\d: the driver compiles"
MAJOR, MINOR, SHARED = 75, 76, 97


def small_network() -> Graph:
    x = input_value("x", TensorType(FLOAT32, (expression(Symbol("batch", 1, 2, 4)), 12)))
    y = input_value("y", TensorType(FLOAT32, (12, 8)))
    return Graph((("x", x), ("y", y)), (("z", apply(Relu(), apply(MatMul(), x, y))),))


def image_of(plan: Plan) -> Image:
    return read_image(plan.executable.code, plan.symbols, "the plan")


def with_image(plan: Plan, image: Image) -> Plan:
    return replace(plan, executable=Executable(write_image(image), plan.executable.entries), seal="")


def without_machine_code(plan: Plan) -> Plan:
    image = image_of(plan)
    return with_image(plan, replace(image, modules=dict.fromkeys(image.modules, b"\xffno code")))


@contextmanager
def told(is_newer: bool) -> Iterator[None]:
    """Loading warns if the GPU is newer; warnings are errors otherwise."""
    if is_newer:
        with pytest.warns(RuntimeWarning, match=WARNING):
            yield
    else:
        yield


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build(small_network(), COMPATIBLE)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    """A GPU of compute capability 9.0 that answers nothing."""
    found = FakeLibrary(16 << 20)
    monkeypatch.setattr(library, "_DRIVERS", [Driver(found)])
    return found


def test_a_compatible_plan_holds_the_packed_ptx_of_every_kernel(plan: Plan) -> None:
    image, usual = image_of(plan), image_of(build(small_network(), replace(COMPATIBLE, compatible=False)))
    assert plan.stamp.target == "sm_80+"
    assert image.ptx.keys() == image.modules.keys()
    assert not usual.ptx
    for name, data in image.ptx.items():
        ptx = zlib.decompress(data).decode()
        assert f".entry {name}(" in ptx
        assert ".target sm_80\n" in ptx
        assert len(data) < len(ptx) / 2
    assert len(write_image(image)) > len(write_image(replace(image, ptx={})))


@pytest.mark.parametrize(("capability", "is_newer"), [(80, False), (86, False), (90, True), (120, True)])
def test_the_driver_gets_machine_code_or_ptx(capability: int, is_newer: bool, plan: Plan, fake: FakeLibrary) -> None:
    fake.attributes.update({MAJOR: capability // 10, MINOR: capability % 10})
    with told(is_newer):
        engine = Engine(plan)
    (name,) = image_of(plan).modules
    expected = zlib.decompress(image_of(plan).ptx[name]) if is_newer else image_of(plan).modules[name]
    (arguments,) = [arguments for called, arguments in fake.calls if called == "cuModuleLoadDataEx"]
    assert arguments[1] == expected + b"\0"
    engine.close()


@pytest.mark.parametrize("capability", [80, 90, 120])
def test_newer_gpus_compute_the_same(
    capability: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rng: np.random.Generator
) -> None:
    gpu = emulated(monkeypatch, tmp_path)
    gpu.attributes.update({MAJOR: capability // 10, MINOR: capability % 10})
    is_newer, graph = capability > 80, small_network()
    plan = build(graph, COMPATIBLE)
    with told(is_newer):
        engine = Engine(without_machine_code(plan) if is_newer else plan)
    inputs = {"x": rng.standard_normal((3, 12), np.float32), "y": rng.standard_normal((12, 8), np.float32)}
    expected = evaluate_graph(graph, inputs, {"batch": 3})
    np.testing.assert_allclose(engine(inputs)["z"], expected["z"], rtol=0, atol=1e-5 * np.abs(expected["z"]).max())


def test_plans_for_one_family_say_how_to_make_them_for_newer_gpus(fake: FakeLibrary) -> None:
    plan = build(small_network(), replace(COMPATIBLE, compatible=False))
    with pytest.raises(PlanError, match=r"for sm_80 on .*9\.0; build it again here, or there with compatible=True"):
        Engine(plan)


def test_older_gpus_are_refused(plan: Plan, fake: FakeLibrary) -> None:
    fake.attributes.update({MAJOR: 7, MINOR: 5})
    with pytest.raises(PlanError, match=r"for sm_80 on .*compute capability 7\.5; build it again here$"):
        Engine(plan)


def test_a_plan_for_the_gpu_comes_first_in_a_bundle(plan: Plan, fake: FakeLibrary, tmp_path: Path) -> None:
    write_plan(build(small_network(), replace(COMPATIBLE, target="sm_90", compatible=False)), tmp_path / "90.plan")
    write_plan(plan, tmp_path / "80.plan")
    bundle([tmp_path / "90.plan", tmp_path / "80.plan"], tmp_path / "both.plan")
    with load(tmp_path / "both.plan") as engine:
        assert engine.stamp.target == "sm_90"
    fake.attributes[MAJOR] = 12
    with pytest.warns(RuntimeWarning, match=WARNING), load(tmp_path / "both.plan") as engine:
        assert engine.stamp.target == "sm_80+"


def test_damaged_ptx_is_refused(plan: Plan, fake: FakeLibrary, rng: np.random.Generator) -> None:
    content, (ptx,) = serialize_plan(plan), image_of(plan).ptx.values()
    damaged = bytearray(content)
    damaged[content.index(ptx) + rng.integers(0, len(ptx))] ^= 1 << rng.integers(0, 8)
    with pytest.raises(PlanError, match="damaged"):
        load(bytes(damaged))


@pytest.mark.filterwarnings("ignore:the plan was built for sm_80")
def test_ptx_that_is_none_is_refused(plan: Plan, fake: FakeLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    image = image_of(plan)
    (name,), (ptx,) = image.modules, image.ptx.values()
    for forged, message in (
        ({}, "is missing, cut off or larger than"),
        ({name: ptx[:-9]}, "is missing, cut off or larger than"),
        ({name: b"junk"}, "cannot be read: "),
    ):
        with pytest.raises(PlanError, match=f"the PTX of the kernel {name} {message}"):
            Engine(with_image(plan, replace(image, ptx=forged)))
    with pytest.raises(CudaError, match=f"loading kernel {name} .*ptxas fatal: no such thing"):
        Engine(with_image(plan, replace(image, ptx={name: fallback.packed("bad")})))
    monkeypatch.setattr(fallback, "MOST_PTX_BYTES", 100)
    with pytest.raises(PlanError, match="larger than 100 bytes"):
        Engine(plan)


def test_kernels_that_want_more_shared_memory_than_there_is_are_named(plan: Plan, fake: FakeLibrary) -> None:
    image = image_of(plan)
    steps = tuple(replace(step, shared_bytes=100_000) for step in image.steps)
    fake.attributes.update({MAJOR: 8, SHARED: 99_000})
    message = r"k[0-9a-f]{16} needs 100000 bytes of shared memory for a block, of which Fake GPU has 99000"
    with pytest.raises(PlanError, match=message):
        Engine(with_image(plan, replace(image, steps=steps)))


@pytest.mark.parametrize("name", CUDA_TARGETS)
def test_compatible_targets_have_what_all_newer_gpus_have(name: str) -> None:
    target = cuda_target_named(f"{name}+")
    assert target == CUDA_TARGETS[name].compatible() == target.compatible()
    assert target.capability == CUDA_TARGETS[name].capability
    assert target.cpu == name
    assert not target.has_warpgroup_products
    newer = [t for t in CUDA_TARGETS.values() if t.capability >= target.capability]
    assert target.block_shared_bytes <= min(t.block_shared_bytes for t in newer)


@pytest.mark.parametrize("name", ["product", "window", "product-float32", "float8-product"])
def test_no_tactic_takes_more(name: str, rng: np.random.Generator) -> None:
    region, target = EXAMPLES[f"tensor-cores-{name}"].region(rng), CUDA_TARGETS["sm_90"].compatible()
    offered = {tactic: tactic.configs(region, target) for tactic in tactics()}
    assert any(configs for tactic, configs in offered.items() if tactic.name != "generic")
    for tactic, configs in offered.items():
        for config in configs[:1]:
            kernel = tactic.emit(region, config, target)
            ptx = compile_ptx(kernel.code, target)
            assert ".target sm_90\n" in ptx
            assert not re.search(r"wgmma|setmaxnreg|tcgen05", ptx)
            assert kernel.shared_bytes <= target.block_shared_bytes


def test_cpus_need_no_such_plans() -> None:
    with pytest.raises(BuildError, match=r"compatible is for GPUs: .* instruction_set, one of .*avx2"):
        build(small_network(), BuildConfig(compatible=True, level=0))


def test_the_commands_make_and_show_such_plans(tmp_path: Path) -> None:
    model, plan = Path(__file__).parents[2] / "demo" / "lenet.onnx", tmp_path / "lenet.plan"
    options = ["--device", "cuda", "--target", "sm_80", "--level", "0", "--compatible", "--quiet"]
    command = [sys.executable, "-m", "tensorwright"]
    subprocess.run([*command, "build", str(model), "-o", str(plan), *options], check=True)
    shown = subprocess.run([*command, "inspect", str(plan)], check=True, capture_output=True, text=True).stdout
    assert "sm_80 and newer" in shown


@pytest.mark.cuda
@pytest.mark.parametrize("target", ["sm_75", "sm_80"])
@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore:the plan was built for sm_")
def test_networks_by_ptx_alone(
    make: Callable[[np.random.Generator], Graph], target: str, rng: np.random.Generator
) -> None:
    graph = make(rng)
    check(graph, Engine(without_machine_code(build(graph, replace(COMPATIBLE, target=target)))), rng)


@pytest.mark.cuda
@pytest.mark.parametrize(
    "name",
    [
        "tensor-cores-product", "tensor-cores-window", "tensor-cores-window-stride", "tensor-cores-bytes-product",
        "half-attention-plain", "half-attention-heads",
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:the plan was built for sm_80")
def test_tensor_cores_by_ptx_alone(name: str, rng: np.random.Generator) -> None:
    graph = network(EXAMPLES[name].region(rng).output)
    engine = Engine(without_machine_code(build(graph, COMPATIBLE)))
    inputs = {
        name: rng.standard_normal([int(d) for d in value.type.shape]).astype(value.type.dtype.numpy)
        for name, value in graph.inputs
    }
    expected = evaluate_graph(graph, inputs)
    for output, array in engine(inputs).items():
        assert relative_error(array, expected[output]) < 5e-3
