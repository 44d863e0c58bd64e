"""Finds softmax and normalisations that a model spells out in simpler operators."""

from __future__ import annotations

from math import prod

import numpy as np

from tensorwright.graph.graph import Value, apply, is_constant
from tensorwright.ops.elementwise import Binary, Unary
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
from tensorwright.passes.arithmetic import function_of
from tensorwright.passes.constants import Floats, along, constant_of, exact, is_uniform, uniform
from tensorwright.passes.rewrite import Uses, joined_name, rewrite, rewrite_with_uses, rules_pass

LARGEST_SCALE = 1 << 20
"""Elements of a scale that is made up; over more the simple operators stay."""


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
    axis = _trailing_axes(spread)
    if axis is None or function_of(centred) != "sub" or not _is_square(spread.inputs[0], centred):
        return None
    x, mean = centred.inputs
    if _trailing_axes(mean) != axis or mean.inputs[0] is not x or x.type != value.type:
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
    if tail is None or prod(tail) > LARGEST_SCALE:
        return None
    return constant_of(np.ones(tail), x.type.dtype, name)


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


def _fitted(constant: Value, normal: Value) -> Floats | None:
    """A constant broadcast to the normalised axes; None where it varies along others."""
    assert isinstance(normal.op, LayerNormalization | RmsNormalization)
    tail = _tail(normal, normal.op.axis)
    if tail is None or not is_constant(constant):
        return None
    shape = constant.type.shape
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


@rewrite(Reshape)
def group_normalization(value: Value) -> Value | None:
    """``Reshape(InstanceNormalization(Reshape(x, [N, G, …])), shape of x)`` is GroupNormalization of G groups."""
    (normal,) = value.inputs
    if not isinstance(normal.op, InstanceNormalization) or not isinstance(normal.inputs[0].op, Reshape):
        return None
    grouped, *parameters = normal.inputs
    (x,) = grouped.inputs
    groups, channels = grouped.type.shape[1], x.type.shape[1] if x.type.rank > 1 else 0
    if x.type != value.type or x.type.shape[0] != grouped.type.shape[0] or not all(map(is_constant, parameters)):
        return None
    if not isinstance(groups, int) or not isinstance(channels, int) or not groups or not channels or channels % groups:
        return None
    wide = [
        constant_of(np.repeat(exact(parameter), channels // groups), value.type.dtype, parameter.name)
        for parameter in parameters
    ]
    op = GroupNormalization(groups, normal.op.epsilon)
    return apply(op, x, *wide, name=joined_name(normal, value))


@rewrite_with_uses(Binary)
def channel_scale_and_bias(value: Value, uses: Uses) -> Value | None:
    """``Normalization(x, s, b) · c + d = Normalization(x, s c, b c + d)`` for one constant c and d per channel."""
    normal, constant = value.inputs
    channelwise = isinstance(normal.op, GroupNormalization | InstanceNormalization)
    if (
        not channelwise
        or not uses.once(normal)
        or normal.type != value.type
        or function_of(value) not in ("add", "mul")
    ):
        return None
    x, scale, bias = normal.inputs
    vector = along(constant, value.type.shape, 1)
    if vector is None or not is_constant(scale) or not is_constant(bias):
        return None
    if function_of(value) == "mul":
        pairs = ((exact(scale) * vector, scale.name), (exact(bias) * vector, bias.name))
    else:
        pairs = ((exact(scale), scale.name), (exact(bias) + vector, constant.name))
    parameters = [constant_of(array, value.type.dtype, name) for array, name in pairs]
    return apply(normal.op, x, *parameters, name=joined_name(normal, value))


RULES = (
    softmax, log_softmax, layer_normalization, rms_normalization, normalization_scale, normalization_bias,
    l2_normalization, group_normalization, channel_scale_and_bias,
)  # fmt: skip
recognise_normalizations = rules_pass("recognise_normalizations", RULES)
