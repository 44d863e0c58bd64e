"""Arithmetic on single elements."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import assert_equivalent, binary, constant, drawn, given, network, only, operators, unary
from tensorwright.graph.graph import Value, apply
from tensorwright.ops.activation import Clip, Relu, Sigmoid
from tensorwright.ops.elementwise import Binary, Select
from tensorwright.passes.arithmetic import simplify_arithmetic
from tensorwright.tensor.dtype import BOOL, FLOAT16, FLOAT32, INT32, UINT8

X = given("x", 3, 4)
Y = given("y", 3, 4)
WHOLE = given("x", 3, 4, dtype=INT32)
B = given("x", 3, 4, dtype=BOOL)


def clip(x: Value, low: float | None, high: float | None) -> Value:
    return apply(Clip(low, high), x)


def relu(x: Value) -> Value:
    return apply(Relu(), x)


NOTHING = {
    "x+0": binary("add", X, 0.0),
    "0+x": binary("add", constant(0.0), X),
    "x-0": binary("sub", X, 0.0),
    "x*1": binary("mul", X, constant(np.ones((3, 1)))),
    "x/1": binary("div", X, 1.0),
    "x^1": binary("pow", X, 1.0),
    "integers": binary("mul", binary("add", WHOLE, 0), 1),
    "and": binary("and", B, constant(True, BOOL)),
    "or": binary("or", constant(False, BOOL), B),
    "--x": unary("neg", unary("neg", X)),
    "not-not": unary("not", unary("not", B)),
    "no-limits": clip(X, None, None),
    "select-true": apply(Select(), constant(True, BOOL), X, Y),
    "select-same": apply(Select(), given("c", 3, 4, dtype=BOOL), X, X),
}


@pytest.mark.parametrize("value", NOTHING.values(), ids=NOTHING.keys())
def test_nothing_is_left(value: Value, rng: np.random.Generator):
    graph = network(value)
    result = simplify_arithmetic(graph)
    assert operators(result) == {}
    assert_equivalent(graph, result, rng)


FEWER = {
    "relu-relu": (relu(relu(X)), {"Relu": 1}),
    "relu-sigmoid": (relu(apply(Sigmoid(), X)), {"Sigmoid": 1}),
    "relu-of-limits": (relu(clip(X, -1, 1)), {"Clip": 1}),
    "relu-of-negative-limits": (relu(clip(X, -2, -1)), {"Clip": 1}),
    "limits-of-relu": (clip(relu(X), -1, 1), {"Clip": 1}),
    "limits": (clip(clip(X, -1, 1.5), -0.5, 3), {"Clip": 1}),
    "limits-apart": (clip(clip(X, 0.5, 1), -1, 0.25), {"Clip": 1}),
    "limits-crossed": (clip(clip(X, 1, 0.5), -1, 0.75), {"Clip": 1}),
    "at-least-0": (clip(X, 0, None), {"Relu": 1}),
    "max-0": (binary("max", constant(0.0), X), {"Relu": 1}),
    "max-min": (binary("min", binary("max", X, -1.0), constant(np.full((1, 4), 1.0))), {"Clip": 1}),
    "square": (binary("pow", X, 2.0), {"Binary": 1}),
    "cube": (binary("pow", X, constant(np.full(4, 3.0))), {"Binary": 2}),
    "x*-1": (binary("mul", X, -1.0), {"Unary": 1}),
    "0-x": (binary("sub", constant(np.zeros((3, 4))), X), {"Unary": 1}),
    "sums": (binary("sub", binary("add", X, constant(np.arange(4.0) + 1)), 0.5), {"Binary": 1}),
    "products": (binary("div", binary("mul", X, constant(np.arange(4.0) + 1)), 3.0), {"Binary": 1}),
    "minus-negative": (binary("sub", X, unary("neg", Y)), {"Binary": 1}),
    "abs-abs": (unary("abs", unary("abs", X)), {"Unary": 1}),
    "abs-exp": (unary("abs", unary("exp", X)), {"Unary": 1}),
    "select-false": (apply(Select(), constant(False, BOOL), X, given("y", 4)), {"Expand": 1}),
}


@pytest.mark.parametrize(("value", "left"), FEWER.values(), ids=FEWER.keys())
def test_less_is_left(value: Value, left: dict[str, int], rng: np.random.Generator):
    graph = network(value)
    result = simplify_arithmetic(graph)
    assert operators(result) == left
    assert_equivalent(graph, result, rng)


KEPT = {
    "broadcast": binary("add", given("x", 4), constant(np.zeros((3, 4)))),
    "1/x": binary("div", constant(1.0), X),
    "integer-division": binary("div", WHOLE, 2),
    "integer-difference": binary("sub", given("x", 3, dtype=UINT8), 2),
    "integer-limit": binary("max", WHOLE, 2),
    "limits-of-channels": binary("max", X, constant(np.arange(4.0))),
    "tiny-divisor": binary("div", X, 1e-39),
    "zero-divisor": binary("div", X, 0.0),
    "inexact-half": binary("div", given("x", 3, dtype=FLOAT16), 3.0),
    "rounding": binary("sub", binary("add", X, 3.0 * 2**22), 3.0 * 2**22),
    "wide-sum": binary("add", binary("add", X, constant(np.arange(4.0))), constant(np.arange(3.0).reshape(3, 1))),
    "root": binary("pow", X, 0.5),
}


@pytest.mark.parametrize("value", KEPT.values(), ids=KEPT.keys())
def test_what_matters_is_kept(value: Value, rng: np.random.Generator):
    graph = network(value)
    result = simplify_arithmetic(graph)
    assert operators(result) == operators(graph)
    assert_equivalent(graph, result, rng)


def test_clip_limits_are_those_of_the_composition(rng: np.random.Generator):
    for _ in range(50):
        a, b, c, d = rng.uniform(-2, 2, 4)
        value = clip(clip(X, *((None if rng.random() < 0.2 else float(end)) for end in (a, b))), float(c), float(d))
        graph = network(value)
        result = simplify_arithmetic(graph)
        assert operators(result).total() <= 1
        assert_equivalent(graph, result, rng)


def test_constants_stand_on_the_right():
    for function in ("add", "mul", "max"):
        left = constant(np.arange(4.0) + 2)
        ((_, value),) = simplify_arithmetic(network(binary(function, left, X))).outputs
        assert value.inputs[0] is X
        assert value.inputs[1] is left
    ((_, value),) = simplify_arithmetic(network(binary("sub", constant(np.arange(4.0)), X))).outputs
    assert value.inputs[1] is X


def test_differences_and_quotients_by_constants_become_sums_and_products(rng: np.random.Generator):
    graph = network(*(binary(function, X, drawn(rng, 4, low=0.5)) for function in ("sub", "div")))
    result = simplify_arithmetic(graph)
    assert [value.op.function for value in result.order() if isinstance(value.op, Binary)] == ["add", "mul"]
    assert_equivalent(graph, result, rng)


def test_halves_divide_exactly():
    ((_, value),) = simplify_arithmetic(network(binary("div", given("x", 3, dtype=FLOAT16), 4.0))).outputs
    assert value.op.function == "mul"


def test_the_shared_inner_value_stays(rng: np.random.Generator):
    inner = clip(X, -1, 1)
    graph = network(inner, relu(inner))
    result = simplify_arithmetic(graph)
    assert operators(result) == {"Clip": 2}
    assert result.outputs[0][1] is inner
    assert_equivalent(graph, result, rng)


def test_names_are_joined():
    inner = apply(Relu(), X, name="act")
    result = simplify_arithmetic(network(apply(Clip(None, 6.0), inner, name="cap")))
    assert only(result, Clip).name == "act + cap"
    assert only(result, Clip).type.dtype == FLOAT32
