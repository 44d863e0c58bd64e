"""Moves of elements: sunk, cancelled, dropped."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import binary, constant, drawn, given, network, only, operators, optimised, unary
from tensorwright.graph.graph import Value, apply
from tensorwright.ops.activation import Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.indexing import Gather
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Concatenation, Pad, Reshape, Slice, Transpose
from tensorwright.passes.pipeline import optimise
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import INT64

BATCH = symbol("batch", 1, 2, 4)
SYMBOLS = {"batch": 3}
X = given("x", BATCH, 4, 5, 6)
TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def transposed(x: Value, *order: int) -> Value:
    return apply(Transpose(order), x)


def reshaped(x: Value, *shape) -> Value:
    return apply(Reshape(shape), x)


def joined(axis: int, *parts: Value) -> Value:
    return apply(Concatenation(axis), *parts)


def cut(x: Value, axis: int, start, extent, step: int = 1) -> Value:
    rank = x.type.rank
    return apply(
        Slice(
            tuple(start if a == axis else 0 for a in range(rank)),
            tuple(extent if a == axis else n for a, n in enumerate(x.type.shape)),
            tuple(step if a == axis else 1 for a in range(rank)),
        ),
        x,
    )


def reduced(x: Value, function: str, *axes: int, keep: bool = True) -> Value:
    return apply(Reduction(function, axes, keep), x)


def test_transposes_cancel_across_elementwise_operators(rng: np.random.Generator):
    inner = apply(Relu(), binary("add", transposed(X, *TO_LAST), drawn(rng, 4)))
    inner = binary("mul", inner, drawn(rng, 5, 1, 4))
    graph = network(transposed(binary("mul", inner, 0.5), *TO_FIRST))
    assert operators(optimised(graph, rng, symbols=SYMBOLS)) == {"Relu": 1, "Binary": 2}


def test_transposes_of_both_operands_become_one(rng: np.random.Generator):
    y = given("y", BATCH, 4, 5, 6)
    graph = network(binary("sub", transposed(X, *TO_LAST), transposed(y, *TO_LAST)))
    assert operators(optimised(graph, rng, symbols=SYMBOLS)) == {"Binary": 1, "Transpose": 1}


def test_a_square_of_a_transpose(rng: np.random.Generator):
    turned = transposed(X, *TO_LAST)
    graph = network(transposed(binary("mul", turned, turned), *TO_FIRST))
    assert operators(optimised(graph, rng, symbols=SYMBOLS)) == {"Binary": 1}


def test_transposes_of_one_operand_stay(rng: np.random.Generator):
    y = given("y", BATCH, 5, 6, 4)
    graph = network(binary("sub", transposed(X, *TO_LAST), y))
    result = optimised(graph, rng, symbols=SYMBOLS)
    assert result.outputs[0][1].op.name == "Binary"
    y = given("y", BATCH, 4, 6, 5)
    graph = network(binary("sub", transposed(X, *TO_LAST), transposed(y, 0, 3, 2, 1)))
    assert operators(optimised(graph, rng, symbols=SYMBOLS))["Transpose"] == 2


def test_a_transpose_that_others_read_stays(rng: np.random.Generator):
    turned = transposed(X, *TO_LAST)
    graph = network(turned, transposed(unary("exp", turned), *TO_FIRST))
    assert operators(optimised(graph, rng, symbols=SYMBOLS))["Unary"] == 1


def test_a_network_with_channels_last_keeps_no_transpose(rng: np.random.Generator):
    """As converters write it: a transpose to the channels in front of, and back after, every convolution."""
    op = Convolution((1, 1), (1, 1), (1, 1), (1, 1), 1)

    def layer(x: Value) -> Value:
        conv = apply(op, transposed(x, *TO_FIRST), drawn(rng, 4, 4, 3, 3))
        return apply(Relu(), binary("add", transposed(conv, *TO_LAST), drawn(rng, 4)))

    x = layer(given("x", BATCH, 5, 6, 4))
    x = joined(3, binary("add", x, layer(x)), x)
    graph = network(reduced(x, "mean", 1, 2, keep=False))
    result = optimised(graph, rng, symbols=SYMBOLS)
    assert operators(result)["Transpose"] == 1
    assert only(result, Transpose).inputs[0] is result.inputs[0][1]


def test_transposes_pass_reductions(rng: np.random.Generator):
    turned = transposed(X, *TO_LAST)
    graph = network(reduced(turned, "mean", 1, 2, keep=False))
    assert operators(optimised(graph, rng, symbols=SYMBOLS)) == {"Reduction": 1}
    graph = network(reduced(turned, "max", 1, 2, keep=True))
    assert operators(optimised(graph, rng, symbols=SYMBOLS)) == {"Reduction": 1, "Reshape": 1}
    graph = network(reduced(turned, "add", 1, keep=False))
    assert operators(optimised(graph, rng, symbols=SYMBOLS)) == {"Reduction": 1, "Transpose": 1}


def test_reductions_of_a_shared_transpose_need_it_no_more(rng: np.random.Generator):
    turned = transposed(unary("exp", X), *TO_LAST)
    scale = transposed(unary("tanh", transposed(reduced(turned, "mean", 1, 2), *TO_FIRST)), *TO_LAST)
    graph = network(transposed(binary("mul", turned, scale), *TO_FIRST))
    assert operators(optimised(graph, rng, symbols=SYMBOLS)) == {"Unary": 2, "Reduction": 1, "Binary": 1}


def test_transposes_pass_pads_and_slices(rng: np.random.Generator):
    turned = transposed(X, *TO_LAST)
    for op in (
        Pad((0, 1, 0, 2), (0, 0, 3, 0), "constant", 0.5),
        Pad((0, 1, 2, 0), (0, 1, 1, 0), "reflect"),
        Slice((0, 1, 2, 3), (BATCH, 2, 3, 2), (1, 2, 1, -2)),
    ):
        graph = network(transposed(apply(op, turned), *TO_FIRST))
        assert operators(optimised(graph, rng, symbols=SYMBOLS)) == {op.name: 1}


def test_transposes_pass_concatenations(rng: np.random.Generator):
    y = given("y", BATCH, 3, 5, 6)
    graph = network(transposed(joined(3, transposed(X, *TO_LAST), transposed(y, *TO_LAST)), *TO_FIRST))
    assert operators(optimised(graph, rng, symbols=SYMBOLS)) == {"Concatenation": 1}


def test_functions_come_before_reshapes(rng: np.random.Generator):
    flat = apply(Relu(), binary("mul", reshaped(X, BATCH, 120), 0.5))
    result = optimised(network(flat), rng, symbols=SYMBOLS)
    assert result.outputs[0][1].op.name == "Reshape"
    rows = binary("add", reshaped(X, BATCH * 20, 6), drawn(rng, 1, 6))
    result = optimised(network(rows), rng, symbols=SYMBOLS)
    assert result.outputs[0][1].op.name == "Reshape"
    other = given("y", BATCH, 4, 5, 6)
    both = binary("add", reshaped(X, BATCH * 20, 6), reshaped(other, BATCH * 20, 6))
    result = optimised(network(both), rng, symbols=SYMBOLS)
    assert operators(result) == {"Reshape": 1, "Binary": 1}


def test_constants_that_a_reshape_would_tear_stay(rng: np.random.Generator):
    for value in (
        binary("add", reshaped(given("x", 2, 12), 2, 3, 4), drawn(rng, 4)),
        binary("add", reshaped(given("x", 2, 3, 4), 6, 4), drawn(rng, 6, 1)),
        binary("add", reshaped(given("x", 4), 1, 4), drawn(rng, 3, 1)),
    ):
        assert optimised(network(value), rng).outputs[0][1].op.name == "Binary"


def test_reductions_in_a_row_are_one(rng: np.random.Generator):
    for value in (
        reduced(reduced(X, "mean", 3), "mean", 2),
        reduced(reduced(X, "mean", 2, keep=False), "mean", 2, keep=False),
        reduced(reduced(X, "max", 3, keep=False), "max", 1, keep=False),
        reshaped(reduced(X, "mean", 2, 3), BATCH, 4),
    ):
        assert operators(optimised(network(value), rng, symbols=SYMBOLS)) == {"Reduction": 1}
    mixed = reduced(reduced(X, "mean", 2, keep=False), "mean", 1)
    assert operators(optimised(network(mixed), rng, symbols=SYMBOLS)) == {"Reduction": 1, "Reshape": 1}


def test_other_reductions_in_a_row_stay(rng: np.random.Generator):
    for value in (
        reduced(reduced(X, "mean", 3), "max", 2),
        reduced(reduced(X, "l1", 3), "sum_square", 2),
        reduced(reduced(given("x", 4, 5, 6, dtype=INT64), "mean", 2), "mean", 1),
    ):
        assert operators(optimised(network(value), rng, symbols=SYMBOLS)) == {"Reduction": 2}


def test_reductions_of_nothing_are_reshapes(rng: np.random.Generator):
    graph = network(reduced(given("x", 3, 1, 4), "mean", 1, keep=False))
    assert operators(optimised(graph, rng)) == {"Reshape": 1}
    graph = network(reduced(given("x", 3, 1, 4), "sum_square", 1, keep=False))
    assert operators(optimised(graph, rng)) == {"Reduction": 1}


@pytest.mark.parametrize("mode", ["average", "max"])
def test_global_pools_are_reductions(mode: str, rng: np.random.Generator):
    pool = apply(Pool(mode, (5, 6), (1, 1), (0, 0), (0, 0), (1, 1)), X)
    result = optimised(network(reshaped(pool, BATCH, 4)), rng, symbols=SYMBOLS)
    assert operators(result) == {"Reduction": 1}
    assert only(result, Reduction).op.keep_dims is False


def test_other_pools_stay(rng: np.random.Generator):
    for op in (
        Pool("average", (5, 5), (1, 1), (0, 0), (0, 0), (1, 1)),
        Pool("average", (5, 6), (9, 9), (1, 1), (0, 0), (1, 1)),
        Pool("lp", (5, 6), (1, 1), (0, 0), (0, 0), (1, 1)),
    ):
        assert operators(optimised(network(apply(op, X)), rng, symbols=SYMBOLS)) == {"Pool": 1}


def test_concatenations(rng: np.random.Generator):
    y, z = given("y", BATCH, 3, 5, 6), given("z", BATCH, 0, 5, 6)
    assert operators(optimised(network(joined(1, X)), rng, symbols=SYMBOLS)) == {}
    assert operators(optimised(network(joined(1, X, z)), rng, symbols=SYMBOLS)) == {}
    nested = network(joined(1, joined(1, X, y), X, joined(1, y, y)))
    result = optimised(nested, rng, symbols=SYMBOLS)
    assert operators(result) == {"Concatenation": 1}
    assert len(only(result, Concatenation).inputs) == 5
    shared = joined(1, X, y)
    graph = network(shared, joined(1, shared, y))
    assert operators(optimised(graph, rng, symbols=SYMBOLS)) == {"Concatenation": 2}
    across = network(joined(2, joined(1, X, y), joined(1, y, X)))
    assert operators(optimised(across, rng, symbols=SYMBOLS)) == {"Concatenation": 3}


def test_slices_of_concatenations(rng: np.random.Generator):
    y = given("y", BATCH, 3, 5, 6)
    whole = joined(1, X, y)
    assert operators(optimised(network(cut(whole, 1, 0, 4)), rng, symbols=SYMBOLS)) == {}
    assert operators(optimised(network(cut(whole, 1, 4, 3)), rng, symbols=SYMBOLS)) == {}
    assert operators(optimised(network(cut(whole, 1, 5, 2)), rng, symbols=SYMBOLS)) == {"Slice": 1}
    across = network(cut(whole, 1, 3, 2))
    assert operators(optimised(across, rng, symbols=SYMBOLS)) == {"Slice": 1, "Concatenation": 1}
    batches = joined(0, X, given("w", 2, 4, 5, 6))
    assert operators(optimised(network(cut(batches, 0, BATCH, 2)), rng, symbols=SYMBOLS)) == {}


def test_parts_put_together_again(rng: np.random.Generator):
    graph = network(joined(1, cut(X, 1, 0, 1), cut(X, 1, 1, 2), cut(X, 1, 3, 1)))
    assert operators(optimised(graph, rng, symbols=SYMBOLS)) == {}
    graph = network(joined(1, cut(X, 1, 2, 2), cut(X, 1, 0, 2)))
    assert operators(optimised(graph, rng, symbols=SYMBOLS)) == {"Slice": 2, "Concatenation": 1}


@pytest.mark.parametrize(
    ("indices", "left"),
    [
        (0, {"Slice": 1, "Reshape": 1}),
        (-1, {"Slice": 1, "Reshape": 1}),
        ([1, 2], {"Slice": 1}),
        ([3, 1], {"Slice": 1}),
        ([-1, -2, -3], {"Slice": 1}),
        ([0, 1, 2, 3], {}),
        ([0, 1, 3], {"Gather": 1}),
        ([1, 1], {"Gather": 1}),
        ([0, -1], {"Gather": 1}),
        ([[0, 1], [1, 2]], {"Gather": 1}),
    ],
)
def test_gathers_of_ranges_are_slices(indices, left: dict[str, int], rng: np.random.Generator):
    graph = network(apply(Gather(1), X, constant(indices, INT64)))
    assert operators(optimised(graph, rng, symbols=SYMBOLS)) == left


@pytest.mark.parametrize("index", [2, -3])
def test_gathers_that_some_extents_do_not_have_stay(index: int):
    x = given("x", symbol("n", 2, 4, 8))
    assert operators(optimise(network(apply(Gather(0), x, constant(index, INT64))))) == {"Gather": 1}
    assert "Gather" not in operators(optimise(network(apply(Gather(0), x, constant(index // 2, INT64)))))


def test_the_first_token_of_a_symbolic_sequence(rng: np.random.Generator):
    length = symbol("length", 1, 3, 6)
    x = given("x", BATCH, length, 4)
    graph = network(apply(Gather(1), x, constant(-1, INT64)))
    result = optimised(graph, rng, symbols={"batch": 2, "length": 5})
    assert operators(result) == {"Slice": 1, "Reshape": 1}
