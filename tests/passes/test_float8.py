"""Products of tensors that were rounded to numbers of 8 bits: the same numbers, by products of their bytes."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import constant, given, network, operators
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, Value, apply, constant_value
from tensorwright.graph.verify import verify
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.float8 import decoded, encoded
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.narrow import NarrowFloat
from tensorwright.ops.shape import Reshape, Transpose
from tensorwright.passes.float8 import products_of_float8
from tensorwright.tensor.weights import weights_of


def fixed(array: np.ndarray) -> Value:
    return constant_value(weights_of(np.asarray(array, np.float32)), "c")


def rounded(x: Value, scale: float = 0.04, format: str = "float8_e4m3fn", *, saturate: bool = True) -> Value:
    """What QuantizeLinear and DequantizeLinear make of a tensor."""
    narrow = apply(NarrowFloat(format, saturate), apply(Binary("div"), x, fixed(scale)))
    return apply(Binary("mul"), narrow, fixed(scale))


def weights(rng: np.random.Generator, *shape: int, scales: np.ndarray | float = 0.02) -> Value:
    return apply(Binary("mul"), fixed(decoded(encoded(rng.uniform(-20, 20, shape)))), fixed(scales))


def rewritten(output: Value, rng: np.random.Generator) -> Graph:
    """The graph after the pass, which computes the same."""
    before = network(output)
    after = products_of_float8(before)
    verify(after)
    inputs = {n: rng.uniform(-6, 6, [int(d) for d in v.type.shape]).astype(np.float32) for n, v in before.inputs}
    (expected,), (found,) = (list(evaluate_graph(graph, inputs).values()) for graph in (before, after))
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-5 * float(np.abs(expected).max()))
    return after


@pytest.mark.parametrize("saturate", [True, False])
@pytest.mark.parametrize("scales", [0.02, np.linspace(0.01, 0.2, 24)[None]], ids=["one", "several"])
def test_products_with_constants_are_products_of_bytes(saturate, scales, rng):
    left = rounded(given("x", 5, 32), saturate=saturate)
    after = rewritten(apply(MatMul(), left, weights(rng, 32, 24, scales=scales)), rng)
    assert operators(after)["Float8Product"] == 1
    assert "MatMul" not in operators(after)


def test_what_moves_elements_moves_bytes(rng):
    left = apply(Reshape((1, 5, 32)), apply(Transpose((1, 0)), rounded(given("x", 32, 5))))
    right = weights(rng, 24, 32, scales=np.linspace(0.01, 0.2, 24)[:, None])
    for product in (
        apply(MatMul(transpose_b=True), left, right),
        apply(MatMul(), left, apply(Transpose((1, 0)), right)),
    ):
        assert operators(rewritten(product, rng))["Float8Product"] == 1


def test_convolutions_are_those_of_bytes(rng):
    right = weights(rng, 5, 16, 3, 3, scales=rng.uniform(0.01, 0.1, (5, 1, 1, 1)))
    op, bias = Convolution((2, 1), (1, 1), (1, 0), (1, 1)), constant(rng.standard_normal(5))
    after = rewritten(apply(op, rounded(given("x", 2, 16, 7, 6)), right, bias), rng)
    assert operators(after)["Float8Product"] == 1


def test_other_products_stay(rng):
    x = given("x", 5, 32)
    for left, right in (
        (rounded(x, format="float8_e5m2"), weights(rng, 32, 24)),
        (x, weights(rng, 32, 24)),
        (rounded(x), fixed(rng.standard_normal((32, 24)))),
        (rounded(x), weights(rng, 32, 24, scales=np.linspace(0.1, 1, 32)[:, None])),
        (rounded(given("x", 5, 20)), weights(rng, 20, 24)),
        (rounded(x), weights(rng, 32, 21)),
    ):
        assert "Float8Product" not in operators(rewritten(apply(MatMul(), left, right), rng))
