"""The machine that executes PTX: what it notices of kernels that race or leave their operands, and its instructions."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from ptx.machine import Grid, Machine, Stuck
from ptx.memory import Addresses, GlobalMemory, Race, Stray, Threads
from ptx.parse import parse
from ptx.run import run_on_machine
from regions.collection import EXAMPLES
from regions.products import linear
from regions.rigs import StayingProduct
from regions.rows import NormalizedRows
from regions.tensor_cores import REGIONS
from tensorwright.codegen.cuda.compile import compile_ptx
from tensorwright.codegen.cuda.targets import CUDA_TARGETS
from tensorwright.graph.graph import apply, constant_value, input_value
from tensorwright.graph.region import region_of
from tensorwright.kernels.cuda.caching.tactic import Caching
from tensorwright.kernels.cuda.fragments.tactic import FragmentProduct
from tensorwright.kernels.cuda.generic import Generic
from tensorwright.kernels.cuda.normalise.tactic import RowsOfWarps
from tensorwright.kernels.cuda.tiles.specialised import SpecialisedTiling
from tensorwright.kernels.cuda.tiles.tactic import SpecialisedProduct, TiledProduct
from tensorwright.ops.activation import Gelu
from tensorwright.ops.elementwise import Unary
from tensorwright.ops.quantization import Quantize
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, INT16, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of
from tensorwright.tune.inputs import random_inputs
from tensorwright.tune.reference import whole_output

TARGET = CUDA_TARGETS["sm_90"]


def changed(old: str, new: str, rng: np.random.Generator, name: str = "window-depth") -> None:
    """Run a kernel whose sums meet in shared memory with its PTX changed."""
    region, tactic = REGIONS[name].region(rng), FragmentProduct()
    config = next(c for c in tactic.configs(region, TARGET) if c.options.depth_warps > 1)
    kernel = tactic.emit(region, config, TARGET)
    ptx = compile_ptx(kernel.code, TARGET)
    assert old in ptx
    run_on_machine(region, kernel, ptx.replace(old, new, 1), random_inputs(region, {}, rng), {})


def test_a_missing_barrier_is_a_race(rng: np.random.Generator) -> None:
    with pytest.raises(Race, match="reads what another one wrote since the last barrier"):
        changed("bar.sync \t0;", "", rng)


def test_what_lies_outside_is_noticed(rng: np.random.Generator) -> None:
    with pytest.raises(Stray, match="outside of all operands"):
        changed("ld.global.nc.v4.b32 \t{%r", "add.s64 %rd1, %rd1, 1048576;\n\tld.global.nc.v4.b32 \t{%r", rng)


@pytest.mark.parametrize("name", ["CacheUpdate-symbolic", "CacheUpdate-first-rows", "CacheUpdate-sequences-round"])
def test_in_a_cache_only_new_rows_are_written(
    name: str, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    example, tactic = EXAMPLES[name], Caching()
    region = example.region(rng)
    kernel = tactic.emit(region, *tactic.configs(region, TARGET), TARGET)
    symbols, stored = example.sizes_of(region)[0], list[int]()
    arrays = example.inputs(region, symbols, rng)
    store = GlobalMemory.store

    def counted(memory: GlobalMemory, at: Addresses, content: np.ndarray, threads: Threads) -> None:
        stored.append(content.size)
        store(memory, at, content, threads)

    monkeypatch.setattr(GlobalMemory, "store", counted)
    rows = arrays[region.input_number(region.output.inputs[1])]
    for shared, size in ((None, arrays[0].nbytes), (0, rows.nbytes)):
        stored.clear()
        run_on_machine(region, kernel, compile_ptx(kernel.code, TARGET), arrays, symbols, shared)
        assert sum(stored) == size


@pytest.mark.parametrize("name", ["Quantize-halves", "Quantize-to-int16"])
def test_no_float_is_stored_in_part(name: str, rng: np.random.Generator) -> None:
    region = EXAMPLES[name].region(rng)
    config = next(c for c in Generic().configs(region, TARGET) if c.options.lanes == 1)
    ptx = compile_ptx(Generic().emit(region, config, TARGET).code, TARGET)
    parse(ptx)
    (register,) = re.findall(r"mov.b32 \t%bits0, (%r\d+);", ptx)
    with pytest.raises(ValueError, match=f"stores a part of the float {register}, which ptxas would convert"):
        parse(ptx.replace("], %bits0;", f"], {register};"))


def changed_tiles(old: str, new: str, rng: np.random.Generator) -> None:
    """Run a kernel of tiles with its PTX changed."""
    region, tactic = REGIONS["window-depth"].region(rng), TiledProduct()
    config = next(c for c in tactic.configs(region, TARGET) if c.options.cluster == 1)
    kernel = tactic.emit(region, config, TARGET)
    ptx = compile_ptx(kernel.code, TARGET)
    assert old in ptx
    run_on_machine(region, kernel, ptx.replace(old, new), random_inputs(region, {}, rng), {})


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("bar.sync \t0;", "", "since the last barrier|still being copied"),
        ("fence.proxy.async.shared::cta;", "", "did not publish"),
        ("cp.async.wait_group \t", "cp.async.wait_group \t1", "still being copied"),
        ("wgmma.wait_group.sync.aligned 1;", "wgmma.wait_group.sync.aligned 7;", "has changed since it began"),
    ],
)
def test_a_pipeline_that_waits_too_little_is_a_race(old: str, new: str, reason: str, rng: np.random.Generator) -> None:
    with pytest.raises(Race, match=reason):
        changed_tiles(old, new, rng)


WAIT, TRUE = r"mbarrier.try_wait.parity.shared::cta.b64 (%p\d+), [^;]*;", r"setp.eq.b32 \1, 0, 0;"


def changed_specialised(
    pattern: str,
    new: str,
    number: int,
    rng: np.random.Generator,
    chosen: Callable[[SpecialisedTiling], bool],
    tactic: SpecialisedProduct,
    rows: int,
) -> None:
    """Run a kernel whose warps are specialised, with one of some tilings, with one place of its PTX changed."""
    region = linear((rows, 512), 32, "columns", FLOAT16).region(rng)
    fitting = [config for config in tactic.configs(region, TARGET) if chosen(config.options)]
    config = min(fitting, key=lambda config: config.options.stages)
    kernel = tactic.emit(region, config, TARGET)
    ptx = compile_ptx(kernel.code, TARGET)
    place = list(re.finditer(pattern, ptx))[number]
    changed = ptx[: place.start()] + place.expand(new) + ptx[place.end() :]
    run_on_machine(region, kernel, changed, random_inputs(region, {}, rng), {})


@pytest.mark.parametrize(
    ("pattern", "new", "number", "error", "reason"),
    [
        (WAIT, TRUE, 0, Race, "over what was written without having waited"),
        (WAIT, TRUE, -1, Race, "reads what was written without having waited"),
        (
            r"wgmma.wait_group.sync.aligned 1;",
            r"wgmma.wait_group.sync.aligned 7;",
            0,
            Race,
            "since it began",
        ),
        (r"@%p\d+ mbarrier.arrive.shared::cta.b64 [^;]*;", "", 0, Stuck, "phase that is never complete"),
        (r"fence.proxy.async.shared::cta;", "", 0, Race, "not published to it"),
        (r"bar.sync \t0;", "", 0, Race, "before its maker was met"),
        (r"(expect_tx[^;]*, )12288", r"\g<1>4096", 0, Race, "more bytes than were announced"),
    ],
)
def test_specialised_warps_have_to_wait_for_each_other(
    pattern: str, new: str, number: int, error: type[Exception], reason: str, rng: np.random.Generator
) -> None:
    with pytest.raises(error, match=reason):
        changed_specialised(pattern, new, number, rng, lambda tiling: tiling.cluster == 1, SpecialisedProduct(), 64)


def test_blocks_that_split_the_depth_have_to_meet_before_they_add(rng: np.random.Generator) -> None:
    with pytest.raises(Stuck, match="wait at a barrier for others"):
        changed_specialised(
            "barrier.cluster.wait;", "", 0, rng, lambda tiling: tiling.cluster == 2, SpecialisedProduct(), 64
        )


@pytest.mark.parametrize(
    ("number", "error", "reason"),
    [(0, Stuck, "phase that is never complete"), (1, Stuck, "phase that is never complete")],
)
def test_blocks_that_stay_give_all_stages_back(
    number: int, error: type[Exception], reason: str, rng: np.random.Generator
) -> None:
    """Those of each step, and the last one of a tile."""
    arrival = r"@%p\d+ mbarrier.arrive.shared::cta.b64 [^;]*;"
    with pytest.raises(error, match=reason):
        changed_specialised(arrival, "", number, rng, lambda tiling: tiling.rows == 64, StayingProduct(), 300)


def test_quotients_that_are_rounded_are_correct_to_the_last_bit(rng: np.random.Generator) -> None:
    scales = (2.0 ** rng.integers(-120, 120, 24) * rng.uniform(1, 2, 24)).astype(np.float32)
    halves = ((rng.integers(-300, 300, (40, 24)) + 0.5) * scales.astype(np.float64)).astype(np.float32)
    x = np.concatenate([np.nextafter(halves, np.float32(way)) for way in (-np.inf, 0, np.inf)])
    x[::7] = rng.choice(np.float32([np.inf, -np.inf, np.nan, 3e38, -3e38, 0]), x[::7].shape)
    given, constant = input_value("x", TensorType(FLOAT32, x.shape)), constant_value(weights_of(scales))
    region, tactic = region_of([apply(Quantize(INT16), given, constant)]), Generic()
    for config in tactic.configs(region, TARGET):
        kernel = tactic.emit(region, config, TARGET)
        ptx = compile_ptx(kernel.code, TARGET)
        assert "rcp.approx" in ptx
        found = run_on_machine(region, kernel, ptx, [x, scales], {})
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(found, Quantize(INT16).reference(x, scales))


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
def test_gelu_of_two_bytes_is_right_everywhere(dtype: DType) -> None:
    x = np.concatenate([np.linspace(-9, 9, 4088), [0, -0.0, np.inf, 6e4, -6e4, 1e-4, -1e-4, np.nan]])
    x = x.astype(dtype.numpy).reshape(64, 64)
    region = region_of([apply(Gelu(False), input_value("x", TensorType(dtype, x.shape)))])
    config = Generic().configs(region, TARGET)[0]
    kernel = Generic().emit(region, config, TARGET)
    ptx = compile_ptx(kernel.code, TARGET)
    assert "ex2.approx" in ptx
    found = run_on_machine(region, kernel, ptx, [x], {}).astype(np.float64)
    exact = Gelu(False).reference(x.astype(np.float64))
    np.testing.assert_allclose(found, exact, rtol=4 * np.finfo(np.float16).eps if dtype == FLOAT16 else 8e-3, atol=1e-5)


def test_the_error_function_of_two_bytes(rng: np.random.Generator) -> None:
    x = np.concatenate([rng.uniform(-5, 5, 900), 10.0 ** rng.uniform(-6, 2, 120), [np.inf, -np.inf, np.nan, 0]])
    x = x.astype(np.float16).reshape(64, 16)
    region = region_of([apply(Unary("erf"), input_value("x", TensorType(FLOAT16, x.shape)))])
    kernel = Generic().emit(region, Generic().configs(region, TARGET)[0], TARGET)
    ptx = compile_ptx(kernel.code, TARGET)
    assert "ex2.approx" in ptx
    found = run_on_machine(region, kernel, ptx, [x], {}).astype(np.float64)
    exact = Unary("erf").reference(x.astype(np.float64))
    np.testing.assert_allclose(found, exact, rtol=1.5 * np.finfo(np.float16).eps, atol=1e-7)


def test_rows_of_two_bytes_are_normalised_whatever_their_mean_and_first_element(rng: np.random.Generator) -> None:
    x = rng.standard_normal((8, 768))
    x[1] += 300
    x[2, 0] = 60000
    x[3, 5] = -60000
    x[4] = 1000
    x[5] *= 1e-3
    x[6, 400] = np.inf
    x[7, 0] = -np.inf
    x = x.astype(np.float16)
    region = NormalizedRows(x.shape, dtype=FLOAT16).region(rng)
    kernel = RowsOfWarps().emit(region, RowsOfWarps().configs(region, TARGET)[0], TARGET)
    arrays = [x, *random_inputs(region, {}, rng)[1:]]
    found = run_on_machine(region, kernel, compile_ptx(kernel.code, TARGET), arrays, {}).astype(np.float64)
    with np.errstate(invalid="ignore"):
        expected = whole_output(region, arrays, {}).values
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


SMALL = """
.visible .entry small(
    .param .u64 small_param_0
)
{
    .reg .b32 %r<9>;
    .shared .align 4 .b8 s[128];
    ld.param.b64 %rd1, [small_param_0];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd3, %rd1, %rd2;
    BODY
    ret;
}
"""


def small(body: str, threads: int = 32) -> np.ndarray:
    memory = GlobalMemory(1 << 14)
    place = memory.place(np.zeros(64, np.int32))
    Machine(parse(SMALL.replace("BODY", body)), Grid((1, 1, 1), threads), memory, [place]).run()
    return memory.bytes[place : place + 256].view(np.int32)


def test_threads_part_and_meet_again() -> None:
    body = """setp.lt.u32 %p1, %r1, 5;
    mov.u32 %r2, 0;
    @!%p1 bra $there;
