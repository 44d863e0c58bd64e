"""Many pieces are put together in groups."""

from __future__ import annotations

import numpy as np

from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Graph, apply, input_value
from tensorwright.ops.shape import Concatenation
from tensorwright.passes.fuse import partition
from tensorwright.passes.pieces import GROUP, MOST, MOST_OPEN, in_groups
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType


def of_pieces(extents: list[Dim]) -> Graph:
    inputs = [input_value(f"x{n}", TensorType(FLOAT32, (extent, 2))) for n, extent in enumerate(extents)]
    whole = apply(Concatenation(0), *inputs)
    return Graph(tuple((value.name, value) for value in inputs), (("y", whole),))


def test_as_put_together_at_once(rng: np.random.Generator) -> None:
    extents = [symbol(f"n{number}", 0, 2, 5) for number in range(30)]
    graph = of_pieces(list(extents))
    assert max(len(value.inputs) for value in in_groups(graph).order()) <= MOST_OPEN
    with Engine(build(graph, BuildConfig(level=0, threads=2, timing_cache=""))) as engine:
        for _ in range(3):
            arrays = {name: rng.standard_normal((rng.integers(0, 6), 2), dtype=np.float32) for name, _ in graph.inputs}
            np.testing.assert_array_equal(engine(arrays)["y"], np.concatenate(list(arrays.values())))


def test_groups_that_are_alike_share_a_kernel(rng: np.random.Generator) -> None:
    graph = of_pieces([2] * (3 * GROUP))
    with Engine(build(graph, BuildConfig(level=0, threads=2, timing_cache=""))) as engine:
        arrays = {name: rng.standard_normal((2, 2), dtype=np.float32) for name, _ in graph.inputs}
        np.testing.assert_array_equal(engine(arrays)["y"], np.concatenate(list(arrays.values())))
    assert len({region.signature for region in partition(in_groups(graph))}) == 2


def test_few_pieces_stay() -> None:
    assert len(in_groups(of_pieces([symbol("n", 1, 2, 3)] * 4)).order()) == 5
    assert len(in_groups(of_pieces([2] * MOST)).order()) == MOST + 1
