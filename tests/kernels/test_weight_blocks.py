"""Products by weights of a few bits: how exact dot products of bytes are, and what they decline."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from regions.rigs import CpuRig
from regions.weight_blocks import Weights
from targets import EXECUTABLE
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import weights_in
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.weight_blocks.tactic import WeightBlocks

TARGET = TARGETS["avx512_bf16"]
executed = pytest.mark.skipif(
    TARGET.name not in EXECUTABLE, reason="this processor neither has nor emulates dot products of bytes"
)


def computed(
    region: Region, a: npt.NDArray[np.float32], rng: np.random.Generator, number: int = 0
) -> npt.NDArray[np.float32]:
    """By one of the first configs, which multiply bytes."""
    tactic, rig = WeightBlocks(), CpuRig()
    config = tactic.configs(region, TARGET)[number]
    assert config.options.bytes
    constants = [weights_in(value).array for value in region.inputs[1:]]
    kernel = tactic.emit(region, config, TARGET)
    (_, found), *_ = rig.outputs(region, kernel, rig.compiled(kernel, TARGET.name), [a, *constants], {}, rng)
    return found


@executed
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rounds_no_more_than_the_largest_of_a_block(bits: int, zeros: bool, rng: np.random.Generator) -> None:
    """Also where magnitudes differ widely, where one is far larger than the others of its block, and where all are
    below the smallest range.
    """
    region = Weights((4, 256), 48, bits=bits, zeros=zeros).region(rng)
    a = rng.standard_normal((4, 256), np.float32)
    a[1] *= np.exp2(rng.integers(-30, 30, 256)).astype(np.float32)
    a[2, ::32] = 1e6
    a[3] *= np.float32(1e-36)
    found = computed(region, a, rng)
    arrays = [weights_in(value).array for value in region.inputs[1:]]
    weights = region.output.op.weights(*arrays)
    exact = a.astype(np.float64) @ weights.T
    largest = np.abs(a).reshape(4, -1, 32).max(2)
    bound = largest.astype(np.float64) @ np.abs(weights).reshape(48, -1, 32).sum(2).T
    off = np.abs(found - exact) / bound
    assert off[:3].max() < 2e-7
    assert np.abs(found[3]).max() < 1e-30


@executed
@pytest.mark.parametrize("number", [0, 3])
def test_rest_behind_long_blocks(number: int, rng: np.random.Generator) -> None:
    """Numbers that the loop over the blocks computes do not reach behind it: LLVM gave up the process."""
    region, a = (
        Weights((3, 52), 159, bits=8, block=48, zeros=True).region(rng),
        rng.standard_normal((3, 52), np.float32),
    )
    arrays = [weights_in(value).array for value in region.inputs[1:]]
    exact = a.astype(np.float64) @ region.output.op.weights(*arrays).T
    assert np.abs(computed(region, a, rng, number) - exact).max() < 1e-5 * np.abs(exact).max()


@executed
def test_what_is_not_finite_stays_so(rng: np.random.Generator) -> None:
    region = Weights((3, 64), 16).region(rng)
    a = rng.standard_normal((3, 64), np.float32)
    a[0, 5], a[2, 40] = np.inf, np.nan
    found = computed(region, a, rng)
    assert not np.isfinite(found[[0, 2]]).any()
    assert np.isfinite(found[1]).all()


def test_blocks_of_half_a_vector_are_multiplied_in_float32(rng: np.random.Generator) -> None:
    configs = WeightBlocks().configs(Weights((1, 64), 16, block=8).region(rng), TARGET)
    assert configs
    assert not any(config.options.bytes for config in configs)


def test_long_blocks_of_eight_bits_would_overflow(rng: np.random.Generator) -> None:
    configs = WeightBlocks().configs(Weights((1, 65536), 16, bits=8, block=65536).region(rng), TARGET)
    assert not any(config.options.bytes for config in configs)
