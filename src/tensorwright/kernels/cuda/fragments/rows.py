"""Where a thread's rows of the left operand lie, and which taps of them are inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.cuda.nest import split_index
from tensorwright.codegen.cuda.threads import ThreadBuilder
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.kernels.cuda.fragments.problem import GROUP, PIECE, Problem
from tensorwright.tensor.dtype import FLOAT16, INT32, INT64

NEVER = 31
"""The bit of a tap that no row has."""
ZEROS = "@zeros"
ZEROS_TEXT = f"{ZEROS} = private addrspace(1) constant [16 x i8] zeroinitializer, align 16"


@dataclass(frozen=True)
class Row:
    """One row for one thread: its first element, and for each tap a bit that says whether it is inside the input.

    `last`: the bits for the last piece of the channels, if that is incomplete. Without `inside` all is.
    """

    start: Pointer
    inside: Register | None
    last: Register | None


@dataclass(frozen=True)
class RowReader:
    """Emits what reads rows.

    piece: the thread's number within a row, i32; masked: whether pieces beyond the depth are asked for.
    """

    problem: Problem
    emitter: ScalarEmitter
    piece: Register
    masked: bool

    @property
    def builder(self) -> ThreadBuilder:
        assert isinstance(self.emitter.builder, ThreadBuilder)
        return self.emitter.builder

    def row(self, number: Register) -> Row:
        """The row of a number (i64) below the number of rows."""
        builder, problem = self.builder, self.problem
        indexes = split_row(self.emitter, problem, number)
        offset = builder.scaled(builder.value(f"zext {self.piece.typed} to i64", INT64), PIECE)
        offset = builder.add(offset, literal(problem.origin, INT64))
        for index, axis in zip(indexes, problem.row_axes, strict=True):
            offset = builder.add(offset, builder.mul(index, self.emitter.integer(axis.step)))
        start = builder.offset(self.emitter.operands[problem.left], offset, FLOAT16)
        inside = self._inside(indexes) if self.masked or problem.pads or problem.channels % GROUP else None
        return Row(start, inside, self._last(inside))

    def _inside(self, indexes: Sequence[Register]) -> Register:
        builder, problem = self.builder, self.problem
        if not problem.pads:
            return literal((1 << len(problem.taps)) - 1, INT32)
        bits = literal(0, INT32)
        known: dict[tuple[int, tuple[int, int]], Register] = {}
        for number, tap in enumerate(problem.taps):
            valid: Register | None = None
            for axis, limits in enumerate(tap.valid):
                if (axis, limits) not in known:
                    known[axis, limits] = self._between(indexes[1 + axis], *limits)
                one = known[axis, limits]
                valid = one if valid is None else builder.binary("and", valid, one)
            assert valid is not None
            bits = builder.binary("or", bits, builder.select(valid, literal(1 << number, INT32), literal(0, INT32)))
        return bits

    def _between(self, index: Register, low: int, high: int) -> Register:
        builder = self.builder
        above = builder.compare("sge", index, literal(low, INT64))
        return builder.binary("and", above, builder.compare("sle", index, literal(high, INT64)))

    def _last(self, inside: Register | None) -> Register | None:
        rest = self.problem.channels % GROUP
        if inside is None or not rest:
            return None
        within = self.builder.compare("ult", self.piece, literal(rest // PIECE, INT32))
        return self.builder.select(within, inside, literal(0, INT32))

    def load(self, row: Row, offset: Register, tap: Register, is_last: Register | None) -> list[Register]:
        """8 elements of a row, an offset (i64) behind its start, as four i32; zeros where the tap is outside."""
        builder = self.builder
        place = builder.offset(row.start, offset, FLOAT16)
        if row.inside is not None:
            bits = row.inside
            if row.last is not None and is_last is not None:
                bits = builder.select(is_last, row.last, bits)
            bit = builder.binary("and", builder.binary("lshr", bits, tap), literal(1, INT32))
            valid = builder.compare("ne", bit, literal(0, INT32))
            chosen = builder.fresh("p")
            zeros = f"addrspacecast (ptr addrspace(1) {ZEROS} to ptr)"
            builder.emit(f"{chosen} = select {valid.typed}, ptr {place.text}, ptr {zeros}")
            place = Pointer(chosen)
        return load_words(builder, place)


def load_words(builder: ThreadBuilder, place: Pointer) -> list[Register]:
    """16 bytes as four i32."""
    whole = builder.fresh()
    builder.emit(f"{whole} = load <4 x i32>, ptr {place.text}, align 16")
    return [builder.value(f"extractelement <4 x i32> {whole}, i64 {part}", INT32) for part in range(4)]


def split_row(emitter: ScalarEmitter, problem: Problem, number: Register) -> list[Register]:
    """The index along each axis of a row's number."""
    return split_index(emitter, [axis.extent for axis in problem.row_axes], number)
