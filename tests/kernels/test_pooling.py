"""Pooling kernels: the layouts that they offer, what is no number, and the instructions of a maximum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from regions.pooling import MAXIMA, Pooling
from targets import SINGLE
from tensorwright.codegen.cpu.compile import compile_assembly
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.kernels.cpu.pooling.tactic import PoolingTactic
from tensorwright.tensor.arrange import from_layout
from tensorwright.tensor.dim import symbol
from tensorwright.tune.cpu.kernel_runner import LoadedKernel, prepare


@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("name", MAXIMA)
def test_plain_layouts_are_offered_but_for_sparse_windows(
    name: str, target_name: str, rng: np.random.Generator
) -> None:
    configs = PoolingTactic().configs(MAXIMA[name].region(rng), TARGETS[target_name])
    plain = set() if name in ("too-wide-stride", "global", "far-window") else {1}
    assert {config.output.block for config in configs} == {TARGETS[target_name].float_lanes} | plain


@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("name", ["2x2", "3x3-even", "5x5-narrow", "many-rows", "ceil", "far-padding"])
def test_maxima_of_what_is_no_number(name: str, target_name: str, rng: np.random.Generator) -> None:
    """A window with a NaN of either sign gives NaN; padding counts as less than all numbers, infinite ones included."""
    target = TARGETS[target_name]
    region = replace(MAXIMA[name], tail="").region(rng)
    shape = [int(dim) for dim in region.inputs[0].type.shape]
    x = np.where(rng.random(shape) < 0.5, -np.inf, rng.uniform(-3, -2, shape)).astype(np.float32)
    x[rng.random(shape) < 0.05] = np.nan
    x[rng.random(shape) < 0.05] = -np.float32(np.nan)
    x[rng.random(shape) < 0.05] = np.inf
    for config in PoolingTactic().configs(region, target):
        kernel = PoolingTactic().emit(region, config, target)
        operands = prepare(region, kernel, [x], {})
        operands.output[:] = 0.5
        LoadedKernel(kernel, target).call(*operands.arguments)
        assert region.anchor is not None
        expected = region.anchor.op.reference(x)
        np.testing.assert_array_equal(from_layout(operands.output, kernel.output, expected.shape), expected)


def test_instructions_of_a_maximum(rng: np.random.Generator) -> None:
    """Of nine elements: three columns of three, two of which the next output has, each with one test for NaN."""
    region, target = Pooling((1, 16, 65, 113), (3, 3), (2, 2)).region(rng), TARGETS["avx512"]
    config = PoolingTactic().configs(region, target)[0]
    columns = config.options.columns
    code = compile_assembly(PoolingTactic().emit(region, config, target).code, target)
    assert 56 % columns == 0
    sources = 2 * columns + 1
    assert code.count("vmaxps") == 2 * sources + 2 * columns
    assert code.count("vcmpunordps") == sources + columns
    assert "rsp" not in code


@pytest.mark.parametrize(
    "pooling",
    [
        Pooling((1, 3, 8, 8), (2, 2), mode="lp"),
        Pooling((1, 3, 8, symbol("w", 4, 8, 16)), (2, 2)),
        Pooling((1, 3, 8, 40), (2, 17)),
    ],
    ids=["lp", "symbolic-width", "wide-window"],
)
def test_leaves_the_rest_to_others(pooling: Pooling, rng: np.random.Generator) -> None:
    assert not PoolingTactic().configs(pooling.region(rng), TARGETS["avx512"])
