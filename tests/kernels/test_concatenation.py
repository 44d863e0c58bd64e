"""Concatenations of channels in blocked layout: what is copied as it is, and what is left to others."""

from __future__ import annotations

import numpy as np
import pytest

from regions.concatenations import Concatenated
from tensorwright.codegen.cpu.compile import compile_assembly
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import Value, apply, input_value
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.cpu.concatenation.tactic import ConcatenationTactic
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.ops.activation import Relu
from tensorwright.ops.shape import Concatenation
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tune.tuner import HOPELESS


def behind() -> Region:
    """An operator stands before the concatenation."""
    x, y = (input_value(name, TensorType(FLOAT32, (2, 16, 3, 5))) for name in "xy")
    before: Value = apply(Relu(), x)
    return region_of([before, apply(Concatenation(1), before, y)])


def test_whole_blocks_are_copied(rng: np.random.Generator) -> None:
    target = TARGETS["avx512"]
    region = Concatenated((32, 16), (8, 8)).region(rng)
    (config,) = ConcatenationTactic().configs(region, target)
    code = compile_assembly(ConcatenationTactic().emit(region, config, target).code, target)
    assert code.count("zmm") == 2 * 8 * 2
    assert "vperm" not in code


@pytest.mark.parametrize(
    "concatenated",
    [
        Concatenated((8, 8), (4, 4), axis=2),
        Concatenated((8, 8), (4, symbol("w", 2, 4, 8))),
        Concatenated(tuple(1 + n % 15 for n in range(80)), (2, 2)),
    ],
    ids=["other-axis", "symbolic-width", "many-patterns"],
)
def test_leaves_the_rest_to_others(concatenated: Concatenated, rng: np.random.Generator) -> None:
    assert not ConcatenationTactic().configs(concatenated.region(rng), TARGETS["avx512"])


def test_leaves_what_stands_behind_an_operator_to_others() -> None:
    assert not ConcatenationTactic().configs(behind(), TARGETS["avx512"])


def test_loops_that_search_many_pieces_are_not_worth_timing(rng: np.random.Generator) -> None:
    target = TARGETS["avx512"]
    for pieces, worth in ((2, True), (20, False)):
        region = Concatenated((32,) * pieces, (14, 14)).region(rng)
        (copied,) = ConcatenationTactic().configs(region, target)
        best = ConcatenationTactic().efficiency(region, copied)
        loops = [Generic().efficiency(region, config) for config in Generic().configs(region, target)]
        assert [best <= HOPELESS * efficiency for efficiency in loops] == [worth] * 2
