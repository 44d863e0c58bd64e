"""Finds activations that a model spells out in simpler operators."""

from __future__ import annotations

import math

from tensorwright.graph.graph import Value, apply
from tensorwright.ops.activation import Clip, Gelu, HardSigmoid, HardSwish, LeakyRelu, Mish, Sigmoid, Silu, Softplus
from tensorwright.ops.elementwise import Binary, ReplaceNan, Select, Unary
from tensorwright.passes.arithmetic import function_of, limits_of
from tensorwright.passes.constants import is_uniform, nearly, uniform
from tensorwright.passes.polynomial import is_polynomial, polynomial, product_of
from tensorwright.passes.rewrite import rewrite, rules_pass


@rewrite(Binary)
def gelu(value: Value) -> Value | None:
    """``x/2 (1 + erf(x/√2))`` and ``x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`` are Gelu."""
    product = product_of(value) if function_of(value) == "mul" else None
    if product is None or len(product.factors) != 2 or not nearly(product.number, 0.5, value.type.dtype):
        return None
    for x, gate in (product.factors, product.factors[::-1]):
        curve = _plus_one(gate)
        if curve is None or x.type != value.type:
            continue
        slope = math.sqrt(2 / math.pi)
        if function_of(curve) == "erf" and is_polynomial(curve.inputs[0], x, {1: math.sqrt(0.5)}):
            return apply(Gelu(approximate=False), x, name=value.name)
        if function_of(curve) == "tanh" and is_polynomial(curve.inputs[0], x, {1: slope, 3: slope * 0.044715}):
            return apply(Gelu(approximate=True), x, name=value.name)
    return None


def _plus_one(value: Value) -> Value | None:
    """x of ``x + 1``."""
    if function_of(value) != "add":
        return None
    left, right = value.inputs
    if is_uniform(right, 1):
        return left
    return right if is_uniform(left, 1) else None


@rewrite(Binary)
def gated(value: Value) -> Value | None:
    """``x σ(x)`` is Silu, ``x tanh(softplus(x))`` Mish, ``x clip(x + 3, 0, 6) / 6`` HardSwish."""
    if function_of(value) != "mul" or not value.type.dtype.is_float:
        return None
    product = product_of(value)
    if len(product.factors) != 2:
        return None
    for x, gate in (product.factors, product.factors[::-1]):
        if x.type != value.type:
            continue
        if product.number == 1 and gate.inputs == (x,) and isinstance(gate.op, Sigmoid):
            return apply(Silu(), x, name=value.name)
        if product.number == 1 and _is_mish_gate(gate, x):
            return apply(Mish(), x, name=value.name)
        if _is_hard_swish_gate(gate, x, product.number):
            return apply(HardSwish(), x, name=value.name)
    return None


def _is_mish_gate(gate: Value, x: Value) -> bool:
    return function_of(gate) == "tanh" and isinstance(gate.inputs[0].op, Softplus) and gate.inputs[0].inputs == (x,)


def _is_hard_swish_gate(gate: Value, x: Value, factor: float) -> bool:
    dtype = gate.type.dtype
    if isinstance(gate.op, HardSigmoid):
        alike = gate.inputs == (x,) and factor == 1 and nearly(gate.op.alpha, 1 / 6, dtype)
        return alike and nearly(gate.op.beta, 0.5, dtype)
    if not isinstance(gate.op, Clip) or limits_of(gate) != (0, 6):
        return False
    return nearly(factor, 1 / 6, dtype) and is_polynomial(gate.inputs[0], x, {1: 1, 0: 3})


@rewrite(Clip)
def hard_sigmoid(value: Value) -> Value | None:
    """``clip(a x + b, 0, 1)`` is HardSigmoid."""
    (line,) = value.inputs
    if not value.type.dtype.is_float or limits_of(value) != (0, 1) or function_of(line) != "add":
        return None
    product = product_of(line.inputs[0])
    beta = uniform(line.inputs[1])
    if len(product.factors) != 1 or beta is None or product.factors[0].type != value.type:
        return None
    return apply(HardSigmoid(product.number, beta), product.factors[0], name=value.name)


@rewrite(Binary)
def scaled_hard_sigmoid(value: Value) -> Value | None:
    """``clip(x + b, 0, c) / c`` is HardSigmoid with slope 1/c."""
    clipped, constant = value.inputs
    factor = uniform(constant) if function_of(value) == "mul" else None
    if factor is None or not isinstance(clipped.op, Clip) or clipped.type != value.type:
        return None
    low, high = limits_of(clipped)
    line = clipped.inputs[0]
    if low != 0 or not nearly(factor * high, 1.0, value.type.dtype) or function_of(line) != "add":
        return None
    beta = uniform(line.inputs[1])
    if beta is None or line.inputs[0].type != value.type:
        return None
    return apply(HardSigmoid(factor, beta * factor), line.inputs[0], name=value.name)


@rewrite(Binary)
def sigmoid(value: Value) -> Value | None:
    """``1 / (1 + exp(−x))`` is Sigmoid, ``x / (1 + exp(−x))`` Silu."""
    if function_of(value) != "div":
        return None
    above, below = value.inputs
    power = _plus_one(below)
    if power is None or function_of(power) != "exp" or function_of(power.inputs[0]) != "neg":
        return None
    x = power.inputs[0].inputs[0]
    if x.type != value.type:
        return None
    if above is x:
        return apply(Silu(), x, name=value.name)
    return apply(Sigmoid(), x, name=value.name) if is_uniform(above, 1) else None


@rewrite(Unary)
def softplus(value: Value) -> Value | None:
    """``log(1 + exp(x))`` is Softplus."""
    (inside,) = value.inputs
    power = _plus_one(inside) if function_of(value) == "log" else None
    if power is None or function_of(power) != "exp" or power.type != value.type:
        return None
    return apply(Softplus(), power.inputs[0], name=value.name)


@rewrite(Binary)
def leaky_relu(value: Value) -> Value | None:
    """``max(x, a x)`` with 0 < a < 1 is LeakyRelu."""
    if function_of(value) != "max" or not value.type.dtype.is_float:
        return None
    for x, scaled in (value.inputs, value.inputs[::-1]):
        found = polynomial(scaled, x)
        if scaled is not x and found is not None and set(found) == {1} and 0 < found[1] < 1 and x.type == value.type:
            return apply(LeakyRelu(found[1]), x, name=value.name)
    return None


@rewrite(Select)
def replaced_nan(value: Value) -> Value | None:
    """``x is NaN ? c : x`` for a number c is ReplaceNan: exporters put it around the softmax of what a mask hides."""
    condition, number, x = value.inputs
    replaced = uniform(number)
    if function_of(condition) != "is_nan" or condition.inputs != (x,) or x.type != value.type:
        return None
    return None if replaced is None or math.isnan(replaced) else apply(ReplaceNan(replaced), x, name=value.name)


RULES = (replaced_nan, gelu, gated, hard_sigmoid, scaled_hard_sigmoid, sigmoid, softplus, leaky_relu)
recognise_activations = rules_pass("recognise_activations", RULES)
