"""Winograd convolution: every config gives what the reference gives, within the error its rounding allows."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod

import numpy as np
import pytest

from kernels.convolution_regions import Shape, expected_of, inputs_of
from tensorwright.codegen.cpu.compile import compile_assembly, compile_object
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import problem_of
from tensorwright.kernels.cpu.catalogue import tactics
from tensorwright.kernels.cpu.winograd.packing import transformed_weights
from tensorwright.kernels.cpu.winograd.phases import apart
from tensorwright.kernels.cpu.winograd.plan import WinogradCut, WinogradPlan
from tensorwright.kernels.cpu.winograd.tactic import WinogradConvolution
from tensorwright.kernels.cpu.winograd.tiles import TileAxis, most_taps
from tensorwright.kernels.cpu.winograd.transform import finite_points
from tensorwright.kernels.tactic import Config, offers
from tensorwright.tensor.arrange import from_layout
from tensorwright.tensor.dim import evaluate, symbol, symbols_of
from tensorwright.tune.cpu.kernel_runner import LoadedKernel, prepare
from tensorwright.tune.estimate import Roofline
from tensorwright.tune.search import Limits, Search

BATCH = symbol("batch", 1, 2, 5)
TOLERANCE = {3: 3e-6, 4: 5e-6, 5: 1e-5, 6: 4e-5, 8: 4e-5}
"""Largest error relative to the largest output, by the points along the rows."""

SHAPES = (
    Shape("7x7", (BATCH, 20, 7, 7), 24, (3, 3), begin=(1, 1), tail="bias add relu"),
    Shape("13x9", (1, 33, 13, 9), 40, (3, 3), begin=(1, 1), tail="bias relu"),
    Shape("no-padding", (2, 16, 10, 18), 64, (3, 3), tail=""),
    Shape("lopsided-padding", (1, 18, 6, 11), 48, (3, 3), begin=(0, 1), end=(1, 0), tail="scale add"),
    Shape("tiny", (1, 16, 2, 3), 16, (3, 3), begin=(1, 1), tail="bias clip"),
    Shape("wide-padding", (1, 17, 5, 4), 16, (3, 3), begin=(2, 2), tail="bias"),
    Shape("5x5-lenet", (BATCH, 20, 12, 12), 50, (5, 5), tail="bias"),
    Shape("5x5-padded", (2, 16, 7, 13), 40, (5, 5), begin=(2, 2), tail="bias add relu"),
    Shape("4x4", (1, 16, 9, 8), 16, (4, 4), begin=(1, 2), end=(2, 1), tail="bias"),
    Shape("7x7-stride-2", (BATCH, 3, 29, 26), 40, (7, 7), (2, 2), begin=(3, 3), tail="bias relu"),
    Shape("6x6-stride-2", (2, 4, 12, 19), 16, (6, 6), (2, 2), begin=(2, 2), tail="bias add"),
    Shape("7x6-stride-2", (1, 1, 21, 10), 24, (7, 6), (2, 2), begin=(0, 1), end=(4, 3), tail=""),
    Shape("3x3-stride-2", (BATCH, 20, 13, 9), 24, (3, 3), (2, 2), begin=(1, 1), tail="bias add relu"),
    Shape("14x14", (1, 16, 14, 14), 32, (3, 3), begin=(1, 1), tail="bias add relu"),
    Shape("many-weights", (1, 96, 7, 6), 192, (3, 3), begin=(1, 1), tail="bias"),
    Shape("5x5-short", (1, 16, 7, 6), 16, (5, 5), begin=(2, 2), tail="bias"),
    Shape("14x14-stride-2", (1, 32, 14, 14), 64, (3, 3), (2, 2), begin=(1, 1), tail="bias relu"),
    Shape("3x3-stride-2-lopsided", (2, 18, 12, 18), 48, (3, 3), (2, 2), begin=(0, 1), end=(1, 0), tail="scale add"),
    Shape("3x3-stride-2-tiny", (1, 16, 3, 2), 16, (3, 3), (2, 2), begin=(1, 1), tail=""),
    Shape("5x5-stride-2", (1, 20, 17, 14), 24, (5, 5), (2, 2), begin=(2, 1), end=(1, 2), tail="bias clip"),
    Shape("4x6-stride-2", (1, 17, 16, 11), 32, (4, 6), (2, 2), begin=(1, 2), end=(1, 2), tail="bias"),
    Shape("7x7-stride-2-blocked", (1, 16, 17, 17), 32, (7, 7), (2, 2), begin=(3, 3), tail="bias relu"),
    Shape("3x5", (1, 18, 6, 9), 24, (3, 5), begin=(1, 0), end=(1, 3), tail="relu"),
)  # fmt: skip


def _check(region: Region, config: Config, target: Target, rng: np.random.Generator, batch: int) -> None:
    kernel = WinogradConvolution().emit(region, config, target)
    loaded = LoadedKernel(kernel, target)
    names = {name.name for value in region.inputs for dim in value.type.shape for name in symbols_of(dim)}
    symbols = dict.fromkeys(names, batch)
    arrays = inputs_of(region, rng, symbols)
    operands = prepare(region, kernel, arrays, symbols)
    operands.workspace[:] = 0xFF
    *arguments, begin, end = operands.arguments
    middle = int(rng.integers(begin, end + 1))
    loaded.call(*arguments, middle, end)
    loaded.call(*arguments, begin, middle)
    shape = [evaluate(dim, symbols) for dim in region.output.type.shape]
    actual, expected = from_layout(operands.output, kernel.output, shape), expected_of(region, arrays)
    error = np.abs(actual - expected).max() / np.abs(expected).max()
    assert error < TOLERANCE[config.options.rows + _taps(region)[0] - 1], (config, error)


def _kind(config: Config) -> tuple[int, ...]:
    return tuple(getattr(config.options, name) for name in ("rows", "columns", "prefetch"))


def _taps(region: Region) -> list[int]:
    """Along each axis, the most of a phase, which the transforms are for."""
    problem = problem_of(region)
    assert problem is not None
    axes = apart(problem).axes if problem.channels < 16 and problem.axes[0].stride > 1 else problem.axes
    return [most_taps(axis.kernel, axis.stride) for axis in axes]


@pytest.mark.parametrize("target", ["avx512", "avx2", "baseline"])
@pytest.mark.parametrize("shape", SHAPES, ids=repr)
def test_configs(shape: Shape, target: str, rng: np.random.Generator):
    region, machine = shape.region(rng), TARGETS[target]
    configs = WinogradConvolution().configs(region, machine)
    (tall, low), (wide, narrow) = ({2: (4, 2), 3: (4, 2), 4: (5, 3), 5: (4, 2)}[taps] for taps in _taps(region))
    kinds = {_kind(config): config for config in reversed(configs)}
    assert {kind[:2] for kind in kinds} == {(tall, wide), (tall, narrow), (low, narrow)}
    assert {kind[2] for kind in kinds} == ({0, 1} if shape.name == "many-weights" else {0})
    chosen = configs if target == "avx512" and shape.name in ("7x7", "3x3-stride-2") else list(kinds.values())
    if target != "avx512" and shape.kernel != (3, 3):
        chosen = chosen[:1]
    for number, config in enumerate(chosen):
        _check(region, config, machine, rng, 1 + number % 3)


def test_short_tiles(rng: np.random.Generator):
    """Where the last tiles have 2 of 4 outputs, 9 of 16 tiles have all points, and fewer products are expected."""
    region, target = Shape("14x14", (1, 16, 14, 14), 32, (3, 3), begin=(1, 1)).region(rng), TARGETS["avx512"]
    problem = problem_of(region)
    assert problem is not None
    plan = WinogradPlan(problem, WinogradCut(4, 4, 16, 14, 2, 1, prefetch=False), target.float_lanes)
    assert plan.tile_counts == (9, 12, 16)
    several = replace(plan, cut=replace(plan.cut, tiles=8, pixels=8))
    assert not several.is_short
    assert plan.multiply_adds < several.multiply_adds


def test_what_does_not_apply(rng: np.random.Generator):
    for shape in (
        Shape("few-channels", (1, 8, 7, 7), 32, (3, 3)),
        Shape("stride-3", (1, 32, 7, 7), 32, (3, 3), (3, 3)),
        Shape("pointwise-stride-2", (1, 32, 7, 7), 32, (1, 1), (2, 2)),
        Shape("two-taps", (1, 32, 7, 7), 32, (2, 2), (2, 2)),
        Shape("dilated", (1, 32, 7, 7), 32, (3, 3), dilations=(2, 2)),
        Shape("6x6", (1, 32, 7, 7), 32, (6, 6)),
        Shape("few-taps", (1, 3, 17, 17), 32, (3, 3), (2, 2)),
        Shape("some-channels", (1, 12, 17, 17), 32, (7, 7), (2, 2)),
        Shape("one-stride", (1, 3, 17, 17), 32, (7, 7), (2, 1)),
        Shape("many-taps", (1, 3, 27, 27), 32, (11, 11), (2, 2)),
        Shape("3x1", (1, 32, 7, 7), 32, (3, 1)),
        Shape("groups", (1, 64, 7, 7), 64, (3, 3), groups=2),
        Shape("1d", (1, 32, 9), 32, (3,), (1,), (0,), (0,), (1,)),
    ):
        assert not WinogradConvolution().configs(shape.region(rng), TARGETS["avx512"])


@pytest.mark.parametrize("name", ["13x9", "3x3-stride-2"])
def test_arm_code_compiles(name: str, rng: np.random.Generator):
    shape = next(shape for shape in SHAPES if shape.name == name)
    region, target = shape.region(rng), TARGETS["aarch64"]
    compile_object(
        WinogradConvolution().emit(region, WinogradConvolution().configs(region, target)[0], target).code, target
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_products_keep_to_registers(stride: int, rng: np.random.Generator):
    """The loops over channels hold nothing but multiply-adds and loads."""
    shape = Shape("28x28", (1, 64, 28, 28), 64, (3, 3), (stride, stride), begin=(1, 1))
    region, target = shape.region(rng), TARGETS["avx512"]
    configs = WinogradConvolution().configs(region, target)
    for config in configs[:4]:
        assembly = compile_assembly(WinogradConvolution().emit(region, config, target).code, target)
        blocks, most = config.options.blocks, config.options.pixels
        sums = {4 * blocks * size for size in range(-(-most // 2), most + 1)}
        loops = (loop for loop in _innermost_loops(assembly) if "vsubps" not in loop)
        products = [loop for loop in loops if loop.count("vfmadd") in sums]
        assert products, config
        for loop in products:
            assert not re.search(r"zmm.*\(%rsp\)|\(%rsp\).*zmm|vmovaps\t%zmm|vmulps|vaddps", loop), config


def _innermost_loops(assembly: str) -> list[str]:
    pieces = re.split(r"^(\.\w+):", assembly, flags=re.MULTILINE)
    matches = (
        (text, re.search(rf"\tj\w+\s+{re.escape(label)}\n", text))
        for label, text in zip(pieces[1::2], pieces[2::2], strict=True)
    )
    return [text[: back.start()] for text, back in matches if back]


@pytest.mark.parametrize(("outputs", "taps"), [(2, 2), (4, 2), (2, 3), (4, 3), (3, 4), (5, 4), (2, 5), (4, 5)])
def test_transforms(outputs: int, taps: int, rng: np.random.Generator):
    """What the weights' transform gives at a point p is the kernel's polynomial there, scaled; at infinity, its end."""
    weights = rng.standard_normal((2, 3, taps, taps)).astype(np.float32)
    axis = TileAxis(outputs, taps, 1)
    points = transformed_weights(weights, axis, axis)
    np.testing.assert_array_equal(points[-1], weights[:, :, -1, -1])
    norm = prod(-point for point in finite_points(axis.points) if point)
    np.testing.assert_allclose(points[0], weights[:, :, 0, 0].astype(np.float64) / norm**2, rtol=1e-6)
    ratio = weights.sum(axis=(2, 3), dtype=np.float64) / points[axis.points + 1]
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
    shape = Shape("14x14", (1, 128, 14, 14), 128, (3, 3), begin=(1, 1), tail="bias relu")
    region, catalogue, roofline = shape.region(rng), offers(tactics(), TARGETS["avx512"]), Roofline(1e11, 1e10, 1e-7)
    offered = Search(catalogue, roofline, Limits(None, 1)).one(region).candidates
    assert min(offered, key=lambda c: c.trial.estimate).trial.tactic == WinogradConvolution.name
    exact = Limits(None, 1, fast_algorithms=False)
    allowed = Search(catalogue, roofline, exact).one(region).candidates
    assert allowed
    assert WinogradConvolution.name not in {candidate.trial.tactic for candidate in allowed}
