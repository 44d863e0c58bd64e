"""Constants that are others, transposed."""

from __future__ import annotations

import numpy as np

from graphs import constant, given, network, only, operators, optimised
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.ops.indexing import Gather
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.shape import Transpose
from tensorwright.passes.tied import tie_transposed
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import INT64

SYMBOLS = {"length": 5}
LENGTH = symbol("length", 1, 1, 8)
ROWS, WIDTH = 3000, 40


def tied(table: Value, factor: Value, *, turned: bool = False) -> Graph:
    """A language model of one product: its tokens' rows in a table, times the table."""
    rows = apply(Gather(0), table, given("tokens", LENGTH, dtype=INT64))
    return network(apply(MatMul(False, turned), rows, factor))


def test_transposed_copies_become_the_table(rng: np.random.Generator):
    array = rng.uniform(-1, 1, (ROWS, WIDTH))
    table = constant(array)
    for factor in (constant(array.T), apply(Transpose((1, 0)), table)):
        result = optimised(tied(table, factor), rng, symbols=SYMBOLS)
        assert operators(result) == {"Gather": 1, "MatMul": 1}
        product = only(result, MatMul)
        assert product.op.transpose_b
        assert product.inputs[1] is only(result, Gather).inputs[0]


def test_other_constants_stay(rng: np.random.Generator):
    array = rng.uniform(-1, 1, (ROWS, WIDTH))
    changed = array.T.copy()
    changed[-1, -1] += 1
    alone = network(apply(MatMul(), given("x", 3, WIDTH), constant(array.T)))
    for graph in (tied(constant(array), constant(changed)), alone):
        assert tie_transposed(graph).outputs == graph.outputs


def test_plans_hold_tied_weights_once(rng: np.random.Generator):
    array = rng.uniform(-1, 1, (ROWS, WIDTH)).astype(np.float32)
    for level in (0, 1):
        for factor, turned in ((constant(array.T), False), (constant(array), True)):
            graph = tied(constant(array), factor, turned=turned)
            plan = build(graph, BuildConfig(level=level, threads=2, timing_cache="", check_plan=True))
            assert len(plan.weights) < 1.1 * array.nbytes
            with Engine(plan) as engine:
                for length in (1, 3, 8):
                    tokens = rng.integers(-ROWS, ROWS, length)
                    found = engine(tokens)["out0"]
                    np.testing.assert_allclose(found, array[tokens] @ array.T, rtol=0, atol=1e-4)
