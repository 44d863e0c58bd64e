"""All tactics on small extents, 1 above all: batches, channels, spatial axes, windows, rows and columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from regions.checking import difference
from regions.example import LEAST
from regions.following import followed, weights
from targets import SINGLE
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import Value, apply, input_value
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.cpu.catalogue import tactics
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Concatenation, Transpose
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tune.cpu.kernel_runner import run_kernel
from tensorwright.tune.inputs import random_inputs
from tensorwright.tune.reference import whole_output
from tensorwright.tune.tolerance import FAST_ALGORITHM_BOUND, tolerance_of

EXTENTS = st.sampled_from((1, 1, 1, 2, 3, 5, 8, 17, 33))
CHANNELS = st.sampled_from((1, 2, 3, 4, 8, 16, 20, 32))
CONFIGS = 3
"""Configs tried of every tactic and example."""


def _given(name: str, *shape: int) -> Value:
    return input_value(name, TensorType(FLOAT32, shape))


def _check(region: Region, draw: st.DataObject, rng: np.random.Generator) -> None:
    """A few configs of every tactic that applies against the reference."""
    target = TARGETS[draw.draw(st.sampled_from(SINGLE), "target")]
    arrays = random_inputs(region, {}, rng)
    expected = whole_output(region, arrays, {})
    for tactic in tactics():
        configs: Sequence = () if tactic.joins else tactic.configs(region, target)
        for config in _some(configs, rng):
            actual = run_kernel(region, tactic.emit(region, config, target), target, arrays)
            tolerance = tolerance_of(region, {}, LEAST if tactic.exact else FAST_ALGORITHM_BOUND)
            wrong = difference(actual, expected, tolerance)
            assert not wrong, f"{tactic.name} {config}\n{region.signature}\n{wrong}"


def _some(configs: Sequence, rng: np.random.Generator) -> Sequence:
    numbers = rng.permutation(len(configs))[:CONFIGS]
    return [configs[int(number)] for number in numbers]


def _followed(anchor: Value, draw: st.DataObject, rng: np.random.Generator) -> Region:
    return followed(anchor, draw.draw(st.sampled_from(("", "add", "relu", "add relu", "scale", "row")), "tail"), rng)


SEEDS = st.integers(0, 2**31)


@settings(max_examples=30)
@given(st.data(), SEEDS)
def test_convolutions(draw: st.DataObject, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank = draw.draw(st.integers(1, 3), "rank")
    groups, channels, outputs = draw.draw(st.tuples(st.sampled_from((1, 1, 2, 8)), CHANNELS, CHANNELS), "channels")
    spatial = draw.draw(st.lists(EXTENTS, min_size=rank, max_size=rank), "spatial")
    is_pointwise = draw.draw(st.booleans(), "pointwise")
    axes = [(1, 1, 0, 0) if is_pointwise else _axis(extent, draw) for extent in spatial]
    kernel, strides, begin, end = (tuple(part) for part in zip(*axes, strict=True))
    x = _given("x", draw.draw(st.integers(1, 3), "batch"), groups * channels, *spatial)
    filters = weights(rng, FLOAT32, groups * outputs, channels, *kernel)
    anchor = apply(Convolution(strides, begin, end, (1,) * rank, groups), x, filters)
    _check(_followed(anchor, draw, rng), draw, rng)


def _axis(extent: int, draw: st.DataObject) -> tuple[int, int, int, int]:
    """Taps, stride and padding of an axis."""
    taps, stride = draw.draw(st.tuples(st.integers(1, 5), st.integers(1, 3)))
    before, after = draw.draw(st.tuples(st.integers(0, taps - 1), st.integers(0, taps - 1)))
    return (taps, stride, before, max(after, taps - extent - before))


@settings(max_examples=30)
@given(st.data(), SEEDS)
def test_poolings(draw: st.DataObject, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank = draw.draw(st.integers(1, 3), "rank")
    spatial = draw.draw(st.lists(EXTENTS, min_size=rank, max_size=rank), "spatial")
    window, strides, begin, end = zip(*(_axis(extent, draw) for extent in spatial), strict=True)
    op = Pool(
        draw.draw(st.sampled_from(("max", "average")), "mode"), window, strides, begin, end, (1,) * rank,
        draw.draw(st.booleans(), "ceil"), draw.draw(st.booleans(), "include"),
    )  # fmt: skip
    x = _given("x", draw.draw(st.integers(1, 3), "batch"), draw.draw(CHANNELS, "channels"), *spatial)
    _check(_followed(apply(op, x), draw, rng), draw, rng)


@settings(max_examples=30)
@given(st.data(), SEEDS)
def test_products(draw: st.DataObject, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns, depth = draw.draw(st.tuples(EXTENTS, EXTENTS, EXTENTS), "extents")
    batch = draw.draw(st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.booleans()), max_size=2), "batch")
    leads = [[1 if shared else extent for extent, *are in batch for shared in (are[side],)] for side in (0, 1)]
    flips = draw.draw(st.tuples(st.booleans(), st.booleans()), "transposed")
    a = _given("a", *leads[0], *((depth, rows) if flips[0] else (rows, depth)))
    shape = (*leads[1], *((columns, depth) if flips[1] else (depth, columns)))
    b = weights(rng, FLOAT32, *shape) if draw.draw(st.booleans(), "constant") else _given("b", *shape)
    values = [apply(MatMul(*flips), a, b)]
    if draw.draw(st.booleans(), "residual"):
        values.append(apply(Binary("add"), values[0], input_value("residual", values[0].type)))
    _check(region_of(values, values[0]), draw, rng)


@settings(max_examples=30)
@given(st.data(), SEEDS)
def test_what_moves_and_reduces(draw: st.DataObject, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = draw.draw(st.lists(EXTENTS, min_size=1, max_size=4), "shape")
    axis = draw.draw(st.integers(0, len(shape) - 1), "axis")
    x = _given("x", *shape)
    match draw.draw(st.sampled_from(("transpose", "softmax", "reduce", "concatenate")), "what"):
        case "transpose":
            order = tuple(draw.draw(st.permutations(range(len(shape))), "order"))
            values = [apply(Transpose(order), x)]
        case "softmax":
            values = [apply(Softmax(axis), x)]
        case "reduce":
            values = [apply(Reduction("add", (axis,), True), x)]
        case _:
            others = [
                _given(f"x{number}", *shape[:axis], draw.draw(EXTENTS, "extent"), *shape[axis + 1 :])
                for number in range(draw.draw(st.integers(1, 2), "operands"))
            ]
            values = [apply(Concatenation(axis), x, *others)]
    anchor = values[0] if values[0].op.kind in ("anchor", "reduction") else None
    _check(region_of(values, anchor), draw, rng)
