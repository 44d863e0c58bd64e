"""What GPUs answer: run by `make test-cuda` on a machine that has one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cases.case import Case, assert_close
from kernels.cuda.attention_regions import HEADS
from kernels.cuda.fragment_regions import REGIONS, SYMBOLS, TILED_REGIONS
from kernels.cuda.row_regions import ROWS
from kernels.test_generic import ALL_CASES, region_for
from tensorwright.codegen.cuda.compile import compile_ptx
from tensorwright.codegen.cuda.targets import CudaTarget, cuda_target_for
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.library import driver
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.attention.tactic import Attention
from tensorwright.kernels.cuda.fragments.tactic import FragmentProduct
from tensorwright.kernels.cuda.generic import Generic
from tensorwright.kernels.cuda.normalise.tactic import RowsOfWarps
from tensorwright.kernels.cuda.tiles.tactic import SplitProduct, Tf32Product, TiledProduct
from tensorwright.kernels.tactic import AnyTactic
from tensorwright.tune.cuda.runner import run_cuda_kernel
from tensorwright.tune.inputs import random_inputs
from tensorwright.tune.reference import whole_output
from tensorwright.tune.tolerance import disagreement, tolerance_of

pytestmark = pytest.mark.cuda
TF32_ERROR = 3e-3
"""Of factors that have 10 bits of a mantissa, relative to the largest output."""


@pytest.fixture(scope="module")
def context() -> Context:
    return Context(driver())


@pytest.mark.parametrize("case", ALL_CASES, ids=repr)
def test_generic_equals_reference(case: Case, context: Context, rng: np.random.Generator) -> None:
    region, target, arrays = region_for(case), cuda_target_for(context.properties.capability), case.arrays(rng)
    expected = case.expected(arrays)
    for config in Generic().configs(region, target):
        kernel = Generic().emit(region, config, target)
        image = compile_ptx(kernel.code, target).encode()
        actual = run_cuda_kernel(context, region, kernel, image, arrays, case.symbols)
        assert_close(actual, expected.astype(actual.dtype), case.scaled_tolerance)


@pytest.mark.parametrize("name", REGIONS)
def test_fragment_products_equal_reference(name: str, context: Context, rng: np.random.Generator) -> None:
    check(FragmentProduct(), REGIONS[name].region(rng), context, rng)


@pytest.mark.parametrize("name", TILED_REGIONS)
def test_tiled_products_equal_reference(name: str, context: Context, rng: np.random.Generator) -> None:
    check(TiledProduct(), TILED_REGIONS[name].region(rng), context, rng)


@pytest.mark.parametrize("name", [name for name in TILED_REGIONS if "float32" in name])
def test_tf32_products_equal_reference(name: str, context: Context, rng: np.random.Generator) -> None:
    check(Tf32Product(), TILED_REGIONS[name].region(rng), context, rng, TF32_ERROR)


@pytest.mark.parametrize("name", [name for name in TILED_REGIONS if "float32" in name])
def test_split_products_equal_reference(name: str, context: Context, rng: np.random.Generator) -> None:
    check(SplitProduct(), TILED_REGIONS[name].region(rng), context, rng)


@pytest.mark.parametrize("name", ROWS)
def test_rows_equal_reference(name: str, context: Context, rng: np.random.Generator) -> None:
    check(RowsOfWarps(), ROWS[name].region(rng), context, rng)


@pytest.mark.parametrize("name", HEADS)
def test_attention_equals_reference(name: str, context: Context, rng: np.random.Generator) -> None:
    check(Attention(), HEADS[name].region(), context, rng)


def check(
    tactic: AnyTactic[CudaTarget], region: Region, context: Context, rng: np.random.Generator, error: float = 0.0
) -> None:
    """Every config gives what the region's operators say, and writes all of it."""
    target = cuda_target_for(context.properties.capability)
    symbols = {symbol.name: SYMBOLS[symbol.name] for symbol in region.symbols}
    arrays = random_inputs(region, symbols, rng)
    expected, tolerance = whole_output(region, arrays, symbols), tolerance_of(region, symbols)
    tolerance = replace(tolerance, relative=max(tolerance.relative, error))
    for config in tactic.configs(region, target):
        kernel = tactic.emit(region, config, target)
        image = compile_ptx(kernel.code, target).encode()
        actual = run_cuda_kernel(context, region, kernel, image, arrays, symbols)
        assert np.isfinite(actual.astype(np.float64)).all(), f"{config}: poison is left"
        assert not (wrong := disagreement(actual, expected.values, tolerance, expected.spread)), f"{config}: {wrong}"
