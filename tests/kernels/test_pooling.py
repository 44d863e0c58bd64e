"""Pooling kernels equal the reference, for all ways in which padding cuts windows, in both layouts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from kernels.convolution_regions import following
from kernels.regions import arrays_for, check
from schedule.slabs import check_slabs
from targets import SINGLE
from tensorwright.codegen.cpu.compile import compile_assembly, compile_object
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import apply, input_value
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.cpu.pooling.tactic import PoolingTactic
from tensorwright.ops.pooling import Pool
from tensorwright.tensor.arrange import from_layout
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import FLOAT32, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tune.cpu.kernel_runner import LoadedKernel, prepare

BATCH = symbol("batch", 1, 2, 8)
Ints = tuple[int, ...]


@dataclass(frozen=True)
class Shape:
    """A pooling of an input, and what follows: see `following`."""

    x: tuple[Dim, ...]
    window: Ints
    strides: Ints = (1, 1)
    begin: Ints = (0, 0)
    end: Ints | None = None
    dilations: Ints = (1, 1)
    ceil: bool = False
    tail: str = ""
    dtype: DType = field(default=FLOAT32)

    def region(self, rng: np.random.Generator, mode: str, include: bool = False) -> Region:
        end = self.begin if self.end is None else self.end
        op = Pool(mode, self.window, self.strides, self.begin, end, self.dilations, self.ceil, include)  # type: ignore[arg-type]
        anchor = apply(op, input_value("x", TensorType(self.dtype, self.x)))
        values = [anchor]
        for word in self.tail.split():
            values += following(word, values[-1], rng)
        return region_of(values, anchor)


SHAPES = {
    "2x2": Shape((1, 20, 12, 38), (2, 2), (2, 2)),
    "3x3": Shape((BATCH, 17, 5, 35), (3, 3), (2, 2), (1, 1), tail="relu"),
    "3x3-even": Shape((2, 16, 8, 66), (3, 3), (2, 2), (1, 1)),
    "3x3-dense": Shape((1, 18, 3, 20), (3, 3), (1, 1), (1, 1), tail="add relu"),
    "5x5-narrow": Shape((1, 5, 6, 4), (5, 5), (1, 1), (2, 2)),
    "ceil": Shape((2, 3, 8, 37), (3, 3), (2, 2), ceil=True),
    "ceil-padded": Shape((1, 18, 6, 39), (3, 3), (2, 2), (1, 1), (0, 1), ceil=True),
    "ceil-sparse": Shape((1, 16, 5, 7), (2, 2), (3, 3), (1, 0), (1, 1), ceil=True),
    "ceil-dilated": Shape((1, 4, 9, 20), (2, 3), (2, 1), (1, 2), (1, 3), (3, 2), ceil=True),
    "lopsided": Shape((1, 3, 5, 21), (2, 3), (1, 2), (1, 0), (0, 2), tail="bias row"),
    "far-padding": Shape((1, 4, 3, 24), (3, 3), (1, 1), (2, 24), (2, 24), (2, 24)),
    "wide-stride": Shape((1, 6, 11, 70), (4, 3), (3, 4), (0, 1)),
    "too-wide-stride": Shape((1, 6, 11, 40), (3, 3), (5, 5)),
    "global": Shape((BATCH, 20, 7, 7), (7, 7)),
    "tall": Shape((1, 3, 20, 18), (9, 2), (4, 1), (3, 1)),
    "many-rows": Shape((1, 3, 10, 18), (9, 3), (1, 1), (4, 1), tail="relu"),
    "deep": Shape((1, 3, 4, 9, 6), (3, 8, 2), (1, 1, 2), (1, 4, 1), (1, 3, 1), (1, 1, 1)),
    "line": Shape((3, 9, 41), (3,), (2,), (1,), (0,), (1,)),
    "volume": Shape((1, 5, 4, 5, 18), (2, 3, 2), (1, 2, 1), (1, 1, 0), (0, 1, 1), (1, 1, 2), tail="relu"),
    "far-window": Shape((1, 18, 3, 7), (20, 9), (20, 9), ceil=True),
    "far-window-padded": Shape((1, 4, 5, 20), (30, 14), (2, 2), (14, 6), (15, 5)),
    "point": Shape((2, 16, 5, 5), (1, 1), (2, 2)),
}


@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize(
    ("name", "mode"),
    [(name, mode) for name in SHAPES for mode in ("max", "average")]
    + [
        (name, "include")
        for name in ("3x3-even", "ceil-padded", "ceil-dilated", "far-padding", "far-window-padded", "many-rows", "deep")
    ],
)
def test_equals_reference(name: str, mode: str, target_name: str, rng: np.random.Generator) -> None:
    region = SHAPES[name].region(rng, "max" if mode == "max" else "average", mode == "include")
    target = TARGETS[target_name]
    configs = PoolingTactic().configs(region, target)
    assert {config.output.block for config in configs} == {target.float_lanes} | (
        set() if name in ("too-wide-stride", "global", "far-window") else {1}
    )
    for config in configs:
        kernel = PoolingTactic().emit(region, config, target)
        check(region, kernel, target, rng, *([{"batch": 1}, {"batch": 3}] if kernel.symbols else [{}]))


@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("name", ["2x2", "3x3-even", "5x5-narrow", "many-rows", "ceil", "far-padding"])
def test_maxima_of_what_is_no_number(name: str, target_name: str, rng: np.random.Generator) -> None:
    """A window with a NaN of either sign gives NaN; padding counts as less than all numbers, infinite ones included."""
    shape, target = SHAPES[name], TARGETS[target_name]
    region = Shape(shape.x, shape.window, shape.strides, shape.begin, shape.end, shape.dilations, shape.ceil).region(
        rng, "max"
    )
    x = np.where(rng.random(shape.x) < 0.5, -np.inf, rng.uniform(-3, -2, shape.x)).astype(np.float32)
    x[rng.random(shape.x) < 0.05] = np.nan
    x[rng.random(shape.x) < 0.05] = -np.float32(np.nan)
    x[rng.random(shape.x) < 0.05] = np.inf
    for config in PoolingTactic().configs(region, target):
        kernel = PoolingTactic().emit(region, config, target)
        operands = prepare(region, kernel, [x], {})
        operands.output[:] = 0.5
        LoadedKernel(kernel, target).call(*operands.arguments)
        assert region.anchor is not None
        expected = region.anchor.op.reference(x)
        np.testing.assert_array_equal(from_layout(operands.output, kernel.output, expected.shape), expected)


@pytest.mark.parametrize(
    "name", ["2x2", "3x3-dense", "ceil-sparse", "many-rows", "line", "volume", "wide-stride", "point"]
)
def test_says_what_its_tasks_write(name: str, rng: np.random.Generator) -> None:
    region, target = SHAPES[name].region(rng, "max"), TARGETS[SINGLE[0]]
    for config in PoolingTactic().configs(region, target)[1:]:
        kernel = PoolingTactic().emit(region, config, target)
        assert check_slabs(region, kernel, target, arrays_for(region, rng, {}), rng)


@pytest.mark.parametrize(("name", "mode"), [("2x2", "max"), ("lopsided", "average"), ("many-rows", "max")])
def test_compiles_for_aarch64(name: str, mode: str, rng: np.random.Generator) -> None:
    region, target = SHAPES[name].region(rng, mode), TARGETS["aarch64"]
    for config in PoolingTactic().configs(region, target):
        assert compile_object(PoolingTactic().emit(region, config, target).code, target)


def test_instructions_of_a_maximum(rng: np.random.Generator) -> None:
    """Of nine elements: three columns of three, two of which the next output has, each with one test for NaN."""
    region, target = Shape((1, 16, 65, 113), (3, 3), (2, 2)).region(rng, "max"), TARGETS["avx512"]
    config = PoolingTactic().configs(region, target)[0]
    columns = config.options.columns
    code = compile_assembly(PoolingTactic().emit(region, config, target).code, target)
    assert 56 % columns == 0
    sources = 2 * columns + 1
    assert code.count("vmaxps") == 2 * sources + 2 * columns
    assert code.count("vcmpunordps") == sources + columns
    assert "rsp" not in code


@pytest.mark.parametrize(
    "region",
    [
        Shape((1, 3, 8, 8), (2, 2)).region(np.random.default_rng(0), "lp"),
        Shape((1, 3, 8, symbol("w", 4, 8, 16)), (2, 2)).region(np.random.default_rng(0), "max"),
        Shape((1, 3, 8, 40), (2, 17)).region(np.random.default_rng(0), "max"),
    ],
    ids=["lp", "symbolic-width", "wide-window"],
)
def test_leaves_the_rest_to_others(region: Region) -> None:
    assert not PoolingTactic().configs(region, TARGETS["avx512"])
