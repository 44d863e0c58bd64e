"""Moves the scale of a whole tensor back to constants, where it costs nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tensorwright.graph.graph import Value, apply, is_constant
from tensorwright.ops.convolution import Convolution, Deconvolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.shape import Expand, Reshape, Slice, Tile, Transpose
from tensorwright.passes.arithmetic import function_of
from tensorwright.passes.constants import exact, finite_constant, uniform
from tensorwright.passes.rewrite import Uses, joined_name, rewrite_with_uses, rules_pass

DEEPEST = 32
LEAST = 1e-3
"""Factors below it, and above its inverse, stay where they are: elsewhere they might overflow."""


@rewrite_with_uses(Binary)
def scale_at_source(value: Value, uses: Uses) -> Value | None:
    """``s · f(w) = f(s w)`` for a number s, a constant w and f made of products, sums and moves of elements."""
    x, constant = value.inputs
    number = uniform(constant) if function_of(value) == "mul" else None
    if number is None or not math.isfinite(number) or is_constant(x) or x.type != value.type:
        return None
    if not value.type.dtype.is_float:
        return None
    scaled = _scaled(x, number, uses, DEEPEST)
    return None if scaled is None else apply(scaled.op, *scaled.inputs, name=joined_name(scaled, value))


def _scaled(value: Value, number: float, uses: Uses, depth: int) -> Value | None:
    """A value times a number, by changing constants alone; None if that cannot be."""
    if is_constant(value):
        return finite_constant(exact(value) * number, value.type.dtype, value.name)
    if depth == 0 or not uses.once(value):
        return None
    replaced = _scaled_inputs(value, number, uses, depth - 1)
    return None if replaced is None else apply(value.op, *replaced, name=value.name)


def _scaled_inputs(value: Value, number: float, uses: Uses, depth: int) -> Sequence[Value] | None:
    """The operands with which a value becomes `number` times what it is."""
    inputs = value.inputs
    match value.op:
        case Transpose() | Reshape() | Slice() | Expand() | Tile():
            return _all([_scaled(inputs[0], number, uses, depth)])
        case Convolution() | Deconvolution():
            constants = [_scaled(operand, number, uses, 0) for operand in inputs[1:]]
            return _all([inputs[0], *constants])
        case MatMul():
            return _one_of(inputs, number, uses, depth)
        case Binary(function="mul"):
            return _one_of(inputs, number, uses, depth)
        case Binary(function="add" | "sub"):
            return _all([_scaled(operand, number, uses, depth) for operand in inputs])
        case _:
            return None


def _all(values: Sequence[Value | None]) -> Sequence[Value] | None:
    found = [value for value in values if value is not None]
    return found if len(found) == len(values) else None


def _one_of(inputs: Sequence[Value], number: float, uses: Uses, depth: int) -> Sequence[Value] | None:
    for position in (1, 0):
        scaled = _scaled(inputs[position], number, uses, depth)
        if scaled is not None:
            return [*inputs[:position], scaled, *inputs[position + 1 :]]
    return None


@rewrite_with_uses(MatMul)
def scale_on_the_left(value: Value, uses: Uses) -> Value | None:
    """``a(w) · (s b) = a(s w) · b`` for a number s and a constant w: to scale the keys of a cache is to copy them."""
    left, right = value.inputs
    number = uniform(right.inputs[1]) if function_of(right) == "mul" else None
    if number is None or not LEAST <= abs(number) <= 1 / LEAST or not uses.once(right):
        return None
    b = right.inputs[0]
    if is_constant(b) or b.type != right.type or not value.type.dtype.is_float:
        return None
    scaled = _scaled(left, number, uses, DEEPEST)
    return None if scaled is None else apply(value.op, scaled, b, name=joined_name(right, value))


RULES = (scale_at_source, scale_on_the_left)
move_scales = rules_pass("move_scales", RULES)
