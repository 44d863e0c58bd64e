"""Finds operators that a model spells out in simpler ones."""

from __future__ import annotations

import math

import numpy as np

from tensorwright.graph.graph import Value, apply, is_constant
from tensorwright.ops.activation import Clip, Gelu, HardSigmoid, HardSwish, LeakyRelu, Mish, Sigmoid, Silu, Softplus
from tensorwright.ops.elementwise import Binary, Unary
from tensorwright.ops.normalization import (
    LayerNormalization,
    LogSoftmax,
    LpNormalization,
    RmsNormalization,
    Softmax,
)
from tensorwright.ops.reduction import Reduction
from tensorwright.passes.arithmetic import function_of, limits_of
from tensorwright.passes.constants import constant_of, exact, is_uniform, nearly, uniform
from tensorwright.passes.polynomial import is_polynomial, polynomial, product_of
from tensorwright.passes.rewrite import Uses, joined_name, rewrite, rewrite_with_uses, rules_pass
from tensorwright.tensor.type import Shape


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


@rewrite(Binary)
def softmax(value: Value) -> Value | None:
    """``exp(x − max x) / Σ exp(x − max x)`` along an axis is Softmax."""
    if function_of(value) != "div":
        return None
    power, total = value.inputs
    axis = _only_axis(total, "add")
    if axis is None or function_of(power) != "exp" or total.inputs[0] is not power:
        return None
    shifted = power.inputs[0]
    if function_of(shifted) == "sub":
        x, largest = shifted.inputs
        if _only_axis(largest, "max") == axis and largest.inputs[0] is x:
            return apply(Softmax(axis), x, name=value.name)
    return apply(Softmax(axis), shifted, name=value.name)


@rewrite_with_uses(Unary)
def log_softmax(value: Value, uses: Uses) -> Value | None:
    """``log Softmax(x)`` is LogSoftmax."""
    (x,) = value.inputs
    if function_of(value) != "log" or not isinstance(x.op, Softmax) or not uses.once(x):
        return None
    return apply(LogSoftmax(x.op.axis), x.inputs[0], name=joined_name(x, value))


def _only_axis(value: Value, function: str) -> int | None:
    """The axis of a reduction that keeps it."""
    op = value.op
    if not isinstance(op, Reduction) or op.function != function or not op.keep_dims or len(op.axes) != 1:
        return None
    return op.axes[0]


@rewrite(Binary)
def layer_normalization(value: Value) -> Value | None:
    """``(x − mean x) / √(mean (x − mean x)² + ε)`` over the last axes is LayerNormalization with scale 1."""
    found = _divided_by_root(value)
    if found is None:
        return None
    centred, spread, epsilon = found
    if function_of(centred) != "sub" or not _is_square(spread.inputs[0], centred):
        return None
    x, mean = centred.inputs
    axis = _trailing_axes(spread)
    if axis is None or _trailing_axes(mean) != axis or mean.inputs[0] is not x or x.type != value.type:
        return None
    scale = _ones(x, axis, value.name)
    return None if scale is None else apply(LayerNormalization(axis, epsilon), x, scale, name=value.name)


@rewrite(Binary)
def rms_normalization(value: Value) -> Value | None:
    """``x / √(mean x² + ε)`` over the last axes is RmsNormalization with scale 1."""
    found = _divided_by_root(value)
    if found is None:
        return None
    x, spread, epsilon = found
    axis = _trailing_axes(spread)
    if axis is None or not _is_square(spread.inputs[0], x) or x.type != value.type:
        return None
    scale = _ones(x, axis, value.name)
    return None if scale is None else apply(RmsNormalization(axis, epsilon), x, scale, name=value.name)


def _divided_by_root(value: Value) -> tuple[Value, Value, float] | None:
    """x, m and ε of ``x / √(m + ε)``, spelled as a division or as a product with a reciprocal."""
    if function_of(value) == "div":
        pairs = [(value.inputs[0], value.inputs[1])]
    elif function_of(value) == "mul":
        both = (value.inputs, value.inputs[::-1])
        pairs = [(x, r.inputs[1]) for x, r in both if function_of(r) == "div" and is_uniform(r.inputs[0], 1)]
    else:
        return None
    for x, root in pairs:
        if function_of(root) == "sqrt" and function_of(root.inputs[0]) == "add":
            mean, epsilon = root.inputs[0].inputs
            number = uniform(epsilon)
            if number is not None and number >= 0:
                return x, mean, number
    return None


