"""Rows of a product or convolution: their indexes, and which taps lie inside of the input for them."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.cuda.nest import split_index
from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.values import Register, i64, literal
from tensorwright.kernels.cuda.problem import Problem
from tensorwright.tensor.dtype import INT32


def split_row(emitter: ScalarEmitter, problem: Problem, number: Register) -> list[Register]:
    """The index along each axis of a row's number (i64)."""
    return split_index(emitter, [axis.extent for axis in problem.row_axes], number)


def row_origin(emitter: ScalarEmitter, problem: Problem, indexes: Sequence[Register]) -> Register:
    """Elements (i64) from the start of the left operand to the first tap of a row."""
    builder = emitter.builder
    offset = i64(problem.origin)
    for index, axis in zip(indexes, problem.row_axes, strict=True):
        offset = builder.add(offset, builder.mul(index, emitter.integer(axis.step)))
    return offset


def taps_inside(builder: FunctionBuilder, problem: Problem, indexes: Sequence[Register]) -> Register:
    """A bit for every tap (i32) that says whether it lies inside of the input for a row."""
    if not problem.pads:
        return literal((1 << len(problem.taps)) - 1, INT32)
    bits = literal(0, INT32)
    known: dict[tuple[int, tuple[int, int]], Register] = {}
    for number, tap in enumerate(problem.taps):
        valid: Register | None = None
        for axis, limits in enumerate(tap.valid):
            if (axis, limits) not in known:
                known[axis, limits] = _between(builder, indexes[1 + axis], *limits)
            one = known[axis, limits]
            valid = one if valid is None else builder.binary("and", valid, one)
        assert valid is not None
        bits = builder.binary("or", bits, builder.select(valid, literal(1 << number, INT32), literal(0, INT32)))
    return bits


def _between(builder: FunctionBuilder, index: Register, low: int, high: int) -> Register:
    above = builder.compare("sge", index, low)
    return builder.binary("and", above, builder.compare("sle", index, high))


def tap_offset(builder: FunctionBuilder, problem: Problem, tap: Register) -> Register:
    """Elements (i32) from the origin of a row to a tap: even along each axis, or looked up by selects."""
    taps = problem.taps
    width = next((n for n in range(1, len(taps)) if taps[n].offset != n * taps[1].offset), len(taps))
    inner = taps[1].offset if width > 1 else 0
    outer = taps[width].offset if width < len(taps) else 0
    if any(t.offset != n // width * outer + n % width * inner for n, t in enumerate(taps)):
        found = literal(taps[0].offset, INT32)
        for number, one in enumerate(taps[1:], 1):
            chosen = builder.compare("eq", tap, number)
            found = builder.select(chosen, literal(one.offset, INT32), found)
        return found
    row = builder.binary("udiv", tap, width)
    column = builder.binary("urem", tap, width)
    down = builder.mul(row, outer)
    return builder.add(down, builder.mul(column, inner))
