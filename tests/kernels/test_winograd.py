"""Winograd convolution: errors, transforms, inner loops, and when it is offered."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod

import numpy as np
import pytest

from kernels.test_convolution import innermost_loops
from regions.convolutions import WINOGRAD, Window
from targets import SINGLE
from tensorwright.codegen.cpu.compile import compile_assembly
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.codegen.target import Target
from tensorwright.codegen.winograd import finite_points
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import problem_of
from tensorwright.kernels.cpu.catalogue import tactics
from tensorwright.kernels.cpu.winograd.packing import transformed_weights
from tensorwright.kernels.cpu.winograd.phases import apart
from tensorwright.kernels.cpu.winograd.tactic import WinogradConvolution
from tensorwright.kernels.cpu.winograd.tiles import TileAxis, most_taps
from tensorwright.kernels.cpu.winograd.tiling import WinogradOptions, WinogradTiling
from tensorwright.kernels.tactic import Config, offers
from tensorwright.tune.cpu.kernel_runner import run_kernel
from tensorwright.tune.estimate import Roofline
from tensorwright.tune.inputs import random_inputs
from tensorwright.tune.reference import whole_output
from tensorwright.tune.search import Limits, Search

TOLERANCE = {3: 3e-6, 4: 5e-6, 5: 1e-5, 6: 2e-5, 8: 4e-5}
"""Largest error relative to the largest output, by the points along the rows."""


def _kind(config: Config) -> tuple[int, ...]:
    return tuple(getattr(config.options, name) for name in ("rows", "columns", "prefetch"))


def _taps(region: Region) -> list[int]:
    """Along each axis, the most of a phase, which the transforms are for."""
    problem = problem_of(region)
    assert problem is not None
    axes = apart(problem).axes if problem.channels < 16 and problem.axes[0].stride > 1 else problem.axes
    return [most_taps(axis.kernel, axis.stride) for axis in axes]


def _error(region: Region, config: Config[WinogradOptions], target: Target, rng: np.random.Generator) -> float:
    """Relative to the largest output."""
    symbols = {symbol.name: symbol.opt for symbol in region.symbols}
    arrays = random_inputs(region, symbols, rng)
    kernel = WinogradConvolution().emit(region, config, target)
    expected = whole_output(region, arrays, symbols).values
    return float(np.abs(run_kernel(region, kernel, target, arrays, symbols) - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", WINOGRAD)
def test_configs(name: str, rng: np.random.Generator):
    """Tiles of all sizes for the taps are offered, and err as much as their points let expect."""
    region, machine = WINOGRAD[name].region(rng), TARGETS[SINGLE[0]]
    configs = WinogradConvolution().configs(region, machine)
    (tall, low), (wide, narrow) = ({2: (4, 2), 3: (4, 2), 4: (3, 2), 5: (4, 2)}[taps] for taps in _taps(region))
    kinds = {_kind(config): config for config in reversed(configs)}
    assert {kind[:2] for kind in kinds} == {(tall, wide), (tall, narrow), (low, narrow)}
    assert {kind[2] for kind in kinds} == ({0, 1} if name == "many-weights" else {0})
    for config in kinds.values():
        bound = TOLERANCE[config.options.rows + _taps(region)[0] - 1]
        assert _error(region, config, machine, rng) < bound, config


def test_short_tiles(rng: np.random.Generator):
    """Where the last tiles have 2 of 4 outputs, 9 of 16 tiles have all points, and fewer products are expected."""
    region, target = Window((1, 16, 14, 14), 32, (3, 3), begin=(1, 1)).region(rng), TARGETS["avx512"]
    problem = problem_of(region)
    assert problem is not None
    tiling = WinogradTiling(problem, WinogradOptions(4, 4, 16, 14, 2, 1, prefetch=False), target.float_lanes)
    assert tiling.tile_counts == (9, 12, 16)
    several = replace(tiling, options=replace(tiling.options, tiles=8, pixels=8))
    assert not several.is_short
    assert tiling.multiply_adds < several.multiply_adds


def test_what_does_not_apply(rng: np.random.Generator):
    for shape in (
        Window((1, 8, 7, 7), 32, (3, 3)),
        Window((1, 32, 7, 7), 32, (3, 3), (3, 3)),
        Window((1, 32, 7, 7), 32, (1, 1), (2, 2)),
        Window((1, 32, 7, 7), 32, (2, 2), (2, 2)),
        Window((1, 32, 7, 7), 32, (3, 3), dilations=(2, 2)),
        Window((1, 32, 7, 7), 32, (6, 6)),
        Window((1, 3, 17, 17), 32, (3, 3), (2, 2)),
        Window((1, 12, 17, 17), 32, (7, 7), (2, 2)),
        Window((1, 3, 17, 17), 32, (7, 7), (2, 1)),
        Window((1, 3, 27, 27), 32, (11, 11), (2, 2)),
        Window((1, 32, 7, 7), 32, (3, 1)),
        Window((1, 64, 7, 7), 64, (3, 3), groups=2),
        Window((1, 32, 9), 32, (3,), (1,), (0,), (0,), (1,)),
    ):
        assert not WinogradConvolution().configs(shape.region(rng), TARGETS["avx512"])


@pytest.mark.parametrize("stride", [1, 2])
def test_products_keep_to_registers(stride: int, rng: np.random.Generator):
    """The loops over channels hold nothing but multiply-adds and loads; of a hundred sums, four may be in memory."""
    shape = Window((1, 64, 28, 28), 64, (3, 3), (stride, stride), begin=(1, 1))
    region, target = shape.region(rng), TARGETS["avx512"]
    configs = WinogradConvolution().configs(region, target)
    for config in configs[:4]:
        assembly = compile_assembly(WinogradConvolution().emit(region, config, target).code, target)
        blocks, most = config.options.blocks, config.options.pixels
        sums = {4 * blocks * size for size in range(-(-most // 2), most + 1)}
        loops = (loop for loop in innermost_loops(assembly) if loop.count("vfmadd") in sums)
        products = [loop for loop in loops if "vmovups\t%zmm" not in loop]  # Transforms store their results.
        assert products, config
        for loop in products:
            assert not re.search(r"vmulps|vaddps|vmovaps\t%zmm\d+, %zmm", loop), config
            assert len(re.findall(r"vmovaps\t%zmm", loop)) <= 4, config
            assert len(re.findall(r"\(%rsp\), %zmm", loop)) <= 4, config


@pytest.mark.parametrize(("outputs", "taps"), [(2, 2), (4, 2), (2, 3), (4, 3), (2, 4), (3, 4), (2, 5), (4, 5)])
def test_transforms(outputs: int, taps: int, rng: np.random.Generator):
    """What the weights' transform gives at a point p is the kernel's polynomial there, scaled; at infinity, its end."""
    weights = rng.standard_normal((2, 3, taps, taps)).astype(np.float32)
    axis = TileAxis(outputs, taps, 1)
    points = transformed_weights(weights, axis, axis)
    np.testing.assert_array_equal(points[-1], weights[:, :, -1, -1])
    finite = finite_points(axis.points, axis.points)
    norm = prod(-point for point in finite if point)
    np.testing.assert_allclose(points[0], weights[:, :, 0, 0].astype(np.float64) / norm**2, rtol=1e-6)
    powers = finite[1] ** np.arange(taps, dtype=np.float64)
    ratio = np.einsum("kcij,i,j->kc", weights.astype(np.float64), powers, powers) / points[axis.points + 1]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)


def test_phases_without_infinity(rng: np.random.Generator):
    """The one tap of a phase is nothing at infinity, and takes no product there."""
    weights, axis = rng.standard_normal((2, 3, 3, 3)).astype(np.float32), TileAxis(4, 3, 2)
    points = transformed_weights(weights, axis, axis)
    assert sum(point.shape[1] for point in points) == 81 * 3
    np.testing.assert_array_equal(points[-1], weights[:, :, 2, 2])
    np.testing.assert_allclose(points[4][:, 3:], weights[:, :, 1, 2] / 2, rtol=1e-6)


def test_switch(rng: np.random.Generator):
    """Without fast algorithms the search offers exact tactics only; with them, Winograd is expected to be fastest."""
    shape = Window((1, 128, 14, 14), 128, (3, 3), begin=(1, 1), tail="bias relu")
    region, catalogue, roofline = shape.region(rng), offers(tactics(), TARGETS["avx512"]), Roofline(1e11, 1e10, 1e-7)
    offered = Search(catalogue, roofline, Limits(None, 1)).one(region).candidates
    assert min(offered, key=lambda c: c.trial.estimate).trial.tactic == WinogradConvolution.name
    exact = Limits(None, 1, fast_algorithms=False)
    allowed = Search(catalogue, roofline, exact).one(region).candidates
    assert allowed
    assert WinogradConvolution.name not in {candidate.trial.tactic for candidate in allowed}
