"""Products whose last tiles are dealt step by step: what blocks tell each other, and when they are offered."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cuda_emulator import emulated
from kernels.cuda.test_assembled import needs_assembler
from ptx.memory import Race
from ptx.ordering import Barriers
from ptx.run import run_on_machine
from regions.products import linear
from regions.rigs import SmallStreamProduct
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.codegen.cuda.compile import assemble, compile_ptx
from tensorwright.codegen.cuda.targets import CUDA_TARGETS
from tensorwright.devices.buffer import Buffer
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.library import driver
from tensorwright.devices.cuda.memory import ALIGNMENT, DeviceAllocator
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, apply, constant_value, input_value
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.generic import Generic
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.tiles.specialised import SpecialisedTiling
from tensorwright.kernels.cuda.tiles.tactic import StreamProduct
from tensorwright.ops.matmul import MatMul
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import Symbol, expression, product
from tensorwright.tensor.dtype import FLOAT16
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of
from tensorwright.tune.cuda.bench import CudaBench
from tensorwright.tune.inputs import random_inputs
from tensorwright.tune.reference import whole_output

TARGET = CUDA_TARGETS["sm_90"]
STEPS = 8


def small(rng: np.random.Generator) -> tuple[Region, CudaKernel, SpecialisedTiling]:
    """Four tiles for three blocks, so that each has the end of one or the beginning of another one."""
    region = linear((200, 64 * STEPS), 32, "columns add", FLOAT16).region(rng)
    fitting = [
        c for c in SmallStreamProduct().configs(region, TARGET) if c.options.rows == 64 and c.options.staying == 3
    ]
    config = min(fitting, key=lambda config: config.options.stages)
    return region, SmallStreamProduct().emit(region, config, TARGET), config.options


@pytest.mark.parametrize(
    ("pattern", "new", "number"),
    [
        (r"atom\.acq_rel", "atom.acquire", 0),
        (r"atom\.acq_rel", "atom.release", 0),
        (r"bar\.sync \t1, 128;", "", 1),
    ],
    ids=["leaving", "coming second", "leaving before all threads have"],
)
def test_blocks_have_to_tell_each_other_of_their_sums(
    pattern: str, new: str, number: int, rng: np.random.Generator
) -> None:
    region, kernel, _ = small(rng)
    ptx = compile_ptx(kernel.code, TARGET)
    place = list(re.finditer(pattern, ptx))[number]
    changed = ptx[: place.start()] + new + ptx[place.end() :]
    with pytest.raises(
        Race, match=r"reads what (another one wrote in the same kernel|was written without having waited)"
    ):
        run_on_machine(region, kernel, changed, random_inputs(region, {}, rng), {})


def test_counters_that_are_not_left_zero_are_noticed(rng: np.random.Generator) -> None:
    region, kernel, _ = small(rng)
    ptx = re.sub(r"(atom\.acq_rel\.gpu\.global\.inc\.u32 [^;]*, )%r\d+;", r"\g<1>7;", compile_ptx(kernel.code, TARGET))
    with pytest.raises(AssertionError):
        run_on_machine(region, kernel, ptx, random_inputs(region, {}, rng), {})


def test_results_do_not_depend_on_who_comes_second(rng: np.random.Generator) -> None:
    """Those that look before they leave their sums find nothing, so that all leave them."""
    region, kernel, _ = small(rng)
    ptx, arrays = compile_ptx(kernel.code, TARGET), random_inputs(region, {}, rng)
    blind, count = re.subn(r"ld\.relaxed\.gpu\.global\.u32 (%r\d+), [^;]*;", r"mov.u32 \1, 0;", ptx)
    assert count == 1
    found, again = (run_on_machine(region, kernel, code, arrays, {}) for code in (ptx, blind))
    np.testing.assert_array_equal(found, again)


def test_blocks_have_equally_many_steps(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    region, kernel, tiling = small(rng)
    steps, announce = Counter[int](), Barriers.announce

    def counted(barriers: Barriers, block: int, *rest: int) -> None:
        steps[block] += 1
        announce(barriers, block, *rest)

    monkeypatch.setattr(Barriers, "announce", counted)
    run_on_machine(region, kernel, compile_ptx(kernel.code, TARGET), random_inputs(region, {}, rng), {})
    problem = StreamProduct().problem(region)
    assert problem is not None
    total = product(tiling.tiles(problem)) * STEPS
    assert sum(steps.values()) == total
    assert max(steps.values()) - min(steps.values()) <= 1


def test_two_launches_in_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rng: np.random.Generator) -> None:
    """In the same workspace, of which the second one finds the counters as the first one left them."""
    emulated(monkeypatch, tmp_path)
    region, kernel, _ = small(rng)
    arrays = random_inputs(region, {}, rng)
    bench = CudaBench(TARGET, lambda: Context(driver()))
    prepared = bench.prepare(region, kernel, compile_ptx(kernel.code, TARGET).encode(), arrays, {}, {})
    first, second = prepared.run(), prepared.run()
    np.testing.assert_array_equal(first, second)
    expected = whole_output(region, arrays, {}).values
    np.testing.assert_allclose(first.astype(np.float64), expected, rtol=0, atol=2e-3 * np.abs(expected).max())


def test_counters_of_a_plan_are_zero_whatever_its_memory_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rng: np.random.Generator
) -> None:
    gpu = emulated(monkeypatch, tmp_path)
    monkeypatch.setattr("tensorwright.backends.cuda.tactics", lambda: (SmallStreamProduct(), Generic()))
    rows = expression(Symbol("rows", 1, 200, 220))
    x = value = input_value("x", TensorType(FLOAT16, (rows, 512)))
    for depth, columns in ((512, 64), (64, 32)):
        weights = (rng.standard_normal((depth, columns)) * depth**-0.5).astype(np.float16)
        value = apply(MatMul(), value, constant_value(weights_of(weights)))
    graph = Graph((("x", x),), (("y", value),))
    engine = Engine(build(graph, BuildConfig(device="cuda", instruction_set="sm_90", level=0, timing_cache="")))
    assert [step["tactic"] for step in engine.report["steps"]] == [SmallStreamProduct.name] * 2
    context = engine.create_execution_context_without_device_memory()
    lent = Buffer(DeviceAllocator(Context(driver())), engine.device_memory_size, ALIGNMENT, "memory that is lent")
    context.device_memory = lent.address
    for count in (200, 130, 200):
        gpu.memory[lent.address][:] = rng.integers(0, 256, engine.device_memory_size)
        given = {"x": rng.standard_normal((count, 512)).astype(np.float16)}
        expected = evaluate_graph(graph, given, {"rows": count})["y"].astype(np.float64)
        found = context(given)["y"].astype(np.float64)
        np.testing.assert_allclose(found, expected, rtol=0, atol=4e-3 * np.abs(expected).max())


def test_it_is_offered_where_the_last_wave_has_few_tiles(rng: np.random.Generator) -> None:
    """1152 rows by 4096 columns are 144 tiles of 128 by 256, and 132 multiprocessors compute 132 at a time."""
    tactic, region = StreamProduct(), linear((1152, 1024), 4096, "columns", FLOAT16).region(rng)
    problem, options = tactic.problem(region), [config.options for config in tactic.configs(region, TARGET)]
    assert problem is not None
    assert (128, 256) in {(one.rows, one.columns) for one in options}
    assert all(one.staying < product(one.tiles(problem)) for one in options)
    full = linear((11 * 384, 256), 1024, "columns", FLOAT16).region(rng)
    assert not tactic.configs(full, TARGET)


@needs_assembler
def test_sums_of_two_blocks_fit_the_registers(rng: np.random.Generator) -> None:
    region = linear((1152, 1024), 4096, "columns add", FLOAT16).region(rng)
    kernel = StreamProduct().emit(region, StreamProduct().configs(region, TARGET)[0], TARGET)
    _, resources = assemble(compile_ptx(kernel.code, TARGET), TARGET)
    assert not resources[kernel.name].spill_bytes
