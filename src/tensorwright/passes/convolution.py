"""What comes before or after a convolution and can be said by its weights, bias or padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tensorwright.graph.graph import Value, apply, is_constant
from tensorwright.ops.convolution import Convolution, Deconvolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import BatchNormalization
from tensorwright.ops.pooling import Pool
from tensorwright.ops.shape import Pad
from tensorwright.ops.windows import Ints, span
from tensorwright.passes.arithmetic import function_of
from tensorwright.passes.constants import Floats, along, constant_of, exact, finite_constant
from tensorwright.passes.rewrite import Uses, joined_name, rewrite, rewrite_with_uses, rules_pass
from tensorwright.tensor.dim import Dim, bounds

CHANNELS = 1


@rewrite(BatchNormalization)
def batch_normalization(value: Value) -> Value | None:
    """``(x − mean) · scale / √(variance + ε) + bias = x · a + b`` with one a and one b per channel, for constants."""
    x, *parameters = value.inputs
    if not all(is_constant(parameter) for parameter in parameters):
        return None
    assert isinstance(value.op, BatchNormalization)
    scale, bias, mean, variance = (exact(parameter) for parameter in parameters)
    factor = scale / np.sqrt(variance + value.op.epsilon)
    shift = bias - mean * factor
    if not (np.all(np.isfinite(factor)) and np.all(np.isfinite(shift))):
        return None
    shape, dtype = (-1, *[1] * (x.type.rank - 2)), value.type.dtype
    scaled = apply(
        Binary("mul"), x, constant_of(factor.reshape(shape), dtype, parameters[0].name), name=value.name
    )  # fmt: skip
    return apply(Binary("add"), scaled, constant_of(shift.reshape(shape), dtype, parameters[1].name), name=value.name)


@rewrite_with_uses(Binary)
def scale_after(value: Value, uses: Uses) -> Value | None:
    """``conv(x, w, b) · a = conv(x, w · a, b · a)`` for one constant a per output channel."""
    conv, constant = value.inputs
    if function_of(value) != "mul" or not _foldable(conv, uses):
        return None
    factor = along(constant, value.type.shape, CHANNELS)
    if factor is None or conv.type != value.type:
        return None
    x, *parameters = conv.inputs
    scaled = [_scaled_outputs(conv, factor), *(exact(bias) * factor for bias in parameters[1:])]
    folded = [finite_constant(array, value.type.dtype, old.name) for array, old in zip(scaled, parameters, strict=True)]
    inputs = [constant for constant in folded if constant is not None]
    return apply(conv.op, x, *inputs, name=joined_name(conv, value)) if len(inputs) == len(folded) else None


@rewrite_with_uses(Binary)
def bias_after(value: Value, uses: Uses) -> Value | None:
    """``conv(x, w, b) + a = conv(x, w, b + a)`` for one constant a per output channel."""
    conv, constant = value.inputs
    if function_of(value) != "add" or not isinstance(conv.op, Convolution | Deconvolution) or not uses.once(conv):
        return None
    shift = along(constant, value.type.shape, CHANNELS)
    if shift is None or conv.type != value.type:
        return None
    if len(conv.inputs) == 3:
        if not is_constant(conv.inputs[2]):
            return None
        shift = shift + exact(conv.inputs[2])
    bias = constant_of(shift, value.type.dtype, constant.name)
    return apply(conv.op, *conv.inputs[:2], bias, name=joined_name(conv, value))


@rewrite_with_uses(Binary)
def scale_after_sum(value: Value, uses: Uses) -> Value | None:
    """``(y + b) · a = y · a + b a`` for constants a and b and a product y, whose constant factor then takes up a."""
    total, factor = value.inputs
    if function_of(value) != "mul" or function_of(total) != "add" or not value.type.dtype.is_float:
        return None
    product, addend = total.inputs
    if not uses.once(total) or not _is_product(product, uses) or not is_constant(addend) or not is_constant(factor):
        return None
    merged = exact(addend) * exact(factor)
    if product.type != value.type or merged.shape not in (addend.type.shape, factor.type.shape):
        return None
    shift = finite_constant(merged, value.type.dtype, addend.name)
    if shift is None:
        return None
    scaled = apply(value.op, product, factor, name=value.name)
    return apply(total.op, scaled, shift, name=joined_name(total, value))


def _is_product(value: Value, uses: Uses) -> bool:
    if not uses.once(value) or not (
        isinstance(value.op, Convolution | Deconvolution | MatMul) or function_of(value) == "mul"
    ):
        return False
    return any(is_constant(operand) for operand in value.inputs[:2])


@rewrite_with_uses(Convolution)
def scale_before(value: Value, uses: Uses) -> Value | None:
    """``conv(x · a, w, b) = conv(x, a · w, b)`` for one constant a per input channel; padding stays zero."""
    scaled, weights, *bias = value.inputs
    if function_of(scaled) != "mul" or not uses.once(scaled) or not _is_float_constant(weights):
        return None
    x, constant = scaled.inputs
    factor = along(constant, scaled.type.shape, CHANNELS)
    if factor is None or x.type != scaled.type:
        return None
    groups = _groups(value)
    matrix = _grouped(weights, groups) * factor.reshape(groups, 1, -1, 1)
    folded = finite_constant(matrix.reshape(exact(weights).shape), weights.type.dtype, weights.name)
    return None if folded is None else apply(value.op, x, folded, *bias, name=joined_name(scaled, value))


@rewrite_with_uses(Convolution)
def shift_before(value: Value, uses: Uses) -> Value | None:
    """``conv(x + a, w, b) = conv(x, w, b + Σ a w)`` for one constant a per input channel, without padding."""
    shifted, weights, *bias = value.inputs
    op = value.op
    assert isinstance(op, Convolution)
    if function_of(shifted) != "add" or not uses.once(shifted) or any((*op.pads_begin, *op.pads_end)):
        return None
    if not _is_float_constant(weights) or not all(is_constant(b) for b in bias):
        return None
    x, constant = shifted.inputs
    shift = along(constant, shifted.type.shape, CHANNELS)
    if shift is None or x.type != shifted.type:
        return None
    groups = _groups(value)
    total = (_grouped(weights, groups) * shift.reshape(groups, 1, -1, 1)).sum(axis=(2, 3)).reshape(-1)
    if bias:
        total = total + exact(bias[0])
    folded = finite_constant(total, value.type.dtype, bias[0].name if bias else constant.name)
    return None if folded is None else apply(op, x, weights, folded, name=joined_name(shifted, value))


@rewrite_with_uses(Convolution)
def padding_before(value: Value, uses: Uses) -> Value | None:
    """``conv(Pad₀(x)) = conv(x)`` with more padding, as long as every window still meets the input."""
    padded, *others = value.inputs
    op = value.op
    assert isinstance(op, Convolution)
    window = value.inputs[1].type.shape[2:]
    if not isinstance(padded.op, Pad) or padded.op.value != 0 or not uses.once(padded):
        return None
    merged = _merged_pads(padded.op, op.pads_begin, op.pads_end)
    if merged is None or not _within(merged, window, op.dilations):
        return None
    wider = replace(op, pads_begin=merged[0], pads_end=merged[1])
    return apply(wider, padded.inputs[0], *others, name=joined_name(padded, value))


@rewrite_with_uses(Pool)
def padding_before_pool(value: Value, uses: Uses) -> Value | None:
    """``max(Pad₋∞(x)) = max(x)`` and ``mean(Pad₀(x)) = mean(x)`` that counts padding, with more padding."""
    (padded,) = value.inputs
    op = value.op
    assert isinstance(op, Pool)
    if not isinstance(padded.op, Pad) or not uses.once(padded) or op.ceil_mode:
        return None
    wanted = float("-inf") if op.mode == "max" else 0.0
    own = any((*op.pads_begin, *op.pads_end))
    if padded.op.value != wanted or (op.mode == "average" and own and not op.count_include_pad):
        return None
    merged = _merged_pads(padded.op, op.pads_begin, op.pads_end)
    if merged is None or not _within(merged, op.window, op.dilations):
        return None
    counted = op.count_include_pad or op.mode == "average"
    wider = replace(op, pads_begin=merged[0], pads_end=merged[1], count_include_pad=counted)
    return apply(wider, padded.inputs[0], name=joined_name(padded, value))


def _merged_pads(pad: Pad, begin: Ints, end: Ints) -> tuple[Ints, ...] | None:
    amounts = (*pad.before, *pad.after)
    if pad.mode != "constant" or min(amounts) < 0 or any((*pad.before[:2], *pad.after[:2])):
        return None
    return tuple(
        tuple(a + b for a, b in zip(x, y, strict=True)) for x, y in ((pad.before[2:], begin), (pad.after[2:], end))
    )


def _within(pads: tuple[Ints, ...], window: Sequence[Dim], dilations: Ints) -> bool:
    """Whether no window lies in the padding alone."""
    reach = [bounds(span(extent, dilation))[0] for extent, dilation in zip(window, dilations, strict=True)]
    return all(amount < limit for side in pads for amount, limit in zip(side, reach, strict=True))


def _foldable(conv: Value, uses: Uses) -> bool:
    """Whether a convolution may change its weights and its bias."""
    if not isinstance(conv.op, Convolution | Deconvolution) or not uses.once(conv):
        return False
    return conv.type.dtype.is_float and all(is_constant(operand) for operand in conv.inputs[1:])


def _is_float_constant(value: Value) -> bool:
    return is_constant(value) and value.type.dtype.is_float


def _groups(conv: Value) -> int:
    assert isinstance(conv.op, Convolution | Deconvolution)
    return conv.op.groups


def _grouped(weights: Value, groups: int) -> Floats:
    """Weights of a convolution as ``[groups, O/groups, C/groups, taps]``."""
    array = exact(weights)
    return array.reshape(groups, array.shape[0] // groups, array.shape[1], -1)


def _scaled_outputs(conv: Value, factor: Floats) -> Floats:
    """Weights with every output channel times a factor."""
    array = exact(conv.inputs[1])
    if isinstance(conv.op, Convolution):
        return array * factor.reshape(-1, *[1] * (array.ndim - 1))
    groups = _groups(conv)
    grouped = array.reshape(groups, array.shape[0] // groups, array.shape[1], -1)
    return (grouped * factor.reshape(groups, 1, -1, 1)).reshape(array.shape)


RULES = (
    batch_normalization, scale_after, bias_after, scale_after_sum, scale_before, shift_before, padding_before,
    padding_before_pool,
)  # fmt: skip
fold_into_convolutions = rules_pass("fold_into_convolutions", RULES)
