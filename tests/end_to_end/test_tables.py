"""Plans say which of their weights an inference reads only here and there."""

from __future__ import annotations

import numpy as np

from graphs import constant, drawn, given, network
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Graph, apply
from tensorwright.ops.indexing import Gather
from tensorwright.ops.matmul import MatMul
from tensorwright.plan.plan import Plan
from tensorwright.tensor.dtype import INT64

ROWS, WIDTH = 100, 24


def built(graph: Graph) -> Plan:
    return build(graph, BuildConfig(threads=1, level=0))


def parts(plan: Plan) -> list[np.ndarray]:
    weights = np.frombuffer(plan.weights, np.uint8)
    return [weights[offset : offset + size].view(np.float32) for offset, size in plan.tables]


def test_the_rows_of_an_embedding_are_a_table_and_a_product_is_none(rng):
    table, weights = rng.standard_normal((ROWS, WIDTH), np.float32), drawn(rng, WIDTH, 8)
    embedded = apply(Gather(0), constant(table), given("tokens", 5, dtype=INT64))
    (found,) = parts(built(network(apply(MatMul(), embedded, weights))))
    np.testing.assert_array_equal(found, table.reshape(-1))


def test_what_is_also_read_whole_is_no_table(rng):
    weights = drawn(rng, ROWS, WIDTH)
    embedded = apply(Gather(0), weights, given("tokens", 5, dtype=INT64))
    plan = built(network(embedded, apply(MatMul(), given("x", 3, ROWS), weights)))
    for found in parts(plan):  # The product may have a copy of its own, packed.
        np.testing.assert_array_equal(found, weights.op.weights.array.reshape(-1))
    assert sum(size for _, size in plan.tables) < plan.weights.nbytes


def test_fixed_indices_of_data_are_no_table(rng):
    positions = constant(np.array([3, 1]), INT64)
    assert built(network(apply(Gather(0), given("x", 5, WIDTH), positions))).tables == ()
