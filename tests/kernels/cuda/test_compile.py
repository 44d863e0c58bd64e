"""Kernels for GPUs where there is none: LLVM makes PTX of them for every architecture, and ptxas, where it is
installed, machine code without spills."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from regions.collection import EXAMPLES
from regions.products import linear
from regions.rows import WARPS
from regions.tensor_cores import REGIONS, TILED_REGIONS
from tensorwright.base.errors import BuildError
from tensorwright.codegen.cuda import compile as compile_module
from tensorwright.codegen.cuda.compile import Assembled, Resources, assemble, compile_ptx, find_assembler
from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget, cuda_target_for, cuda_target_named
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.catalogue import tactics
from tensorwright.kernels.cuda.fragments.packing import pack_weights
from tensorwright.kernels.cuda.fragments.tactic import FragmentProduct, SplitFragments, Tf32Fragments
from tensorwright.kernels.cuda.generic import Generic
from tensorwright.kernels.cuda.normalise.tactic import RowsOfWarps
from tensorwright.kernels.cuda.problem import GROUP, problem_of
from tensorwright.kernels.cuda.tiles import tiling as tiles
from tensorwright.kernels.cuda.tiles.packing import pack_tiles
from tensorwright.kernels.cuda.tiles.steps import Steps
from tensorwright.kernels.cuda.tiles.tactic import SpecialisedProduct, SplitProduct, Tf32Product, TiledProduct
from tensorwright.kernels.tactic import AnyTactic, Config
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType

NEWEST = CUDA_TARGETS["sm_90"]


def check(
    tactic: AnyTactic[CudaTarget], region: Region, config: Config, target: CudaTarget, most_spilled: int = 0
) -> None:
    kernel = tactic.emit(region, config, target)
    ptx = compile_ptx(kernel.code, target)
    assert f".entry {kernel.name}(" in ptx
    assert f".target {target.cpu}" in ptx
    if find_assembler() is not None:
        _, resources = assemble(ptx, target)
        found = resources[kernel.name]
        assert found.spill_bytes <= most_spilled, f"{config} spills {found}"
        assert found.registers * kernel.block <= 65536


@pytest.mark.parametrize("name", REGIONS)
def test_fragment_products_compile(name: str, rng: np.random.Generator) -> None:
    region, tactic = REGIONS[name].region(rng), FragmentProduct()
    configs = tactic.configs(region, NEWEST)
    assert configs
    for config in configs[:3]:
        check(tactic, region, config, NEWEST)


@pytest.mark.parametrize("name", [name for name in TILED_REGIONS if "float32" in name and "two-" not in name])
@pytest.mark.parametrize("target_name", ["sm_80", "sm_90", "sm_120"])
def test_fragments_of_float32_compile(name: str, target_name: str, rng: np.random.Generator) -> None:
    region, target = TILED_REGIONS[name].region(rng), CUDA_TARGETS[target_name]
    for tactic in (SplitFragments(), Tf32Fragments()):
        configs = tactic.configs(region, target)
        assert configs
        for config in configs[: 3 if target == NEWEST else 1]:
            check(tactic, region, config, target)


@pytest.mark.parametrize("name", TILED_REGIONS)
def test_tiled_products_compile(name: str, rng: np.random.Generator) -> None:
    region = TILED_REGIONS[name].region(rng)
    for tactic in (TiledProduct(), SplitProduct(), Tf32Product()):
        configs = tactic.configs(region, NEWEST)
        assert bool(configs) == (tactic.name == "tiled product" or "float32" in name)
        for config in configs[:1]:
            check(tactic, region, config, NEWEST)


@pytest.mark.parametrize("target_name", [name for name in CUDA_TARGETS if name != NEWEST.name])
@pytest.mark.parametrize("name", ["product-batches", "window-stride", "window-float32", "product-float32"])
def test_tiled_products_compile_for_every_architecture(name: str, target_name: str, rng: np.random.Generator) -> None:
    region, target = TILED_REGIONS[name].region(rng), CUDA_TARGETS[target_name]
    for tactic in (TiledProduct(), SplitProduct(), Tf32Product()):
        configs = tactic.configs(region, target)
        assert not configs or target.has_async_copies
        for config in configs[:1]:
            check(tactic, region, config, target)


def test_products_of_one_step_are_estimated_on_every_architecture(rng: np.random.Generator) -> None:
    region, tactic = linear((200, 64), 64, "columns", FLOAT16).region(rng), TiledProduct()
    for target in CUDA_TARGETS.values():
        assert all(tactic.efficiency(region, config) > 0 for config in tactic.configs(region, target))


@pytest.mark.parametrize(
    ("tactic", "dtype"),
    [(TiledProduct(), FLOAT16), (TiledProduct(), FLOAT32), (SplitProduct(), FLOAT32)],
    ids=lambda value: value.name,
)
def test_the_largest_tiles_do_not_spill(tactic: AnyTactic[CudaTarget], dtype: DType, rng: np.random.Generator) -> None:
    region = linear((4096, 512), 256, "columns gelu", dtype).region(rng)
    check(tactic, region, max(tactic.configs(region, NEWEST), key=lambda c: c.options.sums), NEWEST)


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=str)
def test_specialised_products_hardly_spill(dtype: DType, rng: np.random.Generator) -> None:
    """With a warp more there are 168 registers: four are too few for GELU, once for each row."""
    region, tactic = linear((4096, 512), 256, "columns gelu", dtype).region(rng), SpecialisedProduct()
    configs = tactic.configs(region, NEWEST)
    for config in (configs[0], max(configs, key=lambda c: c.options.sums)):
        check(tactic, region, config, NEWEST, most_spilled=16)
    assert not tactic.configs(region, CUDA_TARGETS["sm_80"])
    assert not tactic.configs(region, CUDA_TARGETS["sm_100"])


@pytest.mark.parametrize("name", ["product", "window", "window-float32"])
def test_tiles_fit_their_blocks_and_their_depth(name: str, rng: np.random.Generator) -> None:
    problem = problem_of(TILED_REGIONS[name].region(rng), TiledProduct.dtypes)
    assert problem is not None
    arithmetic = TiledProduct().arithmetic(problem.dtype, NEWEST)
    for tiling in tiles.tilings(problem, arithmetic, NEWEST):
        assert tiling.shared_bytes <= NEWEST.block_shared_bytes
        assert problem.groups % tiling.column_groups == 0
        assert tiling.stages - arithmetic.stages_in_use <= Steps(problem).count // tiling.cluster


@pytest.mark.parametrize(
    ("name", "taps"),
    [("product-batches", 1), ("window-uneven", 1), ("window-float32", 1), ("window-symbolic", 2), ("three-axes", 4)],
)
def test_packed_tiles_are_swizzled_rows(name: str, taps: int, rng: np.random.Generator) -> None:
    problem = problem_of(TILED_REGIONS[name].region(rng), TiledProduct.dtypes)
    assert problem is not None
    steps, shape = Steps(problem), (problem.columns, problem.channels, len(problem.taps))
    assert steps.taps == taps
    matrices = np.arange(1, 1 + np.prod(shape), dtype=np.int64).reshape(shape)
    given = matrices if problem.transposed else matrices[..., 0].T
    packed = pack_tiles(problem, rounds=False).pack(given)
    packed = packed.reshape(problem.groups, -1, steps.slabs, GROUP, 8, problem.piece)
    for group, turn, slab, row, place, element in rng.integers(0, packed.shape, (50, 6)):
        column = GROUP * group + 8 * (row % 8 // 2) + 2 * (row // 8) + row % 2
        tap, piece = divmod(place ^ row % 8, 8 // taps)
        tap, channel = taps * turn + tap, steps.channels * slab + problem.piece * piece + element
        inside = column < shape[0] and channel < shape[1] and tap < shape[2]
        assert packed[group, turn, slab, row, place, element] == (matrices[column, channel, tap] if inside else 0)


def test_weights_are_rounded_to_the_nearest_tf32(rng: np.random.Generator) -> None:
    problem = problem_of(TILED_REGIONS["product-float32"].region(rng), TiledProduct.dtypes)
    assert problem is not None
    given = rng.standard_normal((problem.channels, problem.columns)).astype(np.float32)
    exact, rounded = (pack_tiles(problem, rounds=rounds).pack(given) for rounds in (False, True))
    assert not (rounded.view(np.uint32) & 0x1FFF).any()
    np.testing.assert_allclose(rounded, exact, rtol=2**-11, atol=0)


@pytest.mark.parametrize("name", WARPS)
def test_rows_compile(name: str, rng: np.random.Generator) -> None:
    region, tactic = WARPS[name].region(rng), RowsOfWarps()
    for target in (NEWEST, CUDA_TARGETS["sm_75"]):
        check(tactic, region, tactic.configs(region, target)[0], target)


def test_bfloat16_products_need_ampere(rng: np.random.Generator) -> None:
    region = REGIONS["product-bfloat16"].region(rng)
    assert not FragmentProduct().configs(region, CUDA_TARGETS["sm_75"])
    assert FragmentProduct().configs(region, CUDA_TARGETS["sm_80"])


@pytest.mark.parametrize("name", ["product-batches", "window-uneven", "product-symbolic"])
def test_packed_weights_are_the_fragments_of_the_instruction(name: str, rng: np.random.Generator) -> None:
    region = REGIONS[name].region(rng)
    problem = FragmentProduct().problem(region)
    assert problem is not None
    taps, shape = len(problem.taps), (problem.columns, problem.channels)
    matrices = np.arange(1, 1 + taps * shape[0] * shape[1], dtype=np.int64).reshape(*shape, taps)
    given = matrices if problem.transposed else matrices[..., 0].T
    packed = pack_weights(problem).pack(given).reshape(problem.groups, taps, problem.slabs, 2, 2, 32, 4, 2)
    group, tap, block, tile, half, lane, register, pair = (rng.integers(0, extent) for extent in packed.shape)
    g, q, deep, lower = lane // 4, lane % 4, register // 2, register % 2
    column, channel = GROUP * group + 4 * g + 2 * tile + lower, GROUP * block + 8 * q + 4 * half + 2 * deep + pair
    inside = column < problem.columns and channel < problem.channels
    expected = matrices[column, channel, tap] if inside else 0
    assert packed[group, tap, block, tile, half, lane, register, pair] == expected


@pytest.mark.parametrize("name", REGIONS)
def test_warps_share_out_the_whole_depth(name: str, rng: np.random.Generator) -> None:
    region = REGIONS[name].region(rng)
    problem = FragmentProduct().problem(region)
    assert problem is not None
    for config in FragmentProduct().configs(region, NEWEST):
        tiling = config.options
        bounds = [part * problem.steps // tiling.parts for part in range(tiling.parts + 1)]
        longest = max(after - before for before, after in pairwise(bounds))
        assert (bounds[0], bounds[-1]) == (0, problem.steps)
        assert longest <= tiling.rounds(problem) * tiling.stages
        assert tiling.threads <= 1024
        assert tiling.shared_bytes <= NEWEST.block_shared_bytes


def test_every_tactic_is_found() -> None:
    assert [tactic.name for tactic in tactics()] == [
        "attention", "attention of heads", "split attention", "split attention of heads", "tf32 attention",
        "tf32 attention of heads", "caching", "one cluster", "one cluster, split", "one cluster, tf32", "depthwise",
        "depthwise rows", "fragment product", "split fragment product", "tf32 fragment product", "rows",
        "tiled product", "specialised product", "stream-K product", "split product", "tf32 product", "windows",
        "winograd convolution", "generic",
    ]  # fmt: skip


def test_targets_are_found_by_name_and_by_capability() -> None:
    assert cuda_target_named("sm_80").capability == 80
    assert cuda_target_for(89).name == "sm_80"
    assert cuda_target_for(90).name == "sm_90"
    assert cuda_target_for(103).name == "sm_100"
    with pytest.raises(BuildError, match="no GPU architecture 'sm_20'; expected one of sm_75"):
        cuda_target_named("sm_20")
    with pytest.raises(BuildError, match=r"compute capability 7\.0"):
        cuda_target_for(70)


def test_code_that_is_no_ir_is_a_defect_that_is_named() -> None:
    with pytest.raises(BuildError, match="not valid LLVM IR"):
        compile_ptx("define nonsense", NEWEST)


def test_an_assembler_that_is_too_old_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "ptxas"
    old.write_text("#!/bin/sh\necho 'ptxas fatal: Unsupported .version 8.0' >&2\nexit 255\n")
    old.chmod(0o755)
    monkeypatch.setattr(compile_module, "find_assembler", lambda: str(old))
    image = compile_module.compile_image("define ptx_kernel void @small() {\n  ret void\n}\n", NEWEST)
    assert b".entry small()" in image


ONE_BLOCK = ".maxntid 128\n.minnctapersm 1"
LOOP = "\n$head:\n\tbra.uni $behind;\n$behind:\n\t@%p1 bra \t$head;\n"
SLOW_LOOP = LOOP.replace("$head:\n", '$head:\n\t.pragma "nounroll";\n')


@pytest.mark.parametrize("given", [".maxntid 128", ".maxntid 128\n.minnctapersm 4"])
@pytest.mark.parametrize(
    ("spilled", "chosen"), [([0], 0), ([8, 0], 1), ([8, 40, 0], 2), ([16, 8, 24], 1), ([8, 8, 8], 0)], ids=str
)
def test_kernels_that_spill_are_assembled_for_one_block_then_round_by_round(
    given: str, spilled: list[int], chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def assembled(ptx: str, target: CudaTarget) -> Assembled:
        asked.append(ptx)
        return ptx.encode(), {"kernel": Resources(96, 8, spilled[len(asked) - 1], 0)}

    monkeypatch.setattr(compile_module, "_assembled", assembled)
    code, resources = assemble(given + LOOP, NEWEST)
    assert asked == [given + LOOP, ONE_BLOCK + LOOP, ONE_BLOCK + SLOW_LOOP][: len(spilled)]
    assert code == asked[chosen].encode()
    assert resources["kernel"].spill_bytes == spilled[chosen]


@pytest.mark.parametrize(
    "name",
    [
        "bytes-convolution-depthwise",  # Gathers written out.
        "open-first-layer-7x7",  # Gathers in a loop.
        "warps-layers-float32",  # A loop that the assembler unrolls whole.
    ],
)
def test_generic_kernels_of_wide_vectors_do_not_spill(name: str, rng: np.random.Generator) -> None:
    region, target = EXAMPLES[name].region(rng), CUDA_TARGETS["sm_75"]
    configs = [config for config in Generic().configs(region, target) if config.options.lanes > 1]
    assert configs
    for config in configs:
        check(Generic(), region, config, target)


@pytest.mark.skipif(find_assembler() is not None, reason="ptxas is installed")
def test_a_missing_assembler_says_what_to_install() -> None:
    with pytest.raises(BuildError, match="install the package nvidia-cuda-nvcc"):
        assemble("", NEWEST)
