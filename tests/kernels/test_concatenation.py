"""Concatenations of channels in blocked layout equal the reference, wherever the operands' blocks begin."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.convolution_regions import following
from kernels.regions import arrays_for, check
from schedule.slabs import check_slabs
from targets import SINGLE
from tensorwright.codegen.cpu.compile import compile_assembly, compile_object
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import Value, apply, input_value
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.cpu.concatenation.tactic import ConcatenationTactic
from tensorwright.ops.activation import Relu
from tensorwright.ops.shape import Concatenation
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import FLOAT32, DType
from tensorwright.tensor.type import TensorType

BATCH = symbol("batch", 1, 2, 8)


def joined(
    channels: tuple[int, ...], *spatial: Dim, batch: Dim = 1, tail: str = "", axis: int = 1, dtype: DType = FLOAT32
) -> Region:
    rng = np.random.default_rng(3)
    inputs = [input_value(f"x{n}", TensorType(dtype, (batch, count, *spatial))) for n, count in enumerate(channels)]
    values = [apply(Concatenation(axis), *inputs)]
    for word in tail.split():
        values += following(word, values[-1], rng)
    return region_of(values)


def twice() -> Region:
    x = input_value("x", TensorType(FLOAT32, (2, 10, 3, 5)))
    return region_of([apply(Concatenation(1), x, x)])


def behind() -> Region:
    """An operator stands before the concatenation."""
    x, y = (input_value(name, TensorType(FLOAT32, (2, 16, 3, 5))) for name in "xy")
    before: Value = apply(Relu(), x)
    return region_of([before, apply(Concatenation(1), before, y)])


REGIONS = {
    "whole-blocks": joined((32, 16, 48), 7, 9, batch=2),
    "half-blocks": joined((24, 40), 5, 28),
    "dense-block": joined((64, 12, 12, 12, 12), 4, 14, tail="scale relu"),
    "odd": joined((17, 9, 30), 7, 7, batch=3, tail="add"),
    "many-in-a-block": joined((3, 1, 2, 5, 1, 6), 3, 10),
    "batch": joined((20, 21), 6, 7, batch=BATCH, tail="scale row relu"),
    "line": joined((5, 40), 19),
    "volume": joined((18, 6), 2, 3, 11, tail="relu"),
    "point": joined((100, 28), 1, 1, batch=2),
    "twice": twice(),
}


@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("name", REGIONS)
def test_equals_reference(name: str, target_name: str, rng: np.random.Generator) -> None:
    target = TARGETS[target_name]
    (config,) = ConcatenationTactic().configs(REGIONS[name], target)
    kernel = ConcatenationTactic().emit(REGIONS[name], config, target)
    check(REGIONS[name], kernel, target, rng, *([{"batch": 1}, {"batch": 3}] if kernel.symbols else [{}]))


@pytest.mark.parametrize("name", [name for name in REGIONS if name != "batch"])
def test_says_what_its_tasks_write(name: str, rng: np.random.Generator) -> None:
    target = TARGETS[SINGLE[0]]
    (config,) = ConcatenationTactic().configs(REGIONS[name], target)
    kernel = ConcatenationTactic().emit(REGIONS[name], config, target)
    assert check_slabs(REGIONS[name], kernel, target, arrays_for(REGIONS[name], rng, {}), rng)


def test_compiles_for_aarch64() -> None:
    target = TARGETS["aarch64"]
    for config in ConcatenationTactic().configs(REGIONS["dense-block"], target):
        assert compile_object(ConcatenationTactic().emit(REGIONS["dense-block"], config, target).code, target)


def test_whole_blocks_are_copied() -> None:
    target = TARGETS["avx512"]
    region = joined((32, 16), 8, 8)
    (config,) = ConcatenationTactic().configs(region, target)
    code = compile_assembly(ConcatenationTactic().emit(region, config, target).code, target)
    assert code.count("zmm") == 2 * 8 * 2
    assert "vperm" not in code


@pytest.mark.parametrize(
    "region",
    [
        behind(),
        joined((8, 8), 4, 4, axis=2),
        joined((8, 8), 4, symbol("w", 2, 4, 8)),
        joined(tuple(1 + n % 15 for n in range(80)), 2, 2),
    ],
    ids=["operator-before", "other-axis", "symbolic-width", "many-patterns"],
)
def test_leaves_the_rest_to_others(region: Region) -> None:
    assert not ConcatenationTactic().configs(region, TARGETS["avx512"])