$loop:
    add.s32 %r2, %r2, 3;
    setp.lt.u32 %p2, %r2, 10;
    @%p2 bra $loop;
$there:
    shfl.sync.bfly.b32 %r3, %r2, 1, 31, -1;
    st.global.b32 [%rd3], %r3;"""
    expected = np.where(np.arange(32) < 5, 12, 0)[np.arange(32) ^ 1]
    np.testing.assert_array_equal(small(body)[:32], expected)


def test_parts_of_a_warp_cannot_exchange() -> None:
    body = """setp.lt.u32 %p1, %r1, 5;
    @!%p1 bra $there;
    shfl.sync.bfly.b32 %r3, %r1, 1, 31, -1;
$there:
    st.global.b32 [%rd3], %r1;"""
    with pytest.raises(Stuck, match="by a part of it"):
        small(body)


def test_threads_that_never_come_to_a_barrier() -> None:
    body = "setp.lt.u32 %p1, %r1, 5;\n @!%p1 bra $there;\n bar.sync 0;\n$there:\n st.global.b32 [%rd3], %r1;"
    with pytest.raises(Stuck, match="wait at a barrier"):
        small(body)


def test_two_threads_cannot_write_one_element() -> None:
    with pytest.raises(Race, match="write the same element"):
        small("st.global.b32 [%rd1], %r1;")


def test_accesses_have_to_be_aligned() -> None:
    with pytest.raises(Stray, match="not aligned"):
        small("st.global.b32 [%rd3+2], %r1;")


CHOOSES = """
.visible .entry chooses(
\t.param .u64 chooses_param_0
)
{
\tld.param.b64 \t%rd5, [chooses_param_0];
\tcvta.to.global.u64 \t%rd1, %rd5;
$L_brx_0: .branchtargets
\t$L__BB0_2,
\t$L__BB0_1;
\tmov.u32 \t%r1, %tid.x;
\tbrx.idx \t%r1, $L_brx_0;
$L__BB0_1:
\tmov.b64 \t%rd2, {%r1, %r9};
\tmov.b64 \t{%r3, %r4}, %rd2;
\tst.global.b32 \t[%rd1], %r3;
\tst.global.b32 \t[%rd1+4], %r4;
\tret;
$L__BB0_2:
\tret;
}
"""


def test_tables_of_branches_and_halves_that_nothing_writes() -> None:
    memory = GlobalMemory(1 << 14)
    address = memory.place(np.zeros(2, np.uint32))
    Machine(parse(CHOOSES), Grid((1, 1, 1), 2), memory, [address]).run()
    found = memory.bytes[address : address + 8].view(np.uint32)
    np.testing.assert_array_equal(found, [1, 0xFFC0DEAD])
    with pytest.raises(AssertionError, match="%r9 is read before it is written"):
        Machine(parse(CHOOSES.replace("+4], %r4", "+4], %r9")), Grid((1, 1, 1), 2), memory, [address]).run()
