"""Rows of packed tables: the packing is that of a product, and what is declined."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import given
from regions.following import weights
from regions.gathering import gathered
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import apply
from tensorwright.graph.region import region_of
from tensorwright.kernels.cpu.gathering.tactic import GatherFromPanels
from tensorwright.kernels.cpu.matmul.tactic import PackedMatMul
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dtype import FLOAT32


@pytest.mark.parametrize("rows", [257, 512, 1000])
def test_products_have_the_same_packing(rows: int, rng: np.random.Generator) -> None:
    target, table = TARGETS["avx512"], weights(rng, FLOAT32, rows, 20)
    anchor = apply(MatMul(False, True), given("x", 3, 20), table)
    product = region_of([anchor], anchor)
    names = []
    for tactic, each in ((PackedMatMul(), product), (GatherFromPanels(), gathered(table))):
        kernels = [tactic.emit(each, config, target) for config in tactic.configs(each, target)]
        packings = [kernel.packings[each.input_number(table)] for kernel in kernels]
        names.append({packing.name for packing in packings if packing is not None})
    assert names[0] == names[1]
    assert names[0]


def test_declines_what_it_cannot_do(rng: np.random.Generator) -> None:
    few, deep = gathered(weights(rng, FLOAT32, 20, 20)), gathered(weights(rng, FLOAT32, 300, 4, 5))
    other = gathered(weights(rng, FLOAT32, 20, 300), axis=1)
    for region in (few, deep, other):
        assert not GatherFromPanels().configs(region, TARGETS["avx512"])
