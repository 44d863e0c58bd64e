"""Kernels for GPUs, executed on the CPU: right answers, nothing outside of the operands, no races between barriers."""

from __future__ import annotations

import numpy as np
import pytest

from cases.case import Case, assert_close
from kernels.cuda.attention_regions import HEADS
from kernels.cuda.fragment_regions import REGIONS, SYMBOLS, TILED_REGIONS
from kernels.cuda.row_regions import ROWS
from kernels.test_generic import ALL_CASES, region_for
from ptx.machine import Grid, Machine, Stuck
from ptx.memory import GlobalMemory, Race, Stray
from ptx.parse import parse
from ptx.run import run_on_machine
from tensorwright.codegen.cuda.compile import compile_ptx
from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.attention.tactic import Attention
from tensorwright.kernels.cuda.fragments.tactic import FragmentProduct
from tensorwright.kernels.cuda.generic import Generic
from tensorwright.kernels.cuda.normalise.tactic import RowsOfWarps
from tensorwright.kernels.cuda.tiles.tactic import SplitProduct, Tf32Product, TiledProduct
from tensorwright.kernels.tactic import AnyTactic, Config
from tensorwright.tune.inputs import random_inputs
from tensorwright.tune.reference import whole_output
from tensorwright.tune.tolerance import disagreement, loosened, tolerance_of

TARGET = CUDA_TARGETS["sm_90"]


def check(
    tactic: AnyTactic[CudaTarget],
    region: Region,
    configs: list[Config],
    rng: np.random.Generator,
    target: CudaTarget = TARGET,
    rounding: float = 0.0,
) -> None:
    symbols = {symbol.name: SYMBOLS[symbol.name] for symbol in region.symbols}
    arrays = random_inputs(region, symbols, rng)
    expected, tolerance = whole_output(region, arrays, symbols), loosened(tolerance_of(region, symbols), rounding)
    for config in configs:
        kernel = tactic.emit(region, config, target)
        actual = run_on_machine(region, kernel, compile_ptx(kernel.code, target), arrays, symbols)
        assert np.isfinite(actual.astype(np.float64)).all(), f"{config}: poison is left"
        assert not (wrong := disagreement(actual, expected.values, tolerance, expected.spread)), f"{config}: {wrong}"


@pytest.mark.parametrize("case", ALL_CASES, ids=repr)
def test_generic_kernels(case: Case, rng: np.random.Generator) -> None:
    region, arrays = region_for(case), case.arrays(rng)
    expected = case.expected(arrays)
    for config in Generic().configs(region, TARGET):
        kernel = Generic().emit(region, config, TARGET)
        actual = run_on_machine(region, kernel, compile_ptx(kernel.code, TARGET), arrays, dict(case.symbols))
        assert_close(actual, expected.astype(actual.dtype), case.scaled_tolerance)


@pytest.mark.parametrize("name", REGIONS)
def test_fragment_products(name: str, rng: np.random.Generator) -> None:
    region, tactic = REGIONS[name].region(rng), FragmentProduct()
    configs = tactic.configs(region, TARGET)
    chosen = [configs[0], configs[-1], *(c for c in configs if c.options.cluster > 1)][:3]
    check(tactic, region, chosen, rng)


@pytest.mark.parametrize("name", [name for name in TILED_REGIONS if name not in ("product", "product-one-row")])
def test_tiled_products(name: str, rng: np.random.Generator) -> None:
    region, tactic = TILED_REGIONS[name].region(rng), TiledProduct()
    configs = tactic.configs(region, TARGET)
    check(tactic, region, list(configs[:1]), rng)


@pytest.mark.parametrize("name", ["window-dilated", "window-depth", "product-float32-deep", "window-float32"])
def test_tiles_of_several_blocks_warpgroups_and_rows(name: str, rng: np.random.Generator) -> None:
    region, tactic = TILED_REGIONS[name].region(rng), TiledProduct()
    configs = tactic.configs(region, TARGET)
    apart = [c for c in configs if c.options.cluster > 1]
    large = [c for c in configs if c.options.row_tiles * c.options.warpgroups > 1]
    assert apart or large
    check(tactic, region, [*apart[:1], *large[:1]], rng)


@pytest.mark.parametrize("tactic", [SplitProduct(), Tf32Product()], ids=lambda tactic: tactic.name)
@pytest.mark.parametrize("name", ["product-float32", "window-float32", "two-float32"])
def test_float32_on_tensor_cores(name: str, tactic: AnyTactic[CudaTarget], rng: np.random.Generator) -> None:
    region = TILED_REGIONS[name].region(rng)
    check(tactic, region, list(tactic.configs(region, TARGET)[:1]), rng, rounding=tactic.rounding)


@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str, rng: np.random.Generator) -> None:
    region, tactic = ROWS[name].region(rng), RowsOfWarps()
    check(tactic, region, list(tactic.configs(region, TARGET)[:2]), rng)


@pytest.mark.parametrize("name", HEADS)
def test_attention(name: str, rng: np.random.Generator) -> None:
    region, tactic = HEADS[name].region(), Attention()
    check(tactic, region, list(tactic.configs(region, TARGET)), rng)


@pytest.mark.parametrize("target_name", [name for name in CUDA_TARGETS if name != TARGET.name])
def test_other_architectures(target_name: str, rng: np.random.Generator) -> None:
    target = CUDA_TARGETS[target_name]
    for tactic, region in (
        (FragmentProduct(), REGIONS["window-stride"].region(rng)),
        (FragmentProduct(), REGIONS["product-batches"].region(rng)),
        (Attention(), HEADS["odd"].region()),
        (TiledProduct(), REGIONS["window-stride"].region(rng)),
        (TiledProduct(), TILED_REGIONS["product-batches"].region(rng)),
        (Tf32Product(), TILED_REGIONS["window-float32"].region(rng)),
    ):
        check(tactic, region, list(tactic.configs(region, target))[:1], rng, target, tactic.rounding)


@pytest.mark.parametrize("columns", [37, 40])
def test_masks_of_odd_numbers_of_columns_are_declined(columns: int) -> None:
    from kernels.cuda.attention_regions import Heads

    region = Heads((2,), 8, columns, 16, 16, None, (1, 1, columns)).region()
    assert bool(Attention().configs(region, TARGET)) == (columns % 2 == 0)


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
