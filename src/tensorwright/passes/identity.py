"""Operators that change nothing, or that do together what one of them can do alone: casts, views and moves."""

from __future__ import annotations

from tensorwright.base.errors import ShapeError
from tensorwright.graph.graph import Value, apply, is_constant
from tensorwright.ops.activation import PRelu
from tensorwright.ops.elementwise import Binary, Cast, Elementwise, Identity, Select
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.shape import Expand, Pad, Reshape, Slice, Tile, Transpose
from tensorwright.passes.rewrite import joined_name, rewrite, rules_pass
from tensorwright.tensor.dtype import DType

MANTISSA = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
EXPONENT = {"float64": 11, "float32": 8, "float16": 5, "bfloat16": 8}


@rewrite(Identity)
def identity(value: Value) -> Value | None:
    """``Identity(x) = x``."""
    return value.inputs[0]


@rewrite(Cast)
def cast(value: Value) -> Value | None:
    """``Cast(x) = x`` for the type that x has; ``Cast(Cast(x)) = Cast(x)`` when the inner one loses nothing."""
    (x,) = value.inputs
    if x.type == value.type:
        return x
    if isinstance(x.op, Cast) and _holds(x.type.dtype, x.inputs[0].type.dtype):
        return apply(value.op, x.inputs[0], name=joined_name(x, value))
    return None


def _holds(wide: DType, narrow: DType) -> bool:
    """Whether a type represents every value of another one."""
    if wide == narrow or narrow.kind == "bool":
        return True
    bits = 8 * narrow.size - (narrow.kind == "signed")
    if wide.is_float:
        if narrow.is_float:
            return MANTISSA[wide.name] >= MANTISSA[narrow.name] and EXPONENT[wide.name] >= EXPONENT[narrow.name]
        return MANTISSA[wide.name] >= bits and wide.size >= 4
    if narrow.is_float or wide.kind == "bool" or (wide.kind == "unsigned" and narrow.kind == "signed"):
        return False
    return 8 * wide.size - (wide.kind == "signed") >= bits


@rewrite(Reshape)
def reshape(value: Value) -> Value | None:
    """``Reshape(x) = x`` for the shape that x has; ``Reshape(Reshape(x)) = Reshape(x)``."""
    (x,) = value.inputs
    if x.type == value.type:
        return x
    if isinstance(x.op, Reshape):
        return apply(value.op, x.inputs[0], name=joined_name(x, value))
    return None


@rewrite(Transpose)
def transpose(value: Value) -> Value | None:
    """``Transpose(Transpose(x)) = Transpose(x)``; a transpose that moves only axes of extent 1 is a Reshape."""
    (x,) = value.inputs
    order = permutation_of(value)
    if order == tuple(range(len(order))):
        return x
    if isinstance(x.op, Transpose):
        inner = x.op.permutation
        return apply(Transpose(tuple(inner[axis] for axis in order)), x.inputs[0], name=joined_name(x, value))
    moving = [axis for axis in order if x.type.shape[axis] != 1]
    if moving == sorted(moving):
        return apply(Reshape(value.type.shape), x, name=value.name)
    return None


def permutation_of(value: Value) -> tuple[int, ...]:
    """The permutation of a transposed value."""
    assert isinstance(value.op, Transpose)
    return value.op.permutation


@rewrite(Slice)
def slice_whole(value: Value) -> Value | None:
    """``x[0:n:1] = x``; ``x[s₁::t₁][s₂::t₂] = x[s₁ + s₂ t₁::t₁ t₂]``."""
    (x,) = value.inputs
    op = value.op
    assert isinstance(op, Slice)
    forward = all(step == 1 or extent == 1 for step, extent in zip(op.steps, op.extents, strict=True))
    if op.extents == x.type.shape and all(start == 0 for start in op.starts) and forward:
        return x
    if not isinstance(x.op, Slice):
        return None
    inner = x.op
    starts = tuple(s + o * t for s, o, t in zip(inner.starts, op.starts, inner.steps, strict=True))
    steps = tuple(a * b for a, b in zip(inner.steps, op.steps, strict=True))
    return apply(Slice(starts, op.extents, steps), x.inputs[0], name=joined_name(x, value))


