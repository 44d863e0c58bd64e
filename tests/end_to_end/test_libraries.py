"""Plans whose steps call libraries: built, saved, loaded and run on an emulated GPU with a stand-in for the library,
and on a real one that has it; what is refused, and why.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tensorwright as tw
from cublas_fake import FakeCublas, with_cublas
from cuda_emulator import EmulatedLibrary, emulated
from cudnn_fake import FakeCudnn, with_cudnn
from tensorwright.base.errors import BuildError, ExecutionError, PlanError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.cli.main import app
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.image import CallStep, Image, read_image, write_image
from tensorwright.devices.cuda.libraries import cublas as lt
from tensorwright.devices.cuda.libraries.calls import Libraries
from tensorwright.devices.cuda.libraries.find import Library, open_library
from tensorwright.devices.cuda.library import driver
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, Value, apply, constant_value, input_value
from tensorwright.ops.activation import Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.plan.file import write_plan
from tensorwright.plan.plan import Plan
from tensorwright.plan.seal import sealed
from tensorwright.runtime.load import load
from tensorwright.tensor.dim import Symbol, expression
from tensorwright.tensor.dtype import FLOAT16, FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of
from tensorwright.tune.cuda.bench import CudaBench
from tensorwright.tune.cuda.runner import LoadedCall
from tensorwright.tune.tolerance import relative_error

OTHERS = ("tiled product", "specialised product", "fragment product", "attention", "rows")
"""Tactics that are left out, so that little is compiled and run."""
WITH = BuildConfig(
    device="cuda", level=1, timing_cache="", libraries=("cublas", "cudnn"), check_plan=True, exclude_tactics=OTHERS
)
ROWS, DEPTH, COLUMNS = 32, 64, 48
CHANNELS = 16
NEAR = 2e-3
"""Of results in float16, relative to the largest."""


def network(rng: np.random.Generator) -> Graph:
    """Two products with something of no library between them; the second one ends in a sum."""

    def weights(*shape: int) -> Value:
        return constant_value(weights_of((rng.standard_normal(shape) * shape[0] ** -0.5).astype(np.float16)))

    x = input_value("x", TensorType(FLOAT16, (ROWS, DEPTH)))
    first = apply(Binary("add"), apply(MatMul(), x, weights(DEPTH, COLUMNS)), weights(COLUMNS))
    shares = apply(Softmax(1), apply(Relu(), first))
    return Graph((("x", x),), (("y", apply(Binary("add"), apply(MatMul(), shares, weights(COLUMNS, DEPTH)), x)),))


def images(rng: np.random.Generator) -> Graph:
    """Two convolutions, the second one with a residual sum."""

    def weights(*shape: int) -> Value:
        return constant_value(weights_of((rng.standard_normal(shape) * shape[-1] ** -2).astype(np.float16)))

    def convolved(x: Value, channels: int, outputs: int) -> Value:
        return apply(Convolution(*((1, 1),) * 4), x, weights(outputs, channels, 3, 3), weights(outputs))

    x = input_value("x", TensorType(FLOAT16, (2, CHANNELS, 6, 6)))
    y = convolved(apply(Relu(), convolved(x, CHANNELS, 24)), 24, CHANNELS)
    return Graph((("x", x),), (("y", apply(Relu(), apply(Binary("add"), y, x))),))


def libraries_win(patch: pytest.MonkeyPatch) -> None:
    """Have libraries said to be faster than all kernels."""

    def race(bench: CudaBench, contestants: list[list[object]], cold: list[int]) -> list[float]:
        return [1e-6 if isinstance(steps[0].loaded, LoadedCall) else 1e-3 for steps in contestants]

    patch.setattr(CudaBench, "race", race)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Plan]:
    """The network, and its plan with calls for both products."""
    return with_plan(network(np.random.default_rng()), tmp_path_factory.mktemp("made"))


def with_plan(graph: Graph, folder: Path) -> tuple[Graph, Plan]:
    """A network, and its plan made where libraries are said to be faster than all kernels."""
    with pytest.MonkeyPatch.context() as patch:
        both(patch, emulated(patch, folder))
        libraries_win(patch)
        return graph, build(graph, WITH)


def both(patch: pytest.MonkeyPatch, gpu: EmulatedLibrary) -> tuple[FakeCublas, FakeCudnn]:
    """Stand-ins for both libraries."""
    return with_cublas(patch, gpu, workspace=512), with_cudnn(patch, gpu)


@pytest.fixture
def graph(made: tuple[Graph, Plan]) -> Graph:
    return made[0]


@pytest.fixture
def plan(made: tuple[Graph, Plan]) -> Plan:
    return made[1]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> EmulatedLibrary:
    return emulated(monkeypatch, tmp_path)


@pytest.fixture
def cublas(monkeypatch: pytest.MonkeyPatch, gpu: EmulatedLibrary) -> FakeCublas:
    return both(monkeypatch, gpu)[0]


@pytest.fixture(scope="module")
def made_of_images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Plan]:
    """The network of images, and its plan with calls for both convolutions."""
    return with_plan(images(np.random.default_rng()), tmp_path_factory.mktemp("made"))


@pytest.fixture
def cudnn(monkeypatch: pytest.MonkeyPatch, gpu: EmulatedLibrary) -> FakeCudnn:
    return both(monkeypatch, gpu)[1]


def inputs(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"x": rng.standard_normal((ROWS, DEPTH)).astype(np.float16)}


def tactics_of(plan: Plan) -> list[object]:
    return [step["tactic"] for step in plan.report["steps"]]


def saved(plan: Plan, folder: Path) -> Path:
    write_plan(plan, folder / "net.plan")
    return folder / "net.plan"


def test_a_plan_calls_the_library_within_its_graph(
    graph: Graph, plan: Plan, cublas: FakeCublas, gpu: EmulatedLibrary, tmp_path: Path, rng: np.random.Generator
) -> None:
    assert plan.executable.libraries == {"cublas": "13.1.0"}
    assert [tactics_of(plan)[place] for place in (0, -1)] == ["cublas product"] * 2
    engine = load(saved(plan, tmp_path))
    for _ in range(2):
        given = inputs(rng)
        assert relative_error(engine(given)["y"], evaluate_graph(graph, given)["y"]) < NEAR
    assert len(cublas.products) == 2  # The graph holds them; it is not made again.
    assert gpu.count("cuGraphInstantiateWithFlags") == 1
    assert cublas.products[1]["beta"] == 1
    engine.close()
    assert not cublas.open


def test_kernels_around_a_call_do_not_overlap_with_it(
    plan: Plan, cublas: FakeCublas, gpu: EmulatedLibrary, tmp_path: Path, rng: np.random.Generator
) -> None:
    load(saved(plan, tmp_path))(inputs(rng))
    assert not gpu.launches[0]["attributes"]


def test_steps_that_call_are_profiled(plan: Plan, cublas: FakeCublas, tmp_path: Path, rng: np.random.Generator) -> None:
    context = load(saved(plan, tmp_path)).create_execution_context()
    assert len(context.profile(inputs(rng), len(plan.steps))) == len(plan.steps) + 1
    assert len(cublas.products) == 2


def test_a_plan_calls_for_convolutions(
    made_of_images: tuple[Graph, Plan], cudnn: FakeCudnn, tmp_path: Path, rng: np.random.Generator
) -> None:
    graph, plan = made_of_images
    assert plan.executable.libraries == {"cudnn": "9.19.0"}
    assert tactics_of(plan).count("cudnn convolution") == 2
    engine = load(saved(plan, tmp_path))
    for _ in range(2):
        given = {"x": rng.standard_normal((2, CHANNELS, 6, 6)).astype(np.float16)}
        assert relative_error(engine(given)["y"], evaluate_graph(graph, given)["y"]) < NEAR
    assert len(cudnn.executed) == 2
    engine.close()
    del engine
    gc.collect()
    assert not cudnn.open


@pytest.mark.parametrize(
    "options", [{"level": 0}, {"level": 0, "target": "sm_90"}, {"compatible": True}, {"libraries": ()}], ids=str
)
def test_no_library_is_called_where_it_may_not_be(
    graph: Graph, cublas: FakeCublas, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    libraries_win(monkeypatch)
    built = build(graph, replace(WITH, **options))
    assert not built.executable.libraries
    assert not any("cublas" in str(tactic) for tactic in tactics_of(built))


def test_profiles_of_one_size_call_and_others_do_not(
    cublas: FakeCublas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rng: np.random.Generator
) -> None:
    libraries_win(monkeypatch)
    x = input_value("x", TensorType(FLOAT16, (expression(Symbol("batch", 1, 8, ROWS)), DEPTH)))
    weights = (rng.standard_normal((DEPTH, COLUMNS)) * DEPTH**-0.5).astype(np.float16)
    graph = Graph((("x", x),), (("y", apply(MatMul(), x, constant_value(weights_of(weights)))),))
    plan = build(graph, replace(WITH, profiles=[{"batch": ROWS}, {"batch": (1, 8, 16)}]))
    assert plan.executable.libraries == {"cublas": "13.1.0"}
    assert [tactics_of(profile) for profile in plan.profiles] == [["cublas product"], ["generic"]]
    cublas.products.clear()
    engine = load(saved(plan, tmp_path))
    for rows in (ROWS, 7):
        given = {"x": rng.standard_normal((rows, DEPTH)).astype(np.float16)}
        assert relative_error(engine(given)["y"], evaluate_graph(graph, given)["y"]) < NEAR
    assert len(cublas.products) == 1


def test_the_timer_decides(graph: Graph, cublas: FakeCublas, monkeypatch: pytest.MonkeyPatch) -> None:
    def race(bench: CudaBench, contestants: list[list[object]], cold: list[int]) -> list[float]:
        return [1e-3 if isinstance(steps[0].loaded, LoadedCall) else 1e-6 for steps in contestants]

    monkeypatch.setattr(CudaBench, "race", race)
    assert not build(graph, WITH).executable.libraries


def test_wrong_results_of_a_library_are_not_used(
    graph: Graph, cublas: FakeCublas, monkeypatch: pytest.MonkeyPatch
) -> None:
    libraries_win(monkeypatch)
    monkeypatch.setattr(FakeCublas, "_multiply", lambda self, found: None)
    assert not build(graph, WITH).executable.libraries


def test_calls_that_fail_are_not_used(graph: Graph, cublas: FakeCublas, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries_win(monkeypatch)
    cublas.fail["cublasLtMatmul"] = 15
    heard: list[str] = []
    built = build(graph, replace(WITH, log=lambda severity, message: heard.append(f"{severity} {message}")))
    assert not built.executable.libraries
    assert any(
        one.startswith("warning") and "cublas product" in one and "cannot be run and is not used: computing a" in one
        for one in heard
    )
    assert not cublas.open


def test_equal_builds_give_equal_bytes(
    graph: Graph, plan: Plan, cublas: FakeCublas, monkeypatch: pytest.MonkeyPatch
) -> None:
    libraries_win(monkeypatch)
    assert build(graph, WITH).executable == plan.executable


# ---- what is refused


def test_sources_whose_library_is_missing_are_not_set(gpu: EmulatedLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    class Ear(tw.ILogger):
        def log(self, severity: object, msg: str) -> None:
            heard.append(msg)

    builder = tw.Builder(Ear())
    builder.device = "cuda"
    config = builder.create_builder_config()
    monkeypatch.setattr(lt, "open_library", missing)
    assert not config.set_tactic_sources(1 << int(tw.TacticSource.CUBLAS))
    assert config.set_tactic_sources(0)
    assert not config.libraries
    assert heard[0].startswith("set_tactic_sources: libraries: cuBLASLt was not found: pip install")


def test_libraries_are_found_in_packages_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def load(place: str) -> object:
        tried.append(place)
        raise OSError(f"{place}: no such file")

    folder = tmp_path / "nvidia" / "cu77" / "lib"
    folder.mkdir(parents=True)
    (folder / "libthing.so.2").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("ctypes.CDLL", load)
    with pytest.raises(ExecutionError, match=r"^Thing was not found: pip install .*libthing\.so\.1: no such file\)$"):
        open_library(Library("Thing", ("libthing.so.2", "libthing.so.1")))
    assert tried == [str(folder / "libthing.so.2"), "libthing.so.2", "libthing.so.1"]


def test_what_a_plan_needs_is_shown(plan: Plan, tmp_path: Path) -> None:
    path, page = saved(plan, tmp_path), tmp_path / "net.html"
    shown = CliRunner().invoke(app, ["inspect", str(path)])
    assert "cublas 13.1.0" in shown.output
    assert "cublas product" in shown.output
    assert not CliRunner().invoke(app, ["inspect", str(path), "--html", str(page)]).exit_code
    assert "<dt>libraries</dt><dd>cublas 13.1.0</dd>" in page.read_text()
    write_plan(sealed(replace(plan, executable=replace(plan.executable, libraries={}))), path)
    assert "libraries" not in CliRunner().invoke(app, ["inspect", str(path)]).output


def missing(library: Library) -> object:
    return open_library(replace(library, files=("libnothing.so.77",)))


def test_a_build_without_the_library_says_what_to_install(
    graph: Graph, gpu: EmulatedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lt, "open_library", missing)
    message = r"libraries: cuBLASLt was not found: pip install 'tensorwright\[cuda-libraries\]' \(libnothing\.so\.77"
    with pytest.raises(BuildError, match=message):
        build(graph, WITH)


def test_loading_without_the_library_says_what_to_install(
    plan: Plan, cublas: FakeCublas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(plan, tmp_path)
    monkeypatch.setattr(lt, "open_library", missing)
    with pytest.raises(ExecutionError, match=r"cuBLASLt was not found: pip install 'tensorwright\[cuda-libraries\]'"):
        load(path)


def test_another_version_is_refused_with_both(plan: Plan, cublas: FakeCublas, tmp_path: Path) -> None:
    path = saved(plan, tmp_path)
    cublas.version = 130204
    with pytest.raises(PlanError, match=r"chosen for cuBLASLt 13\.1\.0, found 13\.2\.4: install that version"):
        load(path)


def test_a_failing_call_names_its_step(
    plan: Plan, cublas: FakeCublas, tmp_path: Path, rng: np.random.Generator
) -> None:
    engine = load(saved(plan, tmp_path))
    cublas.fail["cublasLtMatmul"] = 13
    message = (
        r"product of 32×64×48 on GPU 0 failed: cublasLtMatmul .* CUBLAS_STATUS_EXECUTION_FAILED \(13\); it is step 1"
    )
    with pytest.raises(ExecutionError, match=message):
        engine(inputs(rng))
    assert not cublas.open


def changed(plan: Plan, change: Callable[[Image], Image]) -> Plan:
    image = change(read_image(plan.executable.code, plan.symbols, "the plan"))
    return sealed(replace(plan, executable=replace(plan.executable, code=write_image(image))))


def with_product(**fields: object) -> Callable[[Image], Image]:
    """Another first call."""

    def change(image: Image) -> Image:
        name = next(step.call for step in image.steps if isinstance(step, CallStep))
        return replace(image, calls={**image.calls, name: replace(image.calls[name], **fields)})

    return change


def with_operands(*operands: tuple[str, int]) -> Callable[[Image], Image]:
    return lambda image: replace(image, steps=(replace(image.steps[0], operands=operands), *image.steps[1:]))


HOSTILE = {
    "more rows": (with_product(rows=ROWS + 1), r"step 1, a call of a library, touches 3168 bytes of its operand 0"),
    "more depth": (with_product(depth=DEPTH + 8), r"touches 4608 bytes of its operand 1, expected at most 4096"),
    "more columns": (with_product(columns=1 << 20), r"bytes of its operand 0, expected at most 3072"),
    "many batches": (with_product(batch=1 << 30), r"bytes of its operand 0, expected at most 3072"),
    "wider": (with_product(dtype=FLOAT32), r"expected at most"),
    "another operand": (with_product(bias=9), r"has 4 operands, none of them number 9"),
    "distant matrices": (with_product(batch=2, rows=16, left_step=1 << 40), r"of its operand 1, expected at most 4096"),
    "the same operand twice": (with_product(right=1), r"expected an operand of its own for every term"),
    "much workspace": (with_product(workspace=1 << 40), r"needs 1099511627776 bytes of workspace, of which there are"),
    "another algorithm": (with_product(algorithm=bytes([77]) * 64), r"does not accept its algorithm for a product of"),
    "half an algorithm": (with_product(algorithm=bytes(32)), r"algorithm: expected 64 bytes, found '32 bytes'"),
    "an unknown activation": (with_product(activation="tanh"), r"activation: expected one of none, relu, gelu"),
    "no batch": (with_product(batch=0), r"batch: expected an integer from 1 to"),
    "a negative step": (with_product(left_step=-1), r"left_step: expected an integer from 0 to"),
    "written weights": (with_operands(("weights", 0)), r"of its operand 0, expected at most 0"),
    "odd places": (with_operands(("arena", 8)), r"has its operand 0 at 8 of the arena, expected a multiple of 16"),
    "few operands": (with_operands(("arena", 0)), r"has 1 operands, none of them number 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_calls_that_reach_further_than_their_steps_are_refused(
    name: str, plan: Plan, cublas: FakeCublas, tmp_path: Path
) -> None:
    change, message = HOSTILE[name]
    with pytest.raises(PlanError, match=message):
        load(saved(changed(plan, change), tmp_path))
    assert not cublas.open


HOSTILE_CONVOLUTIONS = {
    "more images": (with_product(batch=3), r"touches 5184 bytes of its operand 0, expected at most 3456"),
    "more channels": (with_product(channels=24), r"of its operand 1, expected at most 2304"),
    "more taps": (with_product(kernel=(3, 5), pads_end=(1, 3)), r"of its operand 2, expected at most 6912"),
    "more columns": (with_product(columns=1 << 20), r"bytes of its operand 0, expected at most 3456"),
    "another engine": (with_product(engine=9), r"the engine of a convolution .* CUDNN_STATUS_NOT_SUPPORTED \(3000\)"),
    "another setting": (with_product(knobs=((1, 2),)), r"CUDNN_STATUS_NOT_SUPPORTED"),
    "less workspace": (with_product(workspace=0), r"needs 512 bytes of workspace with cuDNN 9\.19\.0, expected"),
    "much workspace": (with_product(workspace=1 << 40), r"needs 1099511627776 bytes of workspace, of which there are"),
    "a window beside the image": (with_product(kernel=(99, 3)), r"expected windows that fit the padded input"),
    "one axis fewer": (with_product(strides=(1,)), r"expected 1 to 3 spatial axes everywhere, found \[2, 2, 1, 2"),
    "no axes": (
        with_product(**dict.fromkeys(("spatial", "kernel", "strides", "pads_begin", "pads_end", "dilations"), ())),
        r"expected 1 to 3 spatial axes everywhere",
    ),
    "no stride": (with_product(strides=(0, 1)), r"strides: expected an integer from 1 to"),
    "a setting of three numbers": (with_product(knobs=((1, 2, 3),)), r"knobs\[0\]: expected a kind and a value"),
    "the same operand twice": (with_product(residual=1), r"expected an operand of its own for every term"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_CONVOLUTIONS)
def test_convolutions_that_reach_further_than_their_steps_are_refused(
    name: str, made_of_images: tuple[Graph, Plan], cudnn: FakeCudnn, tmp_path: Path
) -> None:
    change, message = HOSTILE_CONVOLUTIONS[name]
    with pytest.raises(PlanError, match=message):
        load(saved(changed(made_of_images[1], change), tmp_path))
    gc.collect()
    assert not cudnn.open


def test_another_version_of_cudnn_is_refused_with_both(
    made_of_images: tuple[Graph, Plan], cudnn: FakeCudnn, tmp_path: Path
) -> None:
    cudnn.version = 92000
    with pytest.raises(PlanError, match=r"chosen for cuDNN 9\.19\.0, found 9\.20\.0: install that version"):
        load(saved(made_of_images[1], tmp_path))


# ---- on a GPU


@pytest.mark.cuda
@pytest.mark.parametrize("library", ["cublas", "cudnn"])
def test_a_library_runs_in_a_fresh_process(
    library: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Where it has to load its kernels while a graph is recorded."""
    graph = network(rng) if library == "cublas" else images(rng)
    libraries_win(monkeypatch)
    try:
        version = Libraries(Context(driver())).version(library)
    except ExecutionError as error:
        pytest.skip(str(error))
    plan = build(graph, WITH)
    assert plan.executable.libraries == {library: version}
    ((name, value),) = graph.inputs
    given = {name: rng.standard_normal(value.type.shape).astype(np.float16)}
    np.savez(tmp_path / "inputs.npz", **given)
    program = (
        "import sys, numpy as np, tensorwright as tw; folder = sys.argv[1]; engine = tw.load(folder + '/net.plan');"
        "given = dict(np.load(folder + '/inputs.npz')); [engine(given) for _ in range(3)];"
        "np.savez(folder + '/outputs.npz', **engine(given))"
    )
    saved(plan, tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, env=environment, timeout=120)
    outputs = np.load(tmp_path / "outputs.npz")
    assert relative_error(outputs["y"], evaluate_graph(graph, given)["y"]) < NEAR
