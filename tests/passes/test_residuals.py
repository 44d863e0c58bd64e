"""Residual sums move behind transposes."""

from __future__ import annotations

import numpy as np

from graphs import network, operators
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, Value, apply, constant_value, input_value
from tensorwright.ops.activation import Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Transpose
from tensorwright.passes.pipeline import optimise
from tensorwright.passes.residuals import sum_rows
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of


def block(x: Value) -> Value:
    """``x + `` what is computed of its pixels."""
    rows = apply(Softmax(3), apply(Transpose((0, 2, 3, 1)), x))
    return apply(Binary("add"), x, apply(Transpose((0, 3, 1, 2)), rows))


def residuals(rng: np.random.Generator, count: int) -> Graph:
    x = input_value("x", TensorType(FLOAT32, (2, 3, 4, 5)))
    weights = constant_value(weights_of(rng.standard_normal((6, 3, 1, 1), dtype=np.float32)))
    value = apply(Convolution((1, 1), (0, 0), (0, 0), (1, 1)), x, weights)
    for _ in range(count):
        value = block(value)
    return network(value)


def test_transposes_between_blocks_go(rng: np.random.Generator) -> None:
    graph = residuals(rng, 3)
    assert operators(graph)["Transpose"] == 6
    moved = optimise(graph, further=[sum_rows])
    assert operators(moved)["Transpose"] == 2
    inputs = {"x": rng.standard_normal((2, 3, 4, 5), dtype=np.float32)}
    (expected,), (found,) = evaluate_graph(graph, inputs).values(), evaluate_graph(moved, inputs).values()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_sums_of_what_is_no_convolution_stay() -> None:
    x = apply(Relu(), input_value("x", TensorType(FLOAT32, (2, 3, 4, 5))))
    graph = network(block(x))
    assert operators(sum_rows(graph)) == operators(graph)
