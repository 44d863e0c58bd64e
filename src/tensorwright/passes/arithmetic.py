"""Arithmetic on single elements: neutral constants, merged constants and merged activations.

After this pass a constant operand of a commutative function stands on the right, floats are neither divided by
constants nor have constants subtracted, and limits by constants are `Clip` or `Relu`: other rules look for no more.
"""

from __future__ import annotations

import math

import numpy as np

from tensorwright.graph.graph import Value, apply, is_constant
from tensorwright.ops.activation import Clip, HardSigmoid, Relu, Sigmoid
from tensorwright.ops.broadcast import broadcast_shapes
from tensorwright.ops.elementwise import Binary, Select, Unary
from tensorwright.ops.shape import Expand
from tensorwright.passes.constants import Floats, constant_of, exact, is_uniform, uniform
from tensorwright.passes.cse import COMMUTATIVE
from tensorwright.passes.rewrite import joined_name, rewrite, rules_pass
from tensorwright.tensor.dtype import BOOL, DType

NOT_NEGATIVE = ("abs", "exp", "sqrt")
ROUNDING = 1e6
"""Constants this large that cancel are not added up: ``(x + 3·2²²) − 3·2²²`` is a way to round."""


def function_of(value: Value) -> str:
    """The function of a Binary or Unary value; empty for other operators."""
    return value.op.function if isinstance(value.op, Binary | Unary) else ""


@rewrite(Binary)
def constant_right(value: Value) -> Value | None:
    """``c + x = x + c``, likewise for the other commutative functions."""
    left, right = value.inputs
    if function_of(value) in COMMUTATIVE and is_constant(left) and not is_constant(right):
        return apply(value.op, right, left, name=value.name)
    return None


@rewrite(Binary)
def neutral_constant(value: Value) -> Value | None:
    """``x + 0 = x − 0 = x · 1 = x / 1 = x¹ = x``, ``x and true = x or false = x``, unless x broadcasts."""
    x, constant = value.inputs
    neutral = {"add": 0, "sub": 0, "mul": 1, "div": 1, "pow": 1, "and": 1, "or": 0, "xor": 0}.get(function_of(value))
    if neutral is None or x.type != value.type or not is_uniform(constant, neutral):
        return None
    return x


@rewrite(Binary)
def negation(value: Value) -> Value | None:
    """``x · −1 = 0 − x = −x``."""
    left, right = value.inputs
    if value.type.dtype.kind not in ("float", "signed"):
        return None
    if function_of(value) == "mul" and left.type == value.type and is_uniform(right, -1):
        return apply(Unary("neg"), left, name=value.name)
    if function_of(value) == "sub" and right.type == value.type and is_uniform(left, 0):
        return apply(Unary("neg"), right, name=value.name)
    return None


@rewrite(Binary)
def square(value: Value) -> Value | None:
    """``x² = x · x`` and ``x³ = x · x · x`` for powers by a constant."""
    x, exponent = value.inputs
    if function_of(value) != "pow" or x.type != value.type:
        return None
    if is_uniform(exponent, 2):
        return apply(Binary("mul"), x, x, name=value.name)
    if is_uniform(exponent, 3):
        return apply(Binary("mul"), apply(Binary("mul"), x, x, name=value.name), x, name=value.name)
    return None


@rewrite(Binary)
def subtracted_constant(value: Value) -> Value | None:
    """``x − c = x + (−c)`` for floats."""
    x, constant = value.inputs
    if function_of(value) != "sub" or is_constant(x) or not is_constant(constant) or not value.type.dtype.is_float:
        return None
    negated = constant_of(-exact(constant), value.type.dtype, constant.name)
    return apply(Binary("add"), x, negated, name=value.name)


@rewrite(Binary)
def divided_by_constant(value: Value) -> Value | None:
    """``x / c = x · (1/c)`` for floats whose reciprocal is a normal number; two-byte floats only if it is exact."""
    x, constant = value.inputs
    dtype = value.type.dtype
    if function_of(value) != "div" or is_constant(x) or not is_constant(constant) or not dtype.is_float:
        return None
    divisor = exact(constant)
    with np.errstate(all="ignore"):
        reciprocal = (1 / divisor).astype(dtype.numpy)
    wide = reciprocal.astype(np.float64)
    if not _normal(wide, dtype) or (dtype.size == 2 and not np.all(wide * divisor == 1)):
        return None
    return apply(Binary("mul"), x, constant_of(reciprocal, dtype, constant.name), name=value.name)


def _normal(array: Floats, dtype: DType) -> bool:
    tiny = {"float64": 1e-300, "float16": 6.2e-5}.get(dtype.name, 1.2e-38)
    return bool(np.all(np.isfinite(array)) and np.all(np.abs(array) >= tiny))


