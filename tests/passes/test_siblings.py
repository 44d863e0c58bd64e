"""Products of one operand become one product where attention follows."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import network, operators
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, Value, apply, constant_value, input_value
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.shape import Reshape, Transpose
from tensorwright.passes.siblings import join_heads
from tensorwright.tensor.dtype import FLOAT16, FLOAT32, FLOAT64, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of


def heads(x: Value, count: int, size: int, rng: np.random.Generator, *, biased: bool = True) -> Value:
    """Turned heads of a product of x."""
    depth = x.type.shape[-1]
    assert isinstance(depth, int)

    def constant(*shape: int) -> Value:
        return constant_value(weights_of(rng.standard_normal(shape).astype(x.type.dtype.numpy)))

    value = apply(MatMul(), x, constant(depth, count * size))
    value = apply(Binary("add"), value, constant(count * size)) if biased else value
    parted = apply(Reshape((*x.type.shape[:-1], count, size)), value)
    return apply(Transpose((0, 2, 1, 3)), parted)


def given(dtype: DType = FLOAT16) -> Value:
    return input_value("x", TensorType(dtype, (2, 5, 12)))


def unchanged(graph: Graph) -> bool:
    return operators(join_heads(graph)) == operators(graph)


@pytest.mark.parametrize("dtype", [FLOAT16, FLOAT32])
def test_heads_of_one_operand_are_parts_of_one_product(dtype: DType, rng: np.random.Generator) -> None:
    x = given(dtype)
    graph = network(heads(x, 3, 4, rng), heads(x, 2, 4, rng), heads(x, 3, 4, rng))
    joined = join_heads(graph)
    assert operators(joined) == {"MatMul": 1, "Binary": 1, "Reshape": 1, "Slice": 3, "Transpose": 3}
    inputs = {"x": rng.standard_normal((2, 5, 12)).astype(dtype.numpy)}
    expected, found = evaluate_graph(graph, inputs), evaluate_graph(joined, inputs)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_heads_of_other_operands_sizes_and_types_stay(rng: np.random.Generator) -> None:
    x, other = given(), input_value("other", TensorType(FLOAT16, (2, 5, 12)))
    assert unchanged(network(heads(x, 3, 4, rng), heads(other, 3, 4, rng)))
    assert unchanged(network(heads(x, 3, 4, rng), heads(x, 3, 8, rng)))
    wide = given(FLOAT64)
    assert unchanged(network(heads(wide, 3, 4, rng), heads(wide, 3, 4, rng)))


def test_products_without_bias_or_with_other_readers_stay(rng: np.random.Generator) -> None:
    x = given()
    assert unchanged(network(heads(x, 3, 4, rng), heads(x, 3, 4, rng, biased=False)))
    turned = heads(x, 3, 4, rng)
    (parted,) = turned.inputs
    assert unchanged(network(turned, heads(x, 3, 4, rng), parted.inputs[0]))
