"""Copies of elements that lie side by side."""

from __future__ import annotations

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.target import Target
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.region import Region
from tensorwright.ops.shape import Concatenation
from tensorwright.tensor.dtype import WORDS, DType


def is_copied(region: Region) -> bool:
    """Whether a region only puts pieces side by side along an axis whose extents are known at run time."""
    value = region.output
    if len(region.values) > 1 or not isinstance(value.op, Concatenation) or len(value.inputs) < 2:
        return False
    axis = value.op.axis
    is_open = any(not isinstance(piece.type.shape[axis], int) for piece in value.inputs)
    return is_open and value.type.dtype.size in WORDS


def copy(
    builder: FunctionBuilder, target: Target, word: DType, destination: Pointer, source: Pointer, count: Register
) -> None:
    """Copy so many words, not fewer than none, from one place to another that does not overlap it."""
    lanes = target.lanes(word)
    whole = (Term(builder, count) // lanes * lanes).register
    for begin, end, step in ((0, whole, lanes), (whole, count, 1)):
        with builder.loop(begin, end, step) as loop:
            element = builder.load(builder.offset(source, loop.index, word), word, step)
            builder.store(element, builder.offset(destination, loop.index, word), word)
