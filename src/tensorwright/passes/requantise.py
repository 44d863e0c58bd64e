"""What lies between the integers of one product and those of the next, with less arithmetic.

``Quantize(f(Dequantize(sums)))`` is what a quantised network has between two products. Where f is made of sums,
maxima and limits, the division by the step goes into f's constants, limits that the type has anyway go away, and what
only picks elements picks bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tensorwright.graph.graph import Value, apply, is_constant
from tensorwright.graph.op import Array
from tensorwright.ops.activation import Clip, Relu
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.pooling import Pool
from tensorwright.ops.quantization import Dequantize, Quantize
from tensorwright.ops.shape import Pad
from tensorwright.passes.arithmetic import function_of
from tensorwright.passes.constants import exact, finite_constant, uniform
from tensorwright.passes.fold import known_array
from tensorwright.passes.rewrite import Uses, joined_name, rewrite, rewrite_with_uses, rules_pass
from tensorwright.tensor.dtype import FLOAT32, INT32

DEEPEST = 16


@rewrite(Dequantize)
def without_zero(value: Value) -> Value | None:
    """``Dequantize(q, s, 0) = Dequantize(q, s)``"""
    zero = known_array(value.inputs[2]) if len(value.inputs) == 3 else None
    if zero is None or zero.any():
        return None
    made = apply(value.op, *value.inputs[:2], name=value.name)
    return made if made.type == value.type else None


@rewrite_with_uses(Quantize)
def divided_before(value: Value, uses: Uses) -> Value | None:
    """``Quantize(f(Dequantize(q, t)), s, z) = Quantize(f'(Dequantize(q, t / s)), 1, z)`` for sums q of a product."""
    x, scale, *zero = value.inputs
    step = uniform(scale)
    if step is None or not 0 < step < np.inf or step == 1 or not _has_sums(x, uses, DEEPEST):
        return None
    scaled = _scaled(x, 1 / step, uses, DEEPEST)
    one = None if scaled is None else finite_constant(np.ones_like(exact(scale)), FLOAT32, scale.name)
    return None if scaled is None or one is None else apply(value.op, scaled, one, *zero, name=value.name)


@rewrite(Quantize)
def limited_by_type(value: Value) -> Value | None:
    """``Quantize(clip(x)) = Quantize(x)`` where the type limits numbers at least as much."""
    x, scale, *zero = value.inputs
    known = [known_array(one) for one in value.inputs[1:]]
    if not isinstance(x.op, Relu | Clip) or any(one is None or one.size != 1 for one in known):
        return None
    constants = [one for one in known if one is not None]
    for limit, beyond in zip(_limits(x), (-np.inf, np.inf), strict=True):
        if limit is not None and _quantised(value, limit, constants) != _quantised(value, beyond, constants):
            return None
    return apply(value.op, x.inputs[0], scale, *zero, name=joined_name(x, value))


@rewrite_with_uses(Quantize)
def maxima_of_integers(value: Value, uses: Uses) -> Value | None:
    """``Quantize(MaxPool(x)) = MaxPool(Quantize(x))`` for one positive scale and one zero point."""
    pool, *constants = value.inputs
    step = uniform(constants[0])
    if not _is_max_pool(pool) or not uses.once(pool) or step is None or step <= 0:
        return None
    if any(constant.type.elements != 1 for constant in constants):
        return None
    return apply(pool.op, apply(value.op, pool.inputs[0], *constants, name=value.name), name=pool.name)


@rewrite(Pool)
def maxima_before_scales(value: Value) -> Value | None:
    """``MaxPool(Dequantize(q, s, z)) = Dequantize(MaxPool(q), s, z)`` for one positive scale and one zero point."""
    (x,) = value.inputs
    if not _is_max_pool(value) or not isinstance(x.op, Dequantize) or x.inputs[0].type.dtype.size != 1:
        return None
    assert isinstance(value.op, Pool)
    if not value.op.windows_meet_input:  # The least float is not what the least integer stands for.
        return None
    integers, *constants = x.inputs
    step = uniform(constants[0])
    if step is None or step <= 0 or any(constant.type.elements != 1 for constant in constants):
        return None
    return apply(x.op, apply(value.op, integers, name=value.name), *constants, name=x.name)


@rewrite_with_uses(Quantize)
def padding_of_integers(value: Value, uses: Uses) -> Value | None:
    """``Quantize(Pad(x, v)) = Pad(Quantize(x), Quantize(v))`` for one scale and one zero point."""
    padded, *constants = value.inputs
    known = [known_array(one) for one in constants]
    arrays = [one for one in known if one is not None and one.size == 1]
    if not isinstance(padded.op, Pad) or not uses.once(padded) or len(arrays) < len(constants):
        return None
    op = replace(padded.op, value=float(_quantised(value, padded.op.value, arrays)))
    return apply(op, apply(value.op, padded.inputs[0], *constants, name=value.name), name=padded.name)


@rewrite(Binary)
def zero_in_bias(value: Value) -> Value | None:
    """``Dequantize(q, s, z) + b = Dequantize(q, s) + (b − z · s)`` for sums q of a product and constants."""
    if function_of(value) != "add" or not isinstance(value.inputs[0].op, Dequantize):
        return None
    product, bias = value.inputs
    if product.inputs[0].type.dtype != INT32 or len(product.inputs) != 3 or not is_constant(bias):
        return None
    integers, scale, zero = product.inputs
    if not is_constant(scale) or not is_constant(zero):
        return None
    shifted = finite_constant(exact(bias) - exact(zero) * exact(scale), FLOAT32, bias.name)
    made = apply(product.op, integers, scale, name=product.name)
    if shifted is None or made.type != product.type:
        return None
    return apply(value.op, made, shifted, name=value.name)


@rewrite(Quantize)
def quantised_again(value: Value) -> Value | None:
    """``Quantize(Dequantize(q, s, z), s, z) = q``"""
    x, *constants = value.inputs
    if not isinstance(x.op, Dequantize) or x.inputs[0].type != value.type or len(x.inputs) != len(value.inputs):
        return None
    known = [known_array(one) for one in (*constants, *x.inputs[1:])]
    arrays = [one for one in known if one is not None]
    if len(arrays) != len(known) or any(one.size != 1 for one in arrays) or not _is_normal(arrays[0].item()):
        return None
    half = len(arrays) // 2
    same = all(ours.item() == theirs.item() for ours, theirs in zip(arrays[:half], arrays[half:], strict=True))
    return x.inputs[0] if same else None


requantise = rules_pass(
    "requantise",
    [
        without_zero,
        zero_in_bias,
        divided_before,
        limited_by_type,
        maxima_of_integers,
        maxima_before_scales,
        padding_of_integers,
        quantised_again,
    ],
)


def _has_sums(value: Value, uses: Uses, depth: int) -> bool:
    """Whether sums of a product of integers are among the leaves of a formula."""
    if isinstance(value.op, Dequantize):
        return value.inputs[0].type.dtype == INT32
    return depth > 0 and any(_has_sums(operand, uses, depth - 1) for operand in _terms(value))


def _terms(value: Value) -> Iterator[Value]:
    if isinstance(value.op, Relu | Clip) or function_of(value) in ("add", "sub"):
        yield from value.inputs


def _scaled(value: Value, number: float, uses: Uses, depth: int) -> Value | None:
    """A formula times a positive number, by changing its constants alone; None if that cannot be."""
    if is_constant(value):
        return finite_constant(exact(value) * number, value.type.dtype, value.name)
    if isinstance(value.op, Dequantize):
        scale = _scaled(value.inputs[1], number, uses, 0) if is_constant(value.inputs[1]) else None
        return scale and apply(value.op, value.inputs[0], scale, *value.inputs[2:], name=value.name)
    if depth == 0 or not uses.once(value) or not list(_terms(value)):
        return None
    inputs = [_scaled(operand, number, uses, depth - 1) for operand in value.inputs]
    found = [one for one in inputs if one is not None]
    if len(found) < len(inputs):
        return None
    op = value.op
    if isinstance(op, Clip):
        low, high = (None if limit is None else limit * number for limit in (op.low, op.high))
        op = replace(op, low=low, high=high)
    return apply(op, *found, name=value.name)


def _limits(value: Value) -> tuple[float | None, float | None]:
    return (value.op.low, value.op.high) if isinstance(value.op, Clip) else (0.0, None)


def _quantised(value: Value, number: float, constants: list[Array]) -> int:
    """What a number becomes."""
    shaped = [one.reshape(()) for one in constants]
    return int(value.op.reference(np.asarray(number, np.float32), *shaped))


def _is_max_pool(value: Value) -> bool:
    return isinstance(value.op, Pool) and value.op.mode == "max" and value.type.rank >= 3


def _is_normal(scale: float) -> bool:
    """Whether quotients by a scale, of products with it, are the integers again."""
    return 1e-30 < scale < 1e30