@rewrite(Pad)
def pad(value: Value) -> Value | None:
    """``Pad(x) = x`` for nothing to add; ``Pad(Pad(x)) = Pad(x)`` of one constant; ``Pad(x) = x[…]`` that crops."""
    (x,) = value.inputs
    op = value.op
    assert isinstance(op, Pad)
    amounts = (*op.before, *op.after)
    if not any(amounts):
        return x
    if all(amount <= 0 for amount in amounts):
        starts = tuple(-amount for amount in op.before)
        return apply(Slice(starts, value.type.shape, (1,) * len(starts)), x, name=value.name)
    inner = x.op
    if not isinstance(inner, Pad) or not op.mode == inner.mode == "constant" or op.value != inner.value:
        return None
    if any(amount < 0 for amount in (*amounts, *inner.before, *inner.after)):
        return None
    before = tuple(a + b for a, b in zip(op.before, inner.before, strict=True))
    after = tuple(a + b for a, b in zip(op.after, inner.after, strict=True))
    return apply(Pad(before, after, "constant", op.value), x.inputs[0], name=joined_name(x, value))


@rewrite(Expand)
def expand(value: Value) -> Value | None:
    """``Expand(x) = Reshape(x)`` when no element is repeated; ``Expand(Expand(x)) = Expand(x)``."""
    (x,) = value.inputs
    if x.type == value.type:
        return x
    if x.type.elements == value.type.elements:
        return apply(Reshape(value.type.shape), x, name=value.name)
    if isinstance(x.op, Expand):
        return apply(Expand(value.type.shape), x.inputs[0], name=joined_name(x, value))
    return None


@rewrite(Tile)
def tile(value: Value) -> Value | None:
    """``Tile(x) = x`` for one repeat; ``Tile(x) = Expand(x)`` where only axes of extent 1 are repeated."""
    (x,) = value.inputs
    op = value.op
    assert isinstance(op, Tile)
    repeated = [extent for extent, times in zip(x.type.shape, op.repeats, strict=True) if times != 1]
    if not repeated:
        return x
    return apply(Expand(value.type.shape), x, name=value.name) if all(n == 1 for n in repeated) else None


@rewrite(Binary, Select, PRelu, MatMul)
def broadcast_operand(value: Value) -> Value | None:
    """``f(Expand(x), y) = f(x, y)`` where f broadcasts x anyway."""
    for number, operand in enumerate(value.inputs):
        if isinstance(operand.op, Expand):
            inputs = (*value.inputs[:number], operand.inputs[0], *value.inputs[number + 1 :])
            if _fits(value, inputs):
                return apply(value.op, *inputs, name=value.name)
    return None


def _fits(value: Value, inputs: tuple[Value, ...]) -> bool:
    if isinstance(value.op, MatMul) and any(operand.type.rank < 2 for operand in inputs):
        return False
    try:
        return value.op.infer([operand.type for operand in inputs]) == value.type
    except ShapeError:  # Inner extents of products and the operand of PRelu are not broadcast.
        return False


@rewrite(Elementwise)
def expand_later(value: Value) -> Value | None:
    """``f(Expand(x)) = Expand(f(x))``: fewer elements to compute."""
    if len(value.inputs) != 1 or not isinstance(value.inputs[0].op, Expand) or is_constant(value):
        return None
    return apply(Expand(value.type.shape), apply(value.op, value.inputs[0].inputs[0], name=value.name), name=value.name)


RULES = (
    identity, cast, reshape, transpose, slice_whole, pad, expand, tile, broadcast_operand, expand_later,
)  # fmt: skip
remove_identities = rules_pass("remove_identities", RULES)
