"""Rows of a packed table equal the reference, for every packing that a product may choose."""

from __future__ import annotations

import numpy as np
import pytest

from cases.case import assert_close
from graphs import binary, constant, given
from kernels.regions import reference
from targets import SINGLE
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import Value, apply, weights_in
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.cpu.gathering.tactic import GatherFromPanels
from tensorwright.kernels.cpu.matmul.tactic import PackedMatMul
from tensorwright.ops.indexing import Gather
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.arrange import from_layout
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import INT64
from tensorwright.tune.cpu.kernel_runner import LoadedKernel, prepare

LENGTH = symbol("length", 1, 3, 9)


def gathered(table: Value, axis: int = 0) -> Region:
    """Rows of a table, and a sum."""
    rows = apply(Gather(axis), table, given("tokens", 2, LENGTH, dtype=INT64))
    return region_of([rows, binary("add", rows, 1.0)])


def table(rng: np.random.Generator, *shape: int) -> Value:
    return constant(rng.uniform(-2, 2, shape))


@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("shape", [(257, 20), (512, 64), (900, 33), (1000, 1)], ids=str)
def test_equals_the_reference(shape: tuple[int, int], target_name: str, rng: np.random.Generator) -> None:
    region, target = gathered(table(rng, *shape)), TARGETS[target_name]
    configs = GatherFromPanels().configs(region, target)
    assert configs
    for config in configs:
        kernel = GatherFromPanels().emit(region, config, target)
        loaded = LoadedKernel(kernel, target)
        for length in (1, 7):
            tokens = rng.integers(-shape[0], shape[0], (2, length))
            known = {region.inputs[0]: weights_in(region.inputs[0]).array}
            arrays = [tokens if v.type.dtype == INT64 else known.get(v, weights_in(v).array) for v in region.inputs]
            operands = prepare(region, kernel, arrays, {"length": length})
            loaded.call(*operands.arguments)
            actual = from_layout(operands.output, kernel.output, (2, length, shape[1]))
            assert_close(actual, reference(region, arrays, {"length": length}), 1e-6)


@pytest.mark.parametrize("rows", [257, 512, 1000])
def test_products_have_the_same_packing(rows: int, rng: np.random.Generator) -> None:
    target, weights = TARGETS["avx512"], table(rng, rows, 20)
    anchor = apply(MatMul(False, True), given("x", 3, 20), weights)
    product = region_of([anchor], anchor)
    names = []
    for tactic, each in ((PackedMatMul(), product), (GatherFromPanels(), gathered(weights))):
        kernels = [tactic.emit(each, config, target) for config in tactic.configs(each, target)]
        packings = [kernel.packings[each.input_number(weights)] for kernel in kernels]
        names.append({packing.name for packing in packings if packing is not None})
    assert names[0] == names[1]
    assert names[0]


def test_declines_what_it_cannot_do(rng: np.random.Generator) -> None:
    few, deep = gathered(table(rng, 20, 20)), gathered(table(rng, 300, 4, 5))
    other = gathered(table(rng, 20, 300), axis=1)
    for region in (few, deep, other):
        assert not GatherFromPanels().configs(region, TARGETS["avx512"])
