"""One of several ways to say the same: moves of elements go towards the outputs, and what they cancel with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tensorwright.graph.graph import Value, apply, constant_value, is_constant, weights_in
from tensorwright.graph.op import Op
from tensorwright.ops.elementwise import Binary, Elementwise
from tensorwright.ops.indexing import Gather
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction, reduced_shape
from tensorwright.ops.shape import Concatenation, Pad, Reshape, Slice, Transpose
from tensorwright.passes.identity import permutation_of
from tensorwright.passes.rewrite import Uses, joined_name, rewrite, rewrite_with_uses, rules_pass
from tensorwright.tensor.dim import Dim, bounds
from tensorwright.tensor.type import Shape
from tensorwright.tensor.weights import weights_of

NESTING = ("add", "mean", "max", "min", "mul")
"""Reductions of which one over several axes equals one after the other."""


@rewrite_with_uses(Elementwise)
def transpose_later(value: Value, uses: Uses) -> Value | None:
    """``f(Transpose(x)) = Transpose(f(x))``; of two operands both are transposed alike, or one is a constant."""
    first = next((operand for operand in value.inputs if isinstance(operand.op, Transpose)), None)
    if first is None or len(value.inputs) > (2 if isinstance(value.op, Binary) else 1):
        return None
    order = permutation_of(first)
    if not _saves_one(value, Transpose, uses):
        return None
    inputs = [_transposed_back(operand, order) for operand in value.inputs]
    known = [operand for operand in inputs if operand is not None]
    if len(known) < len(inputs):
        return None
    inner = apply(value.op, *known, name=value.name)
    return apply(Transpose(order), inner, name=first.name)


def _saves_one(value: Value, move: type[Op], uses: Uses) -> bool:
    """Whether at least one moved operand is not needed once the move comes after the operator."""
    return any(isinstance(operand.op, move) and uses.only_by(value, operand) for operand in value.inputs)


def _transposed_back(operand: Value, order: tuple[int, ...]) -> Value | None:
    """The value of which an operand is a transpose; a reshape will do where axes of extent 1 are all that moves."""
    if isinstance(operand.op, Transpose):
        return operand.inputs[0] if permutation_of(operand) == order else None
    if not is_constant(operand) and operand.type.rank == len(order):
        back = tuple(order.index(axis) for axis in range(len(order)))
        wide = [axis for axis in back if operand.type.shape[axis] != 1]
        shape = tuple(operand.type.shape[axis] for axis in back)
        return apply(Reshape(shape), operand, name=operand.name) if wide == sorted(wide) else None
    if not is_constant(operand) or operand.type.rank > len(order):
        return None
    array = weights_in(operand).array
    if array.size == 1:
        return constant_value(weights_of(array.reshape(())), operand.name)
    padded = array.reshape((1,) * (len(order) - array.ndim) + array.shape)
    return constant_value(weights_of(np.transpose(padded, np.argsort(order))), operand.name)


@rewrite_with_uses(Elementwise)
def reshape_later(value: Value, uses: Uses) -> Value | None:
    """``f(Reshape(x)) = Reshape(f(x))``, so that f is next to what makes x; as with transposes for two operands."""
    first = next((operand for operand in value.inputs if isinstance(operand.op, Reshape)), None)
    if first is None or len(value.inputs) > (2 if isinstance(value.op, Binary) else 1):
        return None
    source = first.inputs[0]
    if first.type.shape != value.type.shape or is_constant(source) or not _saves_one(value, Reshape, uses):
        return None
    inputs = [_reshaped_back(operand, first) for operand in value.inputs]
    known = [operand for operand in inputs if operand is not None]
    if len(known) < len(inputs):
        return None
    inner = apply(value.op, *known, name=value.name)
    return apply(Reshape(value.type.shape), inner, name=first.name) if inner.type.shape == source.type.shape else None


def _reshaped_back(operand: Value, reshaped: Value) -> Value | None:
    """An operand as it has to be when the reshape comes after the operator."""
    before, after = reshaped.inputs[0].type.shape, reshaped.type.shape
    if isinstance(operand.op, Reshape) and operand.type == reshaped.type and operand.inputs[0].type.shape == before:
        return operand.inputs[0]
    if not is_constant(operand):
        return None
    shape = operand.type.shape
    if operand.type.elements == 1:
        return constant_value(weights_of(weights_in(operand).array.reshape(())), operand.name)
    last_only = all(extent == 1 for extent in shape[:-1]) and shape[-1:] == after[-1:] == before[-1:]
    return constant_value(weights_of(weights_in(operand).array.reshape(-1)), operand.name) if last_only else None


@rewrite_with_uses(Concatenation)
def transpose_after_concatenation(value: Value, uses: Uses) -> Value | None:
    """``[Transpose(x), Transpose(y)] = Transpose([x, y])`` along the axis that the transpose moves."""
    first = value.inputs[0]
    if not isinstance(first.op, Transpose) or len(value.inputs) < 2:
        return None
    order = permutation_of(first)
    alike = all(isinstance(v.op, Transpose) and permutation_of(v) == order for v in value.inputs)
    if not alike or not _saves_one(value, Transpose, uses):
        return None
    assert isinstance(value.op, Concatenation)
    joined = apply(Concatenation(order[value.op.axis]), *(v.inputs[0] for v in value.inputs), name=value.name)
    return apply(Transpose(order), joined, name=first.name)


@rewrite(Pad)
def transpose_after_pad(value: Value) -> Value | None:
    """``Pad(Transpose(x)) = Transpose(Pad(x))``: a pad of an image stands before a convolution, which has one too."""
    (operand,) = value.inputs
    op = value.op
    assert isinstance(op, Pad)
    if not isinstance(operand.op, Transpose):
        return None
    order = permutation_of(operand)
    places = [order.index(axis) for axis in range(len(order))]
    before, after = (tuple(amounts[place] for place in places) for amounts in (op.before, op.after))
    inner = apply(replace(op, before=before, after=after), operand.inputs[0], name=value.name)
    return apply(Transpose(order), inner, name=operand.name)


@rewrite_with_uses(Slice)
def transpose_after_slice(value: Value, uses: Uses) -> Value | None:
    """``Slice(Transpose(x)) = Transpose(Slice(x))``: fewer elements to move."""
    (operand,) = value.inputs
    op = value.op
    assert isinstance(op, Slice)
    if not isinstance(operand.op, Transpose) or not uses.once(operand):
        return None
    order = permutation_of(operand)
    places = [order.index(axis) for axis in range(len(order))]
    starts, extents = (tuple(dims[place] for place in places) for dims in (op.starts, op.extents))
    part = Slice(starts, extents, tuple(op.steps[place] for place in places))
    return apply(Transpose(order), apply(part, operand.inputs[0], name=value.name), name=operand.name)


@rewrite(Reduction)
def transpose_after_reduction(value: Value) -> Value | None:
    """``Reduction(Transpose(x)) = Transpose(Reduction(x))``: fewer elements to move, often none.

    A transpose with other users stays for them.
    """
    (operand,) = value.inputs
    op = value.op
    assert isinstance(op, Reduction)
    if not isinstance(operand.op, Transpose) or not op.axes:
        return None
    order = permutation_of(operand)
    axes = tuple(sorted(order[axis] for axis in op.axes))
    inner = apply(Reduction(op.function, axes, op.keep_dims), operand.inputs[0], name=value.name)
    if op.keep_dims:
        return apply(Transpose(order), inner, name=operand.name)
    kept = [axis for axis in order if axis not in axes]
    rest = tuple(sorted(kept).index(axis) for axis in kept)
    return inner if rest == tuple(range(len(rest))) else apply(Transpose(rest), inner, name=operand.name)


@rewrite_with_uses(Reduction)
def nested_reduction(value: Value, uses: Uses) -> Value | None:
    """``f(f(x)) = f(x)`` over the axes of both; over axes of extent 1 (and no others) ``f(x) = Reshape(x)``."""
    (x,) = value.inputs
    op = value.op
    assert isinstance(op, Reduction)
    if op.function not in NESTING:
        return None
    if all(x.type.shape[axis] == 1 for axis in op.axes):
        return apply(Reshape(value.type.shape), x, name=value.name)
    inner = x.op
    if not isinstance(inner, Reduction) or inner.function != op.function or not uses.once(x):
        return None
    if op.function == "mean" and not value.type.dtype.is_float:
        return None
    rank = x.inputs[0].type.rank
    left = list(range(rank)) if inner.keep_dims else [axis for axis in range(rank) if axis not in inner.axes]
    axes = tuple(sorted({*inner.axes, *(left[axis] for axis in op.axes)}))
    merged = apply(Reduction(op.function, axes, keep_dims=True), x.inputs[0], name=joined_name(x, value))
    if merged.type == value.type:
        return merged
    bare = Reduction(op.function, axes, keep_dims=False)
    if bare.infer([x.inputs[0].type]) == value.type:
        return apply(bare, x.inputs[0], name=joined_name(x, value))
    return apply(Reshape(value.type.shape), merged, name=value.name)


@rewrite_with_uses(Reshape)
def reduction_without_axes(value: Value, uses: Uses) -> Value | None:
    """``Reshape(Reduction(x))`` that drops exactly the reduced axes is a Reduction that keeps none."""
    (x,) = value.inputs
    if not isinstance(x.op, Reduction) or not x.op.keep_dims or not uses.once(x):
        return None
    if reduced_shape(x.inputs[0].type.shape, x.op.axes, keep_dims=False) != value.type.shape:
        return None
    return apply(Reduction(x.op.function, x.op.axes, keep_dims=False), x.inputs[0], name=joined_name(x, value))


@rewrite(Pool)
def global_pool(value: Value) -> Value | None:
    """A window as large as the input makes a pool a Reduction over the spatial axes."""
    (x,) = value.inputs
    op = value.op
    assert isinstance(op, Pool)
    function = {"average": "mean", "max": "max"}.get(op.mode)
    whole = op.window == x.type.shape[2:] and all(d == 1 for d in op.dilations)
    if function is None or not whole or any((*op.pads_begin, *op.pads_end)):
        return None
    axes = tuple(range(2, x.type.rank))
    reduced = apply(Reduction("mean" if function == "mean" else "max", axes, keep_dims=True), x, name=value.name)
    return reduced if reduced.type == value.type else None


@rewrite(Concatenation)
def concatenation(value: Value) -> Value | None:
    """``[x] = x``; empty parts are dropped; neighbouring slices of one value are one slice; nested ones are one."""
    op = value.op
    assert isinstance(op, Concatenation)
    if len(value.inputs) == 1:
        return value.inputs[0]
    parts: list[Value] = []
    for part in (part for part in value.inputs if part.type.shape[op.axis] != 0):
        joined = _joined_slices(parts[-1], part, op.axis) if parts else None
        parts[-1 if joined else len(parts) :] = [joined or part]
    parts = parts or [value.inputs[0]]
    return apply(op, *parts, name=value.name) if len(parts) < len(value.inputs) else None


@rewrite_with_uses(Concatenation)
def nested_concatenation(value: Value, uses: Uses) -> Value | None:
    """``[[x, y], z] = [x, y, z]`` along one axis."""
    op = value.op
    nested = {operand: None for operand in value.inputs if operand.op.same(op) and uses.once(operand)}
    if not nested:
        return None
    flat = [part for operand in value.inputs for part in (operand.inputs if operand in nested else (operand,))]
    return apply(op, *flat, name=joined_name(*nested, value))


def _joined_slices(left: Value, right: Value, axis: int) -> Value | None:
    a, b = left.op, right.op
    if not isinstance(a, Slice) or not isinstance(b, Slice) or left.inputs != right.inputs:
        return None
    if a.steps[axis] != 1 or a.steps != b.steps or b.starts[axis] != a.starts[axis] + a.extents[axis]:
        return None
    others = [n for n in range(len(a.starts)) if n != axis]
    if any(a.starts[n] != b.starts[n] or a.extents[n] != b.extents[n] for n in others):
        return None
    extents = (*a.extents[:axis], a.extents[axis] + b.extents[axis], *a.extents[axis + 1 :])
    return apply(Slice(a.starts, extents, a.steps), left.inputs[0], name=joined_name(left, right))


@rewrite(Slice)
def slice_of_concatenation(value: Value) -> Value | None:
    """``[x, y][range inside x] = x[range]``."""
    (whole,) = value.inputs
    op = value.op
    assert isinstance(op, Slice)
    if not isinstance(whole.op, Concatenation):
        return None
    axis = whole.op.axis
    if op.steps[axis] != 1:
        return None
    offset: Dim = 0
    for part in whole.inputs:
        start = op.starts[axis] - offset
        room = part.type.shape[axis] - start - op.extents[axis]
        if bounds(start)[0] >= 0 and bounds(room)[0] >= 0:
            starts = (*op.starts[:axis], start, *op.starts[axis + 1 :])
            return apply(Slice(starts, op.extents, op.steps), part, name=value.name)
        offset = offset + part.type.shape[axis]
    return None


@rewrite(Gather)
def gather_range(value: Value) -> Value | None:
    """``Gather(x, [a, a + s, a + 2s, …]) = x[a::s]`` for constant indices of rank 0 or 1 that every extent has."""
    x, indices = value.inputs
    if not is_constant(indices) or indices.type.rank > 1 or indices.type.elements == 0:
        return None
    assert isinstance(value.op, Gather)
    axis = value.op.axis
    extent = x.type.shape[axis]
    picked = [int(index) for index in weights_in(indices).array.reshape(-1)]
    steps = set(np.diff(picked).tolist()) or {1}
    if len(steps) > 1 or 0 in steps or not (min(picked) >= 0 or max(picked) < 0):
        return None
    least = bounds(extent)[0]
    if not -least <= min(picked) <= max(picked) < least:
        return None
    start = picked[0] if picked[0] >= 0 else extent + picked[0]
    lead, tail = x.type.shape[:axis], x.type.shape[axis + 1 :]
    ones = (1,) * x.type.rank
    zeros: Shape = (0,) * x.type.rank
    part = apply(
        Slice(
            (*zeros[:axis], start, *zeros[axis + 1 :]),
            (*lead, len(picked), *tail),
            (*ones[:axis], steps.pop(), *ones[axis + 1 :]),
        ),
        x,
        name=value.name,
    )
    return part if part.type == value.type else apply(Reshape(value.type.shape), part, name=value.name)


RULES = (
    transpose_later, reshape_later, transpose_after_concatenation, transpose_after_pad,
    transpose_after_slice, transpose_after_reduction, nested_reduction,
    reduction_without_axes, global_pool, concatenation, nested_concatenation, slice_of_concatenation, gather_range,
)  # fmt: skip
canonicalise = rules_pass("canonicalise", RULES)
