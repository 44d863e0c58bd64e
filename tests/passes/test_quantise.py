"""Quantised products: which, in which steps, and how far off."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import constant, given, network, operators
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Value, apply, weights_in
from tensorwright.graph.verify import verify
from tensorwright.ops.activation import Clip, Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.pooling import Pool
from tensorwright.ops.quantization import Quantize
from tensorwright.ops.shape import Pad, Reshape, Transpose
from tensorwright.passes.quantise import quantised
from tensorwright.tensor.range import Range

ROWS, DEPTH, COLUMNS = 6, 24, 10


def product(x: Value, rng: np.random.Generator, *, turned: bool = False) -> Value:
    shape = (COLUMNS, DEPTH) if turned else (DEPTH, COLUMNS)
    return apply(MatMul(transpose_b=turned), x, constant(rng.standard_normal(shape)), name="product")


def steps_of(value: Value) -> float:
    return float(weights_in(value).array.reshape(-1)[0])


def test_results_are_off_by_the_steps(rng):
    x, array = given("x", ROWS, DEPTH), rng.uniform(-3, 3, (ROWS, DEPTH)).astype(np.float32)
    for turned in (False, True):
        graph = network(product(x, rng, turned=turned))
        made = quantised(graph, {x: Range.within(3.0)})
        verify(made.graph)
        assert (len(made.products), made.missing) == (1, ())
        assert operators(made.graph) == {"Quantize": 1, "Dequantize": 2, "MatMul": 1}
        (expected,), (found,) = (list(evaluate_graph(one, {"x": array}).values()) for one in (graph, made.graph))
        off = np.abs(found - expected).max() / np.abs(expected).max()
        assert 0 < off < 0.02


def test_what_is_never_negative_has_twice_the_steps(rng):
    x = given("x", ROWS, DEPTH)
    positive = apply(Relu(), x)
    for value, dtype, scale in ((x, "int8", 2.0 / 127), (positive, "uint8", 2.0 / 255)):
        made = quantised(network(product(value, rng)), {value: Range.within(2.0)}).graph
        (quantise,) = (one for one in made.order() if isinstance(one.op, Quantize))
        assert str(quantise.type.dtype) == dtype
        assert np.isclose(steps_of(quantise.inputs[1]), scale)


@pytest.mark.parametrize(("low", "high", "zero"), [(-1.0, 3.0, 64), (-3.0, 0.0, 255), (-2.0, -1.0, 255)])
def test_uneven_ranges_have_a_zero_point(low, high, zero, rng):
    """The steps lie where the numbers do: errors are as small as those of the whole range allow."""
    x, array = given("x", ROWS, DEPTH), rng.uniform(low, high, (ROWS, DEPTH)).astype(np.float32)
    graph = network(product(x, rng))
    made = quantised(graph, {x: Range(low, high)})
    (quantise,) = (one for one in made.graph.order() if isinstance(one.op, Quantize))
    assert weights_in(quantise.inputs[2]).array == np.uint8(zero)
    assert np.isclose(steps_of(quantise.inputs[1]), (max(high, 0) - low) / 255)
    (expected,), (found,) = (list(evaluate_graph(one, {"x": array}).values()) for one in (graph, made.graph))
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


@pytest.mark.parametrize("range", [Range(0.0, 1e-45), Range(-1e-45, 1e-45), Range(-1e-44, 1e-45), Range(-0.0, 0.0)])
def test_steps_are_never_zero(range, rng):
    x = given("x", ROWS, DEPTH)
    graph = quantised(network(product(x, rng)), {x: range}).graph
    (quantise,) = (one for one in graph.order() if isinstance(one.op, Quantize))
    assert steps_of(quantise.inputs[1]) >= np.finfo(np.float32).tiny


def test_images_keep_zero_at_zero(rng):
    """What lies around them is 0 in integers, too."""
    image = given("x", 1, 4, 5, 5)
    same = Convolution((1, 1), (1, 1), (1, 1), (1, 1))
    graph = network(apply(same, image, constant(rng.standard_normal((8, 4, 3, 3)))))
    (quantise,) = (
        one for one in quantised(graph, {image: Range(-1.0, 3.0)}).graph.order() if isinstance(one.op, Quantize)
    )
    assert str(quantise.type.dtype) == "int8"
    assert len(quantise.inputs) == 2


@pytest.mark.parametrize(
    ("op", "dtype"),
    [(Clip(0.0, 6.0), "uint8"), (Clip(0.5, None), "uint8"), (Clip(-1.0, 6.0), "int8"), (Clip(None, 6.0), "int8")],
    ids=repr,
)
@pytest.mark.parametrize(
    "mover", [Pad((0, 0, 1, 1), (0, 0, 1, 1)), Pool("max", (2, 2), (1, 1), (0, 0), (0, 0), (1, 1))], ids=["pad", "pool"]
)
def test_limits_say_what_is_negative_behind_moves_too(op, dtype, mover, rng):
    image = apply(mover, apply(op, given("x", 1, 4, 6, 6)))
    kernel = constant(rng.standard_normal((5, 4, 3, 3)))
    graph = network(apply(Convolution((1, 1), (0, 0), (0, 0), (1, 1)), image, kernel))
    (quantise,) = (
        one for one in quantised(graph, {image: Range.within(2.0)}).graph.order() if isinstance(one.op, Quantize)
    )
    assert str(quantise.type.dtype) == dtype


def test_padding_with_what_is_negative(rng):
    image = apply(Pad((0, 0, 1, 1), (0, 0, 1, 1), value=-1.0), apply(Relu(), given("x", 1, 4, 6, 6)))
    graph = network(apply(Convolution((1, 1), (0, 0), (0, 0), (1, 1)), image, constant(np.ones((5, 4, 3, 3)))))
    (quantise,) = (
        one for one in quantised(graph, {image: Range.within(2.0)}).graph.order() if isinstance(one.op, Quantize)
    )
    assert str(quantise.type.dtype) == "int8"


def test_ranges_hold_for_the_same_elements_in_another_order(rng):
    x = given("x", DEPTH, ROWS)
    moved = apply(Reshape((1, ROWS, DEPTH)), apply(Transpose((1, 0)), x))
    assert len(quantised(network(product(moved, rng)), {x: Range.within(1.0)}).products) == 1


def test_products_without_ranges_are_told(rng):
    x = given("x", ROWS, DEPTH)
    value = product(x, rng)
    made = quantised(network(value), {})
    assert (len(made.products), made.missing) == (0, (value,))
    assert made.graph == network(value)


def test_products_of_two_activations_stay(rng):
    x, y = given("x", ROWS, DEPTH), given("y", DEPTH, COLUMNS)
    made = quantised(network(apply(MatMul(), x, y)), {x: Range.within(1.0), y: Range.within(1.0)})
    assert (len(made.products), made.missing) == (0, ())


def test_users_of_one_tensor_share_its_integers(rng):
    x = given("x", ROWS, DEPTH)
    made = quantised(network(product(x, rng), product(x, rng)), {x: Range.within(1.0)})
    assert len(made.products) == 2
    assert operators(made.graph)["Quantize"] == 1


def test_columns_of_zeros_and_a_range_of_zero(rng):
    x = given("x", ROWS, DEPTH)
    made = quantised(network(apply(MatMul(), x, constant(np.zeros((DEPTH, COLUMNS))))), {x: Range.within(0.0)}).graph
    (found,) = evaluate_graph(made, {"x": np.zeros((ROWS, DEPTH), np.float32)}).values()
    assert np.array_equal(found, np.zeros((ROWS, COLUMNS)))


def test_convolutions_have_a_scale_for_each_output_channel(rng):
    x, array = given("x", 2, 8, 6, 5), rng.uniform(-3, 3, (2, 8, 6, 5)).astype(np.float32)
    kernel, bias = constant(rng.standard_normal((5, 8, 3, 3))), constant(rng.standard_normal(5))
    graph = network(apply(Convolution((1, 1), (1, 1), (1, 1), (1, 1)), x, kernel, bias))
    made = quantised(graph, {x: Range.within(3.0)})
    assert operators(made.graph) == {"Quantize": 1, "Dequantize": 2, "Convolution": 1}
    (expected,), (found,) = (list(evaluate_graph(one, {"x": array}).values()) for one in (graph, made.graph))
    assert 0 < np.abs(found - expected).max() / np.abs(expected).max() < 0.02
    (right,) = (one.inputs[1] for one in made.graph.order() if one.op.name == "Convolution")
    assert right.inputs[1].type.shape == (5, 1, 1, 1)


def test_what_cannot_be_computed_in_integers_is_not_quantised(rng):
    x, y = given("x", 2, 4, 6, 5), given("y", 4, 7)
    first = apply(Convolution((1, 1), (0, 0), (0, 0), (1, 1), 2), x, constant(rng.standard_normal((4, 2, 3, 3))))
    second = apply(MatMul(), y, constant(rng.standard_normal((7, 5))))
    made = quantised(network(first, second), {x: Range.within(1.0), y: Range.within(1.0)})
    assert (len(made.products), made.missing) == (0, ())
