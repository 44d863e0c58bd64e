"""Operators that models spell out."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from graphs import binary, constant, drawn, given, network, only, operators, optimised, unary
from tensorwright.graph.graph import Value, apply
from tensorwright.ops.activation import Clip, HardSigmoid, LeakyRelu, Sigmoid, Softplus
from tensorwright.ops.elementwise import Select
from tensorwright.ops.normalization import (
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    LogSoftmax,
    LpNormalization,
    RmsNormalization,
    Softmax,
)
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Reshape
from tensorwright.tensor.dim import symbol

BATCH = symbol("batch", 1, 2, 4)
SYMBOLS = {"batch": 3}
X = given("x", BATCH, 3, 4)


def add(a: Value, b: Value | float) -> Value:
    return binary("add", a, b)


def mul(a: Value, b: Value | float) -> Value:
    return binary("mul", a, b)


def div(a: Value, b: Value | float) -> Value:
    return binary("div", a, b)


def erf_gate(x: Value) -> Value:
    return add(unary("erf", div(x, math.sqrt(2))), 1.0)


def tanh_gate(x: Value) -> Value:
    inner = mul(add(x, mul(binary("pow", x, 3.0), 0.044715)), math.sqrt(2 / math.pi))
    return add(constant(1.0), unary("tanh", inner))


def tanh_gate_factored(x: Value) -> Value:
    inner = mul(mul(x, math.sqrt(2 / math.pi)), add(mul(mul(x, x), 0.044715), 1.0))
    return add(unary("tanh", inner), 1.0)


def limited(x: Value, low: float, high: float) -> Value:
    return apply(Clip(low, high), x)


def logistic(x: Value) -> Value:
    return div(constant(1.0), add(unary("exp", unary("neg", x)), 1.0))


SPELLINGS: dict[str, tuple[Value, str]] = {
    "gelu-exporter": (mul(mul(X, erf_gate(X)), 0.5), "Gelu"),
    "gelu-half-first": (mul(mul(X, 0.5), erf_gate(X)), "Gelu"),
    "gelu-half-at-the-gate": (mul(mul(erf_gate(X), 0.5), X), "Gelu"),
    "gelu-halved": (div(mul(erf_gate(X), X), 2.0), "Gelu"),
    "gelu-tanh": (mul(mul(X, 0.5), tanh_gate(X)), "Gelu"),
    "gelu-tanh-factored": (mul(tanh_gate_factored(X), mul(constant(0.5), X)), "Gelu"),
    "silu": (mul(X, apply(Sigmoid(), X)), "Silu"),
    "silu-quotient": (div(X, add(constant(1.0), unary("exp", unary("neg", X)))), "Silu"),
    "silu-all-spelled": (mul(logistic(X), X), "Silu"),
    "sigmoid": (logistic(X), "Sigmoid"),
    "softplus": (unary("log", add(unary("exp", X), 1.0)), "Softplus"),
    "mish": (mul(X, unary("tanh", apply(Softplus(), X))), "Mish"),
    "mish-all-spelled": (mul(X, unary("tanh", unary("log", add(unary("exp", X), 1.0)))), "Mish"),
    "hardswish-gate": (mul(X, apply(HardSigmoid(1 / 6, 0.5), X)), "HardSwish"),
    "hardswish-outside": (div(mul(X, limited(add(X, 3.0), 0, 6)), 6.0), "HardSwish"),
    "hardswish-inside": (mul(X, div(limited(add(X, 3.0), 0, 6), 6.0)), "HardSwish"),
    "hardsigmoid": (limited(add(mul(X, 0.3), 0.25), 0, 1), "HardSigmoid"),
    "hardsigmoid-wide": (div(limited(add(X, 3.0), 0, 6), 6.0), "HardSigmoid"),
    "leaky": (binary("max", mul(X, 0.2), X), "LeakyRelu"),
}


@pytest.mark.parametrize(("value", "name"), SPELLINGS.values(), ids=SPELLINGS.keys())
def test_activations(value: Value, name: str, rng: np.random.Generator):
    result = optimised(network(value), rng, symbols=SYMBOLS)
    assert operators(result) == {name: 1}


def test_guards_of_softmax(rng: np.random.Generator):
    powers = apply(Softmax(1), given("x", 3, 5))
    guarded, other = (apply(Select(), unary("is_nan", powers), constant(number), powers) for number in (0, np.nan))
    result = optimised(network(guarded), rng)
    assert operators(result) == {"Softmax": 1, "ReplaceNan": 1}
    assert operators(optimised(network(other), rng))["Select"] == 1


def test_attributes_of_activations(rng: np.random.Generator):
    result = optimised(network(SPELLINGS["hardsigmoid"][0]), rng, symbols=SYMBOLS)
    assert only(result, HardSigmoid).op.alpha == pytest.approx(0.3)
    assert only(result, HardSigmoid).op.beta == pytest.approx(0.25)
    result = optimised(network(SPELLINGS["leaky"][0]), rng, symbols=SYMBOLS)
    assert only(result, LeakyRelu).op.alpha == pytest.approx(0.2)


Y = given("y", BATCH, 3, 4)
NEARLY: dict[str, Value] = {
    "gelu-of-another": mul(mul(Y, 0.5), erf_gate(X)),
    "gelu-without-half": mul(X, erf_gate(X)),
    "gelu-other-slope": mul(mul(X, 0.5), add(unary("erf", mul(X, 0.7)), 1.0)),
    "gelu-tanh-other-cube": mul(mul(X, 0.5), add(unary("tanh", add(X, mul(binary("pow", X, 3.0), 0.05))), 1.0)),
    "silu-of-another": mul(Y, apply(Sigmoid(), X)),
    "silu-steeper": mul(X, apply(Sigmoid(), mul(X, 1.702))),
    "hardswish-lower": div(mul(X, limited(add(X, 2.0), 0, 6)), 6.0),
    "hardswish-open": div(mul(X, apply(Clip(0, None), add(X, 3.0))), 6.0),
    "hardsigmoid-other-limit": limited(add(mul(X, 0.3), 0.25), 0, 2),
    "leaky-steeper": binary("max", mul(X, 1.2), X),
    "sigmoid-rising": div(constant(1.0), add(unary("exp", X), 1.0)),
    "softplus-of-2": unary("log", add(unary("exp", X), 2.0)),
}
RECOGNISED = {"Gelu", "Silu", "HardSwish", "LeakyRelu", "Softplus"}


@pytest.mark.parametrize("value", NEARLY.values(), ids=NEARLY.keys())
def test_what_is_only_similar_stays(value: Value, rng: np.random.Generator):
    result = optimised(network(value), rng, symbols=SYMBOLS)
    assert not RECOGNISED & set(operators(result))


def mean(x: Value, *axes: int, function: str = "mean", keep: bool = True) -> Value:
    return apply(Reduction(function, axes, keep), x)


def centred(x: Value, *axes: int) -> Value:
    return binary("sub", x, mean(x, *axes))


def root(x: Value, epsilon: float = 1e-3) -> Value:
    return unary("sqrt", add(x, epsilon))


def as_exported(x: Value, *axes: int) -> Value:
    d = centred(x, *axes)
    return div(d, root(mean(binary("pow", d, 2.0), *axes)))


def with_reciprocal(x: Value, *axes: int) -> Value:
    first, second = centred(x, *axes), centred(x, *axes)
    return mul(div(constant(1.0), root(mean(mul(first, second), *axes))), first)


@pytest.mark.parametrize("spelled", [as_exported, with_reciprocal])
def test_layer_normalization(spelled: Callable[..., Value], rng: np.random.Generator):
    graph = network(add(mul(spelled(X, 2), drawn(rng, 4)), drawn(rng, 4)))
    result = optimised(graph, rng, symbols=SYMBOLS)
    assert operators(result) == {"LayerNormalization": 1}
    found = only(result, LayerNormalization)
    assert found.op.axis == 2
    assert found.op.epsilon == pytest.approx(1e-3)
    assert len(found.inputs) == 3


def test_layer_normalization_over_several_axes(rng: np.random.Generator):
    graph = network(mul(as_exported(X, 1, 2), drawn(rng, 3, 1)))
    result = optimised(graph, rng, symbols=SYMBOLS)
    assert operators(result) == {"LayerNormalization": 1}
    assert only(result, LayerNormalization).inputs[1].type.shape == (3, 4)


def test_shared_statistics_keep_their_scales(rng: np.random.Generator):
    normal = as_exported(X, 2)
    graph = network(mul(normal, drawn(rng, 4)), mul(normal, drawn(rng, 4)))
    assert operators(optimised(graph, rng, symbols=SYMBOLS)) == {"LayerNormalization": 1, "Binary": 2}


def test_statistics_over_other_axes_stay(rng: np.random.Generator):
    assert "LayerNormalization" not in operators(optimised(network(as_exported(X, 1)), rng, symbols=SYMBOLS))
    d = centred(X, 2)
    mixed = div(d, root(mean(mul(d, d), 1)))
    assert "LayerNormalization" not in operators(optimised(network(mixed), rng, symbols=SYMBOLS))


def test_deviations_from_another_mean_stay(rng: np.random.Generator):
    for other in (mean(Y, 2), mean(X, 1, 2), mean(X, 2, function="max")):
        d = binary("sub", X, other)
        graph = network(div(d, root(mean(mul(d, d), 2))))
        assert "LayerNormalization" not in operators(optimised(graph, rng, symbols=SYMBOLS))


def test_a_scale_over_other_axes_stays(rng: np.random.Generator):
    graph = network(mul(as_exported(X, 2), drawn(rng, 3, 1)))
    assert operators(optimised(graph, rng, symbols=SYMBOLS)) == {"LayerNormalization": 1, "Binary": 1}


def test_rms_normalization(rng: np.random.Generator):
    graph = network(mul(drawn(rng, 4), mul(X, div(constant(1.0), root(mean(binary("pow", X, 2.0), 2))))))
    result = optimised(graph, rng, symbols=SYMBOLS)
    assert operators(result) == {"RmsNormalization": 1}
    assert only(result, RmsNormalization).op.axis == 2


def test_group_normalization(rng: np.random.Generator):
    """As exporters write it: an instance normalisation of groups, between reshapes, then a scale for each channel."""
    x = given("x", BATCH, 6, 2, 4)
    grouped = apply(Reshape((BATCH, 3, 16)), x)
    normal = apply(InstanceNormalization(1e-3), grouped, constant(np.ones(3)), drawn(rng, 3))
    graph = network(add(mul(apply(Reshape(x.type.shape), normal), drawn(rng, 6, 1, 1)), drawn(rng, 6, 1, 1)))
    result = optimised(graph, rng, symbols=SYMBOLS)
    assert operators(result) == {"GroupNormalization": 1}
    assert only(result, GroupNormalization).op.groups == 3


def test_groups_that_cross_images_stay(rng: np.random.Generator):
    grouped = apply(Reshape((1, 6, 16)), given("x", 2, 6, 2, 4))
    normal = apply(InstanceNormalization(1e-3), grouped, constant(np.ones(6)), drawn(rng, 6))
    graph = network(apply(Reshape((2, 6, 2, 4)), normal))
    assert operators(optimised(graph, rng)) == {"Reshape": 2, "InstanceNormalization": 1}


def test_l2_normalization(rng: np.random.Generator):
    spelled = div(X, unary("sqrt", mean(mul(X, X), 1, function="add")))
    reduced = div(X, mean(X, 2, function="l2"))
    result = optimised(network(spelled, reduced), rng, symbols=SYMBOLS)
    assert operators(result) == {"LpNormalization": 2}
    assert sorted(v.op.axis for v in result.order() if isinstance(v.op, LpNormalization)) == [1, 2]
    other = network(div(Y, mean(X, 2, function="l2")))
    assert operators(optimised(other, rng, symbols=SYMBOLS)) == {"Binary": 1, "Reduction": 1}


def test_softmax(rng: np.random.Generator):
    power = unary("exp", binary("sub", X, mean(X, 1, function="max")))
    plain = unary("exp", X)
    graph = network(*(div(e, mean(e, 1, function="add")) for e in (power, plain)))
    result = optimised(graph, rng, symbols=SYMBOLS)
    assert operators(result) == {"Softmax": 1}
    assert only(result, Softmax).op.axis == 1


def test_log_softmax(rng: np.random.Generator):
    result = optimised(network(unary("log", apply(Softmax(2), X))), rng, symbols=SYMBOLS)
    assert operators(result) == {"LogSoftmax": 1}
    assert only(result, LogSoftmax).op.axis == 2


def test_a_softmax_with_other_sums_stays(rng: np.random.Generator):
    e = unary("exp", X)
    graph = network(div(e, mean(e, 1, 2, function="add")), div(e, mean(unary("exp", Y), 1, function="add")))
    assert "Softmax" not in operators(optimised(graph, rng, symbols=SYMBOLS))
