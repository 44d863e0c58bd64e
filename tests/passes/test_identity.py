"""Operators that change nothing."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import assert_equivalent, binary, constant, given, network, only, operators, unary
from tensorwright.graph.graph import Value, apply
from tensorwright.ops.activation import PRelu
from tensorwright.ops.elementwise import Cast, Identity, Select
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.shape import Expand, Pad, Reshape, Slice, Tile, Transpose
from tensorwright.passes.identity import remove_identities
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BFLOAT16, BOOL, FLOAT16, FLOAT32, FLOAT64, INT8, INT32, INT64, UINT8

BATCH = symbol("batch", 1, 2, 4)
X = given("x", 2, 3, 4)
BATCHED = given("x", BATCH, 3, 4)


def crop(x: Value, starts: tuple[int, ...], extents: tuple[int, ...], steps: tuple[int, ...]) -> Value:
    return apply(Slice(starts, extents, steps), x)


NOTHING = {
    "identity": apply(Identity(), apply(Identity(), X)),
    "cast": apply(Cast(FLOAT32), X),
    "cast-and-back": apply(Cast(FLOAT32), apply(Cast(FLOAT64), X)),
    "reshape": apply(Reshape((2, 3, 4)), X),
    "reshape-and-back": apply(Reshape((2, 3, 4)), apply(Reshape((4, 6)), X)),
    "reshape-symbolic": apply(Reshape((BATCH, 3, 4)), apply(Reshape((BATCH * 3, 4)), BATCHED)),
    "transpose": apply(Transpose((0, 1, 2)), X),
    "transpose-and-back": apply(Transpose((1, 2, 0)), apply(Transpose((2, 0, 1)), X)),
    "slice": crop(X, (0, 0, 0), (2, 3, 4), (1, 1, 1)),
    "slice-symbolic": apply(Slice((0, 0, 0), (BATCH, 3, 4), (1, 1, 1)), BATCHED),
    "reverse-twice": crop(crop(X, (0, 2, 0), (2, 3, 4), (1, -1, 1)), (0, 2, 0), (2, 3, 4), (1, -1, 1)),
    "pad": apply(Pad((0, 0, 0), (0, 0, 0)), X),
    "expand": apply(Expand((1, 4)), X),
    "tile": apply(Tile((1, 1, 1)), X),
}


@pytest.mark.parametrize("value", NOTHING.values(), ids=NOTHING.keys())
def test_nothing_is_left(value: Value, rng: np.random.Generator):
    graph = network(value)
    result = remove_identities(graph)
    assert operators(result) == {}
    assert_equivalent(graph, result, rng, {"batch": 3})


MERGED = {
    "reshapes": (apply(Reshape((24,)), apply(Reshape((6, 4)), X)), {"Reshape": 1}),
    "transposes": (apply(Transpose((0, 2, 1)), apply(Transpose((2, 0, 1)), X)), {"Transpose": 1}),
    "transpose-of-ones": (apply(Transpose((2, 0, 1)), given("x", 3, 4, 1)), {"Reshape": 1}),
    "transpose-of-symbols": (apply(Transpose((1, 0, 2)), BATCHED), {"Transpose": 1}),
    "slices": (crop(crop(X, (0, 1, 3), (2, 2, 2), (1, 1, -2)), (1, 0, 1), (1, 2, 1), (1, 1, 1)), {"Slice": 1}),
    "pads": (apply(Pad((0, 1, 0), (0, 0, 2)), apply(Pad((1, 1, 0), (0, 0, 1)), X)), {"Pad": 1}),
    "cropping-pad": (apply(Pad((0, -1, 0), (0, 0, -2)), X), {"Slice": 1}),
    "crop-then-pad": (apply(Pad((1,), (0,)), apply(Pad((-1,), (0,)), given("x", 5))), {"Slice": 1, "Pad": 1}),
    "expands": (apply(Expand((5, 2, 3, 4)), apply(Expand((2, 3, 4)), given("x", 3, 1))), {"Expand": 1}),
    "expand-rank": (apply(Expand((1, 2, 3, 4)), X), {"Reshape": 1}),
    "tile-of-ones": (apply(Tile((1, 5)), given("x", 3, 1)), {"Expand": 1}),
    "casts": (apply(Cast(INT64), apply(Cast(INT32), given("x", 3, dtype=INT8))), {"Cast": 1}),
}


@pytest.mark.parametrize(("value", "left"), MERGED.values(), ids=MERGED.keys())
def test_two_become_one(value: Value, left: dict[str, int], rng: np.random.Generator):
    graph = network(value)
    result = remove_identities(graph)
    assert operators(result) == left
    assert_equivalent(graph, result, rng, {"batch": 3})


KEPT = {
    "other-padding": apply(Pad((1,), (0,), "constant", 2.0), apply(Pad((1,), (0,)), given("x", 5))),
    "reflection": apply(Pad((1,), (0,), "reflect"), apply(Pad((1,), (0,), "reflect"), given("x", 5))),
    "half-precision": apply(Cast(FLOAT32), apply(Cast(FLOAT16), given("x", 5))),
    "bfloat16-to-float16": apply(Cast(FLOAT32), apply(Cast(FLOAT16), given("x", 5, dtype=BFLOAT16))),
    "int64-to-float": apply(Cast(INT64), apply(Cast(FLOAT32), given("x", 5, dtype=INT64))),
    "signed-to-unsigned": apply(Cast(INT64), apply(Cast(UINT8), given("x", 5, dtype=INT8))),
    "float-to-bool": apply(Cast(FLOAT32), apply(Cast(BOOL), given("x", 5))),
    "reversal": crop(X, (0, 2, 0), (2, 3, 4), (1, -1, 1)),
    "tile": apply(Tile((2,)), given("x", 5)),
}


@pytest.mark.parametrize("value", KEPT.values(), ids=KEPT.keys())
def test_what_matters_is_kept(value: Value, rng: np.random.Generator):
    graph = network(value)
    assert operators(remove_identities(graph)) == operators(graph)


def test_broadcasting_operators_need_no_expand(rng: np.random.Generator):
    x, y = given("x", 3, 4), given("y", 4)
    wide = apply(Expand((3, 4)), y)
    condition = apply(Expand((3, 4)), given("c", 3, 1, dtype=BOOL))
    graph = network(binary("add", wide, x), apply(Select(), condition, x, wide))
    result = remove_identities(graph)
    assert operators(result) == {"Binary": 1, "Select": 1}
    assert_equivalent(graph, result, rng)


def test_expanded_matrices_stay(rng: np.random.Generator):
    wide, tall = apply(Expand((2, 3, 4)), given("x", 2, 3, 1)), apply(Expand((2, 5, 4)), given("y", 2, 1, 4))
    slopes = apply(PRelu(), apply(Expand((3, 4)), given("z", 1, 4)), given("s", 3, 1))
    assert operators(remove_identities(network(slopes))) == {"Expand": 1, "PRelu": 1}
    for value in (apply(MatMul(), wide, given("w", 4, 5)), apply(MatMul(), tall, given("w", 4, 5))):
        before = network(value)
        after = remove_identities(before)
        assert operators(after) == {"Expand": 1, "MatMul": 1}
        assert_equivalent(before, after, rng)


def test_an_expand_that_gives_the_shape_stays(rng: np.random.Generator):
    graph = network(binary("add", apply(Expand((3, 4)), given("y", 4)), given("x", 1, 4)))
    result = remove_identities(graph)
    assert operators(result) == {"Binary": 1, "Expand": 1}
    assert_equivalent(graph, result, rng)


def test_functions_come_before_expands(rng: np.random.Generator):
    graph = network(unary("exp", apply(Expand((5, 4)), given("x", 4))))
    result = remove_identities(graph)
    assert result.outputs[0][1].op.name == "Expand"
    assert only(result, Expand).inputs[0].type.shape == (4,)
    assert_equivalent(graph, result, rng)


def test_products_broadcast_batches(rng: np.random.Generator):
    a, b = given("a", 2, 3, 4), given("b", 4, 5)
    graph = network(apply(MatMul(), a, apply(Expand((2, 4, 5)), b)))
    result = remove_identities(graph)
    assert operators(result) == {"MatMul": 1}
    assert_equivalent(graph, result, rng)


def test_merged_values_carry_both_names():
    inner = apply(Reshape((6, 4)), X, name="squeeze")
    result = remove_identities(network(apply(Reshape((24,)), inner, name="flatten")))
    assert only(result, Reshape).name == "squeeze + flatten"


def test_constants_are_left_alone(rng: np.random.Generator):
    graph = network(unary("exp", constant([1.0, 2.0])))
    assert operators(remove_identities(graph)) == {"Unary": 1}
