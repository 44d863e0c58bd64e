"""The evaluation of graphs by reference."""

from __future__ import annotations

import numpy as np
import pytest

from tensorwright.base.errors import NetworkError
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, apply, constant_value, input_value
from tensorwright.ops.elementwise import Binary, Unary
from tensorwright.ops.shape import DimensionTensor, Reshape
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import FLOAT16, FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

BATCH = symbol("batch", 1, 2, 8)


def graph_of_square() -> Graph:
    x = input_value("x", TensorType(FLOAT32, (BATCH, 3)))
    shift = constant_value(weights_of(np.float32([1, 2, 3])))
    y = apply(Binary("add"), apply(Binary("mul"), x, x), shift)
    flat = apply(Reshape((BATCH * 3,)), y)
    return Graph((("x", x),), (("flat", flat), ("rows", apply(DimensionTensor((BATCH,))))))


def test_symbols_come_from_the_inputs(rng: np.random.Generator) -> None:
    x = rng.standard_normal((5, 3)).astype(np.float32)
    outputs = evaluate_graph(graph_of_square(), {"x": x})
    expected = (x.astype(np.float64) ** 2).astype(np.float32) + np.float32([1, 2, 3])
    np.testing.assert_allclose(outputs["flat"], expected.reshape(-1), rtol=1e-6)
    assert outputs["flat"].dtype == np.float32
    assert outputs["rows"].tolist() == [5]


def test_results_are_rounded_to_the_inferred_type() -> None:
    x = input_value("x", TensorType(FLOAT16, (1,)))
    graph = Graph((("x", x),), (("y", apply(Unary("exp"), x)),))
    outputs = evaluate_graph(graph, {"x": np.float16([1.5])})
    assert outputs["y"].dtype == np.float16
    assert outputs["y"][0] == np.float16(np.exp(1.5))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'x' is missing"),
        ({"x": np.zeros((2, 3))}, "expected float32"),
        ({"x": np.zeros((2, 4), np.float32)}, r"expected shape \(2, 3\)"),
        ({"x": np.zeros(3, np.float32)}, "found float32"),
    ],
)
def test_inputs_that_do_not_fit_are_named(inputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        evaluate_graph(graph_of_square(), inputs)


def test_a_symbol_without_a_value_is_named() -> None:
    value = apply(DimensionTensor((BATCH * 2,)))
    graph = Graph((), (("y", apply(Reshape((1, 1)), value)),))
    hidden = Graph((), (("y", apply(Reshape((BATCH, 1)), apply(Reshape((BATCH,)), _ramp()))),))
    assert evaluate_graph(graph, {}, {"batch": 3})["y"].tolist() == [[6]]
    with pytest.raises(NetworkError, match="dimension 'batch' has no value"):
        evaluate_graph(hidden, {})


def _ramp():
    from tensorwright.ops.shape import Expand

    return apply(Expand((BATCH,)), constant_value(weights_of(np.float32([1]))))