def _is_square(value: Value, x: Value) -> bool:
    if function_of(value) == "mul":
        return value.inputs == (x, x)
    return function_of(value) == "pow" and value.inputs[0] is x and is_uniform(value.inputs[1], 2)


def _trailing_axes(mean: Value) -> int | None:
    """The first axis of a mean over the last axes, which are kept."""
    op = mean.op
    if not isinstance(op, Reduction) or op.function != "mean" or not op.keep_dims or not op.axes:
        return None
    rank = mean.type.rank
    return min(op.axes) if sorted(op.axes) == list(range(min(op.axes), rank)) else None


def _tail(x: Value, axis: int) -> tuple[int, ...] | None:
    tail = tuple(extent for extent in x.type.shape[axis:] if isinstance(extent, int))
    return tail if len(tail) == x.type.rank - axis else None


def _ones(x: Value, axis: int, name: str) -> Value | None:
    tail = _tail(x, axis)
    return None if tail is None else constant_of(np.ones(tail), x.type.dtype, name)


@rewrite_with_uses(Binary)
def normalization_scale(value: Value, uses: Uses) -> Value | None:
    """``Normalization(x, s) · c = Normalization(x, s c)`` for constants over the normalised axes."""
    normal, constant = value.inputs
    if function_of(value) != "mul" or not _is_normalization(normal, uses, 2) or normal.type != value.type:
        return None
    x, scale = normal.inputs
    factor = _fitted(constant, normal)
    if factor is None or not is_constant(scale):
        return None
    merged = constant_of(exact(scale) * factor, value.type.dtype, constant.name)
    return apply(normal.op, x, merged, name=joined_name(normal, value))


@rewrite_with_uses(Binary)
def normalization_bias(value: Value, uses: Uses) -> Value | None:
    """``LayerNormalization(x, s, b) + c = LayerNormalization(x, s, b + c)`` for constants over the normalised axes."""
    normal, constant = value.inputs
    if function_of(value) != "add" or not isinstance(normal.op, LayerNormalization) or normal.type != value.type:
        return None
    if not _is_normalization(normal, uses, len(normal.inputs)) or not all(map(is_constant, normal.inputs[2:])):
        return None
    shift = _fitted(constant, normal)
    if shift is None:
        return None
    for bias in normal.inputs[2:]:
        shift = shift + exact(bias)
    folded = constant_of(shift, value.type.dtype, constant.name)
    return apply(normal.op, *normal.inputs[:2], folded, name=joined_name(normal, value))


def _is_normalization(value: Value, uses: Uses, operands: int) -> bool:
    kinds = isinstance(value.op, LayerNormalization | RmsNormalization)
    return kinds and len(value.inputs) == operands and uses.once(value)


def _fitted(constant: Value, normal: Value) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
    """A constant broadcast to the normalised axes; None where it varies along others."""
    assert isinstance(normal.op, LayerNormalization | RmsNormalization)
    tail = _tail(normal, normal.op.axis)
    if tail is None or not is_constant(constant):
        return None
    shape: Shape = constant.type.shape
    extra = max(0, len(shape) - len(tail))
    if any(extent != 1 for extent in shape[:extra]):
        return None
    return np.broadcast_to(exact(constant).reshape(exact(constant).shape[extra:]), tail)


@rewrite(Binary)
def l2_normalization(value: Value) -> Value | None:
    """``x / √(Σ x²)`` along an axis is LpNormalization; where the norm is 0 it gives 0 and the division no number."""
    if function_of(value) != "div":
        return None
    x, norm = value.inputs
    axis = _norm_axis(norm, x)
    return None if axis is None or x.type != value.type else apply(LpNormalization(axis, 2), x, name=value.name)


def _norm_axis(norm: Value, x: Value) -> int | None:
    """The axis along which a value is the Euclidean norm of x."""
    total = norm.inputs[0] if norm.inputs else norm
    if function_of(norm) != "sqrt":
        return _only_axis(norm, "l2") if total is x else None
    source = total.inputs[0] if total.inputs else total
    if source is x:
        return _only_axis(total, "sum_square")
    return _only_axis(total, "add") if _is_square(source, x) else None


RULES = (
    gelu, gated, hard_sigmoid, scaled_hard_sigmoid, sigmoid, softplus, leaky_relu, softmax, log_softmax,
    layer_normalization, rms_normalization, normalization_scale, normalization_bias, l2_normalization,
)  # fmt: skip
recognise = rules_pass(RULES)