@rewrite(Binary)
def merged_constants(value: Value) -> Value | None:
    """``(x + a) + b = x + (a + b)`` and ``(x · a) · b = x · (a b)`` for floats, if the merged constant is no larger."""
    inner, outer = value.inputs
    function = function_of(value)
    if function not in ("add", "mul") or function_of(inner) != function or not value.type.dtype.is_float:
        return None
    if not is_constant(outer) or not is_constant(inner.inputs[1]) or is_constant(inner.inputs[0]):
        return None
    a, b = exact(inner.inputs[1]), exact(outer)
    if broadcast_shapes([inner.inputs[1].type.shape, outer.type.shape]) not in (a.shape, b.shape):
        return None
    with np.errstate(all="ignore"):
        merged = (a + b if function == "add" else a * b).astype(value.type.dtype.numpy)
    if not _harmless(function, a, b, merged.astype(np.float64), value.type.dtype):
        return None
    constant = constant_of(merged, value.type.dtype, outer.name)
    return apply(value.op, inner.inputs[0], constant, name=joined_name(inner, value))


def _harmless(function: str, a: Floats, b: Floats, merged: Floats, dtype: DType) -> bool:
    if function == "mul":
        return _normal(np.where((a * b) == 0, 1.0, merged), dtype)
    largest = np.maximum(np.abs(a), np.abs(b))
    return bool(np.all((largest < ROUNDING) | (np.abs(merged) >= largest / 2)))


@rewrite(Binary)
def limit(value: Value) -> Value | None:
    """``max(x, c) = Clip(x, c, ∞)`` and ``min(x, c) = Clip(x, −∞, c)`` for floats."""
    x, constant = value.inputs
    bound = uniform(constant)
    if bound is None or math.isnan(bound) or x.type != value.type or not value.type.dtype.is_float:
        return None
    limits = {"max": Clip(bound, None), "min": Clip(None, bound)}.get(function_of(value))
    return None if limits is None else apply(limits, x, name=value.name)


@rewrite(Clip)
def clip(value: Value) -> Value | None:
    """``Clip(x, 0, ∞) = Relu(x)``, ``Clip(x, −∞, ∞) = x``, ``Clip(Clip(x)) = Clip(x)``, ``Clip(Relu(x)) = Clip(x)``."""
    (x,) = value.inputs
    if not value.type.dtype.is_float:
        return None
    low, high = limits_of(value)
    if low == -math.inf and high == math.inf:
        return x
    if low == 0 and high == math.inf:
        return apply(Relu(), x, name=value.name)
    if isinstance(x.op, Clip | Relu):
        first, last = limits_of(x)
        ends = [min(max(end, low), high) for end in (first, last)]
        return apply(_limits(*ends), x.inputs[0], name=joined_name(x, value))
    return None


def limits_of(value: Value) -> tuple[float, float]:
    """The least and the largest number that a Clip or Relu gives."""
    if isinstance(value.op, Relu):
        return 0.0, math.inf
    assert isinstance(value.op, Clip)
    low = -math.inf if value.op.low is None else value.op.low
    high = math.inf if value.op.high is None else value.op.high
    return min(low, high), high


def _limits(low: float, high: float) -> Clip:
    return Clip(None if low == -math.inf else low, None if high == math.inf else high)


@rewrite(Relu)
def relu(value: Value) -> Value | None:
    """``Relu(f(x)) = f(x)`` where f is never negative; ``Relu(Clip(x, a, b)) = Clip(x, max(a, 0), max(b, 0))``."""
    (x,) = value.inputs
    if isinstance(x.op, Relu | Sigmoid | HardSigmoid) or function_of(x) in NOT_NEGATIVE:
        return x
    if isinstance(x.op, Clip) and value.type.dtype.is_float:
        first, last = limits_of(x)
        return apply(_limits(max(first, 0.0), max(last, 0.0)), x.inputs[0], name=joined_name(x, value))
    return None


@rewrite(Unary)
def repeated_function(value: Value) -> Value | None:
    """``−(−x) = x``, ``¬¬x = x``, ``~~x = x``; ``f(f(x)) = f(x)`` for |·| and rounding; ``|x| = x`` for x ≥ 0."""
    (x,) = value.inputs
    function = function_of(value)
    if isinstance(x.op, Unary) and function_of(x) == function:
        if function in ("neg", "not", "bit_not"):
            return x.inputs[0]
        return x if function in ("abs", "floor", "ceil", "round", "trunc", "sign") else None
    if function == "abs" and (isinstance(x.op, Relu | Sigmoid) or function_of(x) in NOT_NEGATIVE):
        return x
    return None


@rewrite(Binary)
def added_negative(value: Value) -> Value | None:
    """``a + (−b) = a − b`` and ``a − (−b) = a + b``."""
    a, b = value.inputs
    other = {"add": "sub", "sub": "add"}.get(function_of(value))
    if other is None or value.type.dtype == BOOL or function_of(b) != "neg":
        return None
    return apply(Binary(other), a, b.inputs[0], name=joined_name(b, value))


@rewrite(Select)
def select(value: Value) -> Value | None:
    """``true ? a : b = a``, ``false ? a : b = b``, ``c ? a : a = a``, expanded to the shape of the whole."""
    condition, then, otherwise = value.inputs
    known = uniform(condition)
    if known is None and then is not otherwise:
        return None
    kept = then if known or then is otherwise else otherwise
    return kept if kept.type == value.type else apply(Expand(value.type.shape), kept, name=value.name)


RULES = (
    constant_right, neutral_constant, negation, square, subtracted_constant, divided_by_constant, merged_constants,
    limit, clip, relu, repeated_function, added_negative, select,
)  # fmt: skip
simplify_arithmetic = rules_pass("simplify_arithmetic", RULES)
