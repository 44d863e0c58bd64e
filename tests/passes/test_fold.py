"""Constant folding and common subexpressions."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import assert_equivalent, binary, constant, drawn, given, network, operators, optimised, unary
from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import ConstantTensor, apply, is_constant, weights_in
from tensorwright.ops.elementwise import Cast
from tensorwright.ops.indexing import Gather
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import DimensionTensor, Expand, Slice, Transpose
from tensorwright.passes.cse import merge_common
from tensorwright.passes.fold import fold_constants
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import FLOAT16, FLOAT32, INT8, INT32, INT64, UINT8, DType


def test_operators_of_constants_are_computed(rng: np.random.Generator):
    x = given("x", 3, 4)
    weights = apply(Transpose((1, 0)), unary("exp", drawn(rng, 4, 3)))
    graph = network(binary("mul", x, weights))
    folded = fold_constants(graph)
    assert operators(folded) == {"Binary": 1}
    assert_equivalent(graph, folded, rng)


def test_folding_rounds_to_the_type_after_every_operator():
    third = binary("div", constant(1.0), constant(3.0))
    ((_, value),) = fold_constants(network(binary("mul", third, constant(3.0)))).outputs
    assert is_constant(value)
    assert weights_in(value).array == np.float32(np.float64(np.float32(1 / 3)) * 3)


def test_casts_and_integers_fold_exactly():
    large = constant(2**53 + 1, INT64)
    ((_, value),) = fold_constants(network(binary("add", large, constant(1, INT64)))).outputs
    assert weights_in(value).array == 2**53 + 2
    ((_, value),) = fold_constants(network(apply(Cast(INT32), constant(-1.7)))).outputs
    assert weights_in(value).array == -1
    ((_, value),) = fold_constants(network(apply(Cast(FLOAT16), constant(1e9)))).outputs
    assert np.isinf(weights_in(value).array)


@pytest.mark.parametrize(("dtype", "least"), [(INT8, -128), (UINT8, 0)])
def test_integers_are_divided_toward_zero_the_least_one_too(dtype: DType, least: int):
    every = np.arange(least, least + 256)
    quotient = binary("div", constant(every[:, None], dtype), constant(every[every != 0], dtype))
    ((_, value),) = fold_constants(network(quotient)).outputs
    exact = np.trunc(every[:, None] / every[every != 0]).astype(np.int64)
    assert np.array_equal(weights_in(value).array, exact.astype(dtype.numpy))


@pytest.mark.parametrize("index", [3, -4])
def test_constant_indices_outside_of_a_constant_are_refused(index: int):
    graph = network(apply(Gather(0), constant([1.0, 2.0, 3.0]), constant(index, INT64), name="picked"))
    with pytest.raises(NetworkError, match=r"'picked' \(Gather\): index -?\d .* inside of their axis"):
        fold_constants(graph)


def test_large_results_of_small_constants_stay_computations(rng: np.random.Generator):
    wide = apply(Expand((1024, 1024)), constant(1.5))
    graph = network(binary("add", given("x", 1024, 1024), wide))
    assert operators(fold_constants(graph)) == {"Expand": 1, "Binary": 1}


def test_large_intermediate_results_are_no_obstacle():
    total = apply(Reduction("add", (0, 1), keep_dims=False), apply(Expand((1024, 1024)), constant(0.5)))
    ((_, value),) = fold_constants(network(total)).outputs
    assert weights_in(value).array == 2.0**19


def test_symbols_are_not_folded():
    batch = symbol("batch", 1, 2, 4)
    part = apply(Slice((batch - 1,), (1,), (1,)), constant(np.arange(5)))
    graph = network(part, apply(DimensionTensor((batch,))))
    assert operators(fold_constants(graph)) == {"Slice": 1, "DimensionTensor": 1}
    assert operators(fold_constants(network(apply(DimensionTensor((3, 4)))))) == {}


def test_equal_expressions_are_computed_once(rng: np.random.Generator):
    x, y = given("x", 3), given("y", 3)
    first, second = binary("add", x, y), binary("add", y, x)
    graph = network(unary("exp", first), unary("exp", second), binary("sub", x, y), binary("sub", y, x))
    merged = merge_common(graph)
    assert operators(merged) == {"Binary": 3, "Unary": 1}
    assert merged.outputs[0][1] is merged.outputs[1][1]
    assert_equivalent(graph, merged, rng)


def test_equal_constants_are_one_and_different_ones_are_not(rng: np.random.Generator):
    array = rng.uniform(-2, 2, (3,))
    x = given("x", 3)
    same = [binary("max", x, constant(array, name=f"c{n}")) for n in range(2)]
    other = binary("max", x, constant(array + 1))
    graph = network(*same, other)
    merged = merge_common(graph)
    assert operators(merged) == {"Binary": 2}
    assert sum(isinstance(value.op, ConstantTensor) for value in merged.order()) == 2
    assert_equivalent(graph, merged, rng)


def test_equal_numbers_of_other_types_or_attributes_are_apart():
    x = given("x", 4, 4)
    graph = network(
        apply(Reduction("add", (0,), keep_dims=True), x),
        apply(Reduction("mul", (0,), keep_dims=True), x),
        apply(Cast(FLOAT16), x),
        apply(Cast(INT32), x),
    )
    assert operators(merge_common(graph)) == {"Reduction": 2, "Cast": 2}


def test_inputs_of_one_type_stay_apart(rng: np.random.Generator):
    graph = network(given("x", 3), given("y", 3))
    assert optimised(graph, rng).inputs == graph.inputs


def test_unused_layers_vanish_and_unused_inputs_stay(rng: np.random.Generator):
    x, unused = given("x", 3), given("unused", 2)
    graph = network(unary("exp", x), unused)
    graph = type(graph)(graph.inputs, graph.outputs[:1])
    unary("log", x)
    result = optimised(graph, rng)
    assert operators(result) == {"Unary": 1}
    assert [name for name, _ in result.inputs] == ["x", "unused"]


def test_outputs_are_never_removed(rng: np.random.Generator):
    x = given("x", 3, dtype=FLOAT32)
    inner = binary("add", x, 0.0)
    graph = network(inner, unary("exp", inner), unary("exp", x), constant([1.0, 2.0]), x)
    result = optimised(graph, rng)
    assert [name for name, _ in result.outputs] == ["out0", "out1", "out2", "out3", "out4"]
