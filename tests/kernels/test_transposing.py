"""Reorders between layouts and transposes: which are offered, and what code short rows give."""

from __future__ import annotations

import numpy as np
import pytest

from regions.concatenations import Concatenated
from regions.moves import MOVES, Moved
from tensorwright.codegen.cpu.compile import compile_assembly
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.kernels.cpu.transposing.tactic import Transposing
from tensorwright.ops.shape import Transpose
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.layout import PLAIN


def test_nothing_is_not_turned(rng: np.random.Generator) -> None:
    region = Moved((2, 3, 4, 0), (Transpose((1, 3, 0, 2)),)).region(rng)
    assert not Transposing().configs(region, TARGETS["baseline"])


def test_formulas_of_open_extents_are_not_looked_at(rng: np.random.Generator) -> None:
    """They may be sums of many, and blocks need extents that are known."""
    counts = tuple(symbol(f"n{number}", 1, 2, 9) for number in range(3))
    region = Concatenated(counts, (), axis=1).region(rng)
    assert not Transposing().configs(region, TARGETS["avx2"])
    assert "computation" not in vars(region)


def test_reorders_both_ways(rng: np.random.Generator) -> None:
    configs = Transposing().configs(MOVES["batch"].region(rng), TARGETS["avx512"])
    layouts = {(config.inputs[0].block, config.output.block) for config in configs}
    assert layouts == {(1, 16), (16, 1)}


def test_blocks_of_padding_are_not_read(rng: np.random.Generator) -> None:
    """Twelve channels come from four rows at a time: all rows of the last four lanes are padding."""
    configs = Transposing().configs(MOVES["tiled-channels"].region(rng), TARGETS["avx512"])
    assert all(config.output.is_plain for config in configs)


@pytest.mark.parametrize("name", ["image-to-last", "image-to-first"])
def test_short_rows_are_moved_as_whole_vectors(name: str, rng: np.random.Generator) -> None:
    """Three vectors go into each of three, by two instructions, in whole pieces and in the last one."""
    region, target = MOVES[name].region(rng), TARGETS["avx512"]
    (config,) = (c for c in Transposing().configs(region, target) if {c.output, *c.inputs} == {PLAIN})
    code = compile_assembly(Transposing().emit(region, config, target).code, target)
    assert 6 <= code.count("vperm") <= 2 * 6
    assert "vunpck" not in code
