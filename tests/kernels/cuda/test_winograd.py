"""Winograd's algorithm on GPUs: errors, packed weights, registers, and when it is offered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kernels.cuda.test_compile import check
from ptx.run import run_on_machine
from regions.convolutions import POINTS, Window
from tensorwright.codegen.cuda.compile import compile_ptx
from tensorwright.codegen.cuda.targets import CUDA_TARGETS
from tensorwright.codegen.winograd import weight_transform
from tensorwright.kernels.cuda.winograd.packing import pack_points
from tensorwright.kernels.cuda.winograd.problem import winograd_of
from tensorwright.kernels.cuda.winograd.tactic import WinogradConvolution
from tensorwright.tensor.dtype import FLOAT16
from tensorwright.tune.inputs import random_inputs
from tensorwright.tune.reference import whole_output

TACTIC, NEWEST = WinogradConvolution(), CUDA_TARGETS["sm_90"]
TARGETS = [target for target in CUDA_TARGETS.values() if target.capability >= 80]
PLAIN = Window((1, 64, 14, 14), 64, (3, 3), begin=(1, 1), tail="bias add relu")


@pytest.mark.parametrize("name", ["deep", "lopsided"])
def test_errors_are_those_of_float32(name: str, rng: np.random.Generator) -> None:
    """In all configs; factors rounded to TF32 would err by 1e-4 and more."""
    region = POINTS[name].region(rng)
    arrays = random_inputs(region, {}, rng)
    expected = whole_output(region, arrays, {}).values
    configs = TACTIC.configs(region, NEWEST)
    assert len(configs) > 1
    for config in configs:
        kernel = TACTIC.emit(region, config, NEWEST)
        found = run_on_machine(region, kernel, compile_ptx(kernel.code, NEWEST), arrays, {})
        assert np.abs(found - expected).max() < 3e-6 * np.abs(expected).max(), config


def test_packed_weights_are_fragments_of_transformed_ones(rng: np.random.Generator) -> None:
    found = winograd_of(Window((1, 24, 8, 8), 40, (3, 3)).region(rng))
    assert found is not None
    weights = rng.standard_normal((40, 24, 3, 3)).astype(np.float32)
    transform = weight_transform(4, 3, 3)
    expected = np.einsum("ai,bj,ocij->aboc", transform, transform, weights.astype(np.float64))
    packed = pack_points(found.problem).pack(weights).reshape(4, 3, 4, 4, 8, 4, 2, 2)
    for group, slab, row, column, g, q, second, half in rng.integers(0, packed.shape, (50, 8)):
        output, channel = 16 * group + 8 * half + g, 8 * slab + 2 * q + second
        wanted = expected[row, column, output, channel] if output < 40 else 0.0
        assert packed[group, slab, row, column, g, q, second, half] == np.float32(wanted)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_sums_stay_in_registers(target, rng: np.random.Generator) -> None:
    region = PLAIN.region(rng)
    configs = TACTIC.configs(region, target)
    largest = max(configs, key=lambda config: (config.options.fragments, -config.options.cluster))
    for config in (configs[0], largest):
        check(TACTIC, region, config, target)


@pytest.mark.parametrize(
    "change",
    [
        {"strides": (2, 2)},
        {"dilations": (2, 2)},
        {"groups": 2},
        {"kernel": (3, 1)},
        {"kernel": (5, 5)},
        {"x": (1, 36, 14, 14)},
        {"x": (1, 8, 14, 14)},
        {"outputs": 8},
        {"dtype": FLOAT16},
    ],
    ids=str,
)
def test_what_does_not_apply(change, rng: np.random.Generator) -> None:
    assert TACTIC.configs(PLAIN.region(rng), NEWEST)
    assert not TACTIC.configs(replace(PLAIN, **change).region(rng), NEWEST)


def test_older_gpus_have_no_such_products(rng: np.random.Generator) -> None:
    assert not TACTIC.configs(PLAIN.region(rng), CUDA_TARGETS["sm_75"])
