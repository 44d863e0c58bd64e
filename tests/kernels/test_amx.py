"""Tile registers: what the machine code contains, what is declined, shapes drawn at random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regions.checking import Trial
from regions.convolutions import DIRECT, BytesWindow, Window
from regions.drawing import windows
from regions.example import BytesExample, Example, Spec
from regions.products import LINEAR, Bytes, linear
from regions.rigs import CpuRig
from regions.sampling import every
from targets import EXECUTABLE
from tensorwright.codegen.cpu.compile import compile_assembly
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.kernels.cpu.amx.convolution_tactic import FEW_CHANNELS, TileConvolution
from tensorwright.kernels.cpu.amx.matmul_tactic import TileMatMul
from tensorwright.kernels.cpu.amx.registers import ROWS
from tensorwright.tensor.dtype import BFLOAT16, FLOAT32

TARGET = TARGETS["avx512_amx"]
needs_tiles = pytest.mark.skipif(TARGET.name not in EXECUTABLE, reason="this processor neither has nor emulates AMX")


class TilesAlone(CpuRig):
    """The tactics that use tile registers."""

    tactics = (TileMatMul(), TileConvolution())


def test_the_inner_loop_of_a_product_only_loads_and_multiplies(rng: np.random.Generator) -> None:
    region = linear((128, 768), 384, "columns", BFLOAT16).region(rng)
    first, *_ = TileMatMul().configs(region, TARGET)
    lines = compile_assembly(TileMatMul().emit(region, first, TARGET).code, TARGET).splitlines()
    products = [number for number, line in enumerate(lines) if "tdpbf16ps" in line]
    assert len(products) == first.options.tall * first.options.wide
    loop = lines[products[0] - 8 : products[-1] + 1]
    assert sum("tileloadd" in line for line in loop) == first.options.tall + first.options.wide
    assert not any("mm0" in line and "tmm" not in line for line in loop), "vectors in the loop"
    assert any("tilerelease" in line for line in lines)


@pytest.mark.parametrize(
    ("tactic", "spec"),
    [(TileMatMul(), linear((128, 768), 384, "columns", BFLOAT16)), (TileConvolution(), DIRECT["3x3"])],
    ids=["product", "convolution"],
)
def test_a_block_is_finished_between_the_products_of_the_next(tactic, spec, rng: np.random.Generator) -> None:
    region = replace(spec, dtype=BFLOAT16).region(rng)
    first, *_ = tactic.configs(region, TARGET)
    code = tactic.emit(region, first, TARGET).code
    before, _, _ = code[code.index("call void @llvm.x86.tdp") :].partition("call void @llvm.x86.tilestored64")
    assert "call <16 x bfloat> @llvm.x86.avx512bf16.cvtneps2bf16" in before, "products alone"


@pytest.mark.parametrize(
    ("channels", "size", "kernel", "is_whole"),
    [(64, 56, 1, True), (512, 14, 3, False), (512, 7, 1, False)],
    ids=["many positions", "large weights", "few positions"],
)
def test_tasks_have_all_outputs_where_positions_are_many_and_weights_small(
    channels: int, size: int, kernel: int, is_whole: bool, rng: np.random.Generator
) -> None:
    spec = BytesWindow((1, channels, size, size), 512, (kernel, kernel))
    first, *_ = TileConvolution().configs(spec.region(rng), TARGET)
    assert (first.options.outputs * first.options.wide * ROWS >= 512) is is_whole


def test_bytes_are_multiplied_as_unsigned_by_signed_ones(rng: np.random.Generator) -> None:
    region = BytesWindow((1, 64, 7, 7), 32, (3, 3)).region(rng)
    first, *_ = TileConvolution().configs(region, TARGET)
    assert "tdpbusd" in compile_assembly(TileConvolution().emit(region, first, TARGET).code, TARGET)


@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT32])
def test_other_types_other_targets_and_groups_are_declined(dtype, rng: np.random.Generator) -> None:
    product, window = replace(LINEAR["whole-tiles"], dtype=dtype), replace(DIRECT["3x3"], dtype=dtype)
    fits = dtype == BFLOAT16
    assert bool(TileMatMul().configs(product.region(rng), TARGET)) == fits
    assert bool(TileConvolution().configs(window.region(rng), TARGET)) == fits
    assert not TileMatMul().configs(product.region(rng), TARGETS["avx512_bf16"])
    assert not TileConvolution().configs(window.region(rng), TARGETS["avx512_bf16"])
    grouped = replace(DIRECT["groups-of-blocks"], dtype=dtype)
    assert not TileConvolution().configs(grouped.region(rng), TARGET)


def test_columns_alone_are_declined(rng: np.random.Generator) -> None:
    """Where they lie in the output need not change from one column to the next, as there is none."""
    assert not TileMatMul().configs(linear((15, 48), 1, "columns", BFLOAT16).region(rng), TARGET)


@needs_tiles
@settings(max_examples=6)
@given(st.tuples(st.integers(1, 40), st.integers(1, 70)), st.integers(2, 70), st.booleans(), st.integers(0, 99))
def test_products_of_all_shapes(a: tuple[int, int], columns: int, of_bytes: bool, seed: int) -> None:
    assert _checked(Bytes(a, columns) if of_bytes else linear(a, columns, "columns", BFLOAT16), of_bytes, seed)


@needs_tiles
@settings(max_examples=6)
@given(windows(st.integers(5, 70), BFLOAT16), st.booleans(), st.integers(0, 99))
def test_convolutions_of_all_shapes(window: Window, of_bytes: bool, seed: int) -> None:
    spec: Spec = window
    if of_bytes:
        spatial = (max(extent, size) for extent, size in zip(window.x[2:], window.kernel, strict=True))
        spec = BytesWindow((*window.x[:2], *spatial), window.outputs, window.kernel, window.strides, window.begin)
    assert _checked(spec, of_bytes, seed) or window.x[1] <= FEW_CHANNELS


def _checked(spec: Spec, of_bytes: bool, seed: int) -> int:
    """How many configs there are; all are right."""
    example = (BytesExample if of_bytes else Example)("drawn", spec)
    return Trial(example, TilesAlone(), np.random.default_rng(seed)).check(TARGET.name, every)
