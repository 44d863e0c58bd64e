"""Matrix products: transposes, reshapes, scales, and products that share an operand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from graphs import binary, constant, drawn, given, network, only, operators, optimised, unary
from tensorwright.graph.graph import Value, apply
from tensorwright.ops.activation import Gelu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Reshape, Transpose
from tensorwright.tensor.dim import symbol

BATCH = symbol("batch", 1, 2, 4)
LENGTH = symbol("length", 1, 3, 6)
SYMBOLS = {"batch": 2, "length": 5}


def matmul(a: Value, b: Value, *, turned: bool = False, name: str = "") -> Value:
    return apply(MatMul(False, turned), a, b, name=name)


def transposed(x: Value, *order: int) -> Value:
    return apply(Transpose(order), x)


def reshaped(x: Value, *shape) -> Value:
    return apply(Reshape(shape), x)


def test_transposed_operands_become_flags(rng: np.random.Generator):
    a, b = given("a", 4, 3), given("b", 5, 4)
    graph = network(matmul(transposed(a, 1, 0), transposed(b, 1, 0)))
    result = optimised(graph, rng)
    assert operators(result) == {"MatMul": 1}
    assert only(result, MatMul).op.attributes == (("transpose_a", True), ("transpose_b", True))


def test_flags_and_transposes_cancel(rng: np.random.Generator):
    graph = network(matmul(given("a", 2, 3, 4), transposed(given("b", 2, 4, 5), 0, 2, 1), turned=True))
    result = optimised(graph, rng)
    assert operators(result) == {"MatMul": 1}
    assert only(result, MatMul).op.transpose_b is False


def test_constants_are_transposed_now(rng: np.random.Generator):
    graph = network(matmul(given("a", 3, 4), transposed(drawn(rng, 5, 4), 1, 0)))
    assert operators(optimised(graph, rng)) == {"MatMul": 1}


def test_batches_of_a_constant_matrix_stay_tall(rng: np.random.Generator):
    graph = network(matmul(transposed(given("a", 2, 4, 3), 0, 2, 1), drawn(rng, 4, 5)))
    result = optimised(graph, rng)
    assert operators(result) == {"MatMul": 1, "Transpose": 1}


def test_a_transpose_that_also_splits_heads_keeps_rows_together(rng: np.random.Generator):
    q, k = given("q", BATCH, 2, LENGTH, 4), given("k", BATCH, LENGTH, 2, 4)
    graph = network(matmul(q, transposed(k, 0, 2, 3, 1)))
    result = optimised(graph, rng, symbols=SYMBOLS)
    assert only(result, Transpose).op.permutation == (0, 2, 1, 3)
    assert only(result, MatMul).op.transpose_b is True


def test_a_transpose_that_others_read_is_not_made_twice(rng: np.random.Generator):
    k = transposed(given("k", 2, 3, 2, 4), 0, 2, 3, 1)
    graph = network(matmul(given("q", 2, 2, 3, 4), k), k)
    assert operators(optimised(graph, rng)) == {"MatMul": 1, "Transpose": 1}


def test_reshapes_around_a_linear_layer_go(rng: np.random.Generator):
    x = given("x", BATCH, LENGTH, 4)
    rows = reshaped(x, BATCH * LENGTH, 4)
    linear = binary("add", matmul(rows, drawn(rng, 4, 6)), drawn(rng, 6))
    graph = network(reshaped(apply(Gelu(), linear), BATCH, LENGTH, 6))
    assert operators(optimised(graph, rng, symbols=SYMBOLS)) == {"MatMul": 1, "Binary": 1, "Gelu": 1}


def test_a_reshape_of_nothing_may_change_the_number_of_rows(rng: np.random.Generator):
    graph = network(matmul(reshaped(given("x", 2, 3, 0), 1, 0), drawn(rng, 0, 4)))
    assert operators(optimised(graph, rng)) == {"Reshape": 1, "MatMul": 1}


def test_a_reshape_of_columns_stays(rng: np.random.Generator):
    graph = network(matmul(reshaped(given("x", 2, 3, 4), 2, 12), drawn(rng, 12, 5)))
    assert operators(optimised(graph, rng)) == {"Reshape": 1, "MatMul": 1}


@pytest.mark.parametrize("turned", [False, True])
def test_scales_move_into_constant_matrices(turned: bool, rng: np.random.Generator):
    x = binary("mul", given("x", 2, 3, 4), drawn(rng, 4))
    product = matmul(x, drawn(rng, *((5, 4) if turned else (4, 5))), turned=turned)
    graph = network(binary("mul", product, drawn(rng, 5)))
    assert operators(optimised(graph, rng)) == {"MatMul": 1}


def test_scales_of_rows_stay(rng: np.random.Generator):
    x = binary("mul", given("x", 3, 4), drawn(rng, 3, 1))
    graph = network(binary("mul", matmul(x, drawn(rng, 4, 5)), drawn(rng, 3, 1)))
    assert operators(optimised(graph, rng)) == {"Binary": 2, "MatMul": 1}


def test_scales_of_shared_products_stay(rng: np.random.Generator):
    product = matmul(given("x", 3, 4), drawn(rng, 4, 5))
    graph = network(product, binary("mul", product, 0.5))
    assert operators(optimised(graph, rng)) == {"Binary": 1, "MatMul": 1}


def linear(rng: np.random.Generator, x: Value, width: int, name: str = "") -> Value:
    weights = drawn(rng, x.type.shape[-1], width)
    return binary("add", matmul(x, weights, name=name), drawn(rng, width), name=name)


def heads(x: Value, count: int, order: Sequence[int]) -> Value:
    *lead, width = x.type.shape
    return transposed(reshaped(x, *lead, count, width // count), *order)


def attention(rng: np.random.Generator, x: Value, width: int, count: int) -> Value:
    """Self-attention as exporters write it: scaled after the first product."""
    q, k, v = (linear(rng, x, width, name) for name in ("query", "key", "value"))
    scores = matmul(heads(q, count, (0, 2, 1, 3)), heads(k, count, (0, 2, 3, 1)))
    weights = apply(Softmax(3), binary("div", scores, 1.5))
    mixed = transposed(matmul(weights, heads(v, count, (0, 2, 1, 3))), 0, 2, 1, 3)
    return linear(rng, reshaped(mixed, *x.type.shape[:-1], width), width)


def test_the_scale_of_attention_moves_into_weights(rng: np.random.Generator):
    graph = network(attention(rng, given("x", BATCH, LENGTH, 6), 8, 2))
    result = optimised(graph, rng, symbols=SYMBOLS)
    assert operators(result) == {"MatMul": 6, "Binary": 4, "Reshape": 4, "Transpose": 4, "Softmax": 1}


def test_a_number_goes_through_moves_and_sums_to_constants(rng: np.random.Generator):
    x = given("x", 2, 3, 4)
    value = binary("add", matmul(x, drawn(rng, 4, 6)), binary("mul", given("y", 2, 3, 6), drawn(rng, 3, 6)))
    graph = network(binary("mul", heads(value, 2, (0, 2, 1, 3)), 0.25))
    assert operators(optimised(graph, rng)) == {"MatMul": 1, "Binary": 2, "Reshape": 1, "Transpose": 1}


def test_a_number_moves_into_a_convolution_behind_a_reshape(rng: np.random.Generator):
    op = Convolution((1, 1), (0, 0), (0, 0), (1, 1), 1)
    conv = apply(op, given("x", 1, 2, 4, 4), drawn(rng, 3, 2, 2, 2), drawn(rng, 3))
    graph = network(binary("mul", transposed(reshaped(conv, 1, 3, 9), 0, 2, 1), 0.25))
    assert operators(optimised(graph, rng)) == {"Convolution": 1, "Reshape": 1, "Transpose": 1}


def test_a_number_stays_where_a_factor_is_shared_or_an_addend_unknown(rng: np.random.Generator):
    x = given("x", 2, 3)
    product = matmul(x, drawn(rng, 3, 4))
    graph = network(binary("mul", binary("add", product, given("y", 2, 4)), 0.25), binary("mul", x, 2.0))
    assert operators(optimised(graph, rng)) == {"MatMul": 1, "Binary": 3}
    graph = network(binary("mul", reshaped(product, 8), 0.25), unary("exp", product))
    assert operators(optimised(graph, rng))["Binary"] == 1


def test_scales_of_keys_move_to_queries(rng: np.random.Generator):
    """Exporters scale both by the fourth root; keys in a cache are an output, too."""
    x, past = given("x", 2, LENGTH, 12), given("past", 2, 3, 7, 4)
    heads = transposed(reshaped(binary("mul", unary("tanh", x), 0.5), 2, LENGTH, 3, 4), 0, 2, 1, 3)
    keys = transposed(binary("mul", unary("tanh", past), 0.25), 0, 1, 3, 2)
    result = optimised(network(matmul(heads, keys)), rng, symbols=SYMBOLS)
    assert operators(result)["Binary"] == 1
    assert only(result, MatMul).inputs[1].op.name == "Unary"


def test_huge_scales_of_keys_stay(rng: np.random.Generator):
    x, past = binary("mul", given("x", 5, 4), 0.5), binary("mul", given("past", 7, 4), 1e20)
    result = optimised(network(matmul(x, past, turned=True)), rng)
    assert operators(result)["Binary"] == 2


def test_infinite_masks_are_not_scaled(rng: np.random.Generator):
    mask = constant(np.where(np.eye(4) > 0, -np.inf, 0.0)[:2])
    masked = binary("add", matmul(given("x", 2, 3), drawn(rng, 3, 4)), mask)
    graph = network(apply(Softmax(1), binary("mul", masked, 0.5)))
    assert operators(optimised(graph, rng)) == {"MatMul": 1, "Binary": 2, "Softmax": 1}
