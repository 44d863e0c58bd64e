"""Quantised networks with some of their products in float32."""

from __future__ import annotations

import numpy as np

from graphs import given, network
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, Value, apply, constant_value
from tensorwright.ops.activation import Relu
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.quantization import Dequantize, Quantize
from tensorwright.ops.shape import Transpose
from tensorwright.passes.dequantise import quantised_products, with_products_in_floats
from tensorwright.passes.integers import integer_products
from tensorwright.passes.pipeline import optimise
from tensorwright.tensor.dtype import INT32, UINT8
from tensorwright.tensor.weights import weights_of


def made(rng: np.random.Generator) -> Graph:
    """Two quantised products, the second by turned weights, and one of floats."""

    def known(array: object) -> Value:
        return constant_value(weights_of(np.asarray(array)))

    def activations(x: Value) -> Value:
        steps = known(np.float32(0.05)), known(np.uint8(120))
        return apply(Dequantize(), apply(Quantize(UINT8), x, *steps), *steps)

    def weights() -> Value:
        return apply(Dequantize(), known(rng.integers(-127, 128, (8, 8), np.int8)), known(np.float32(0.01)))

    x = apply(Relu(), apply(MatMul(), activations(given("x", 4, 8)), weights(), name="first"))
    x = apply(MatMul(), activations(x), apply(Transpose((1, 0)), weights()), name="second")
    return network(apply(MatMul(), x, known(rng.standard_normal((8, 8)).astype(np.float32)), name="third"))


def test_finds_quantised_products(rng: np.random.Generator) -> None:
    assert [value.name for value in quantised_products(made(rng))] == ["first", "second"]


def test_only_those_that_are_picked_become_floats(rng: np.random.Generator) -> None:
    graph = made(rng)
    partly = with_products_in_floats(graph, lambda value: value.name == "second")
    integers = optimise(partly, first=(integer_products,)).order()
    assert [value.name for value in integers if isinstance(value.op, MatMul) and value.type.dtype == INT32] == ["first"]
    x = rng.standard_normal((4, 8)).astype(np.float32)
    found, wanted = evaluate_graph(partly, {"x": x}), evaluate_graph(graph, {"x": x})
    np.testing.assert_allclose(found["out0"], wanted["out0"], rtol=1e-5, atol=1e-5)
