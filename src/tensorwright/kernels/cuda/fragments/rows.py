"""Where a thread's rows of the left operand lie, and which taps of them are inside."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.threads import ThreadBuilder, wide
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.kernels.cuda.problem import GROUP, Problem
from tensorwright.kernels.cuda.rows import row_origin, split_row, taps_inside
from tensorwright.tensor.dtype import INT32

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
class RowReader(ThreadWriter):
    """Emits what reads rows.

    piece: the thread's number within a row, i32; masked: whether pieces beyond the depth are asked for.
    """

    problem: Problem
    emitter: GroupEmitter
    piece: Register
    masked: bool

    def row(self, number: Register) -> Row:
        """The row of a number (i64) below the number of rows."""
        builder, problem = self.builder, self.problem
        indexes = split_row(self.emitter, problem, number)
        offset = builder.add(self._inside_slab(), row_origin(self.emitter, problem, indexes))
        start = builder.offset(self.emitter.operands[problem.left], offset, problem.dtype)
        is_guarded = self.masked or problem.pads or problem.rest
        inside = taps_inside(builder, problem, indexes) if is_guarded else None
        return Row(start, inside, self._last(inside))

    def _inside_slab(self) -> Register:
        """Elements (i64) from the start of a slab to the thread's piece."""
        builder, problem = self.builder, self.problem
        of_block = GROUP // problem.piece
        block = builder.mul(builder.binary("udiv", self.piece, of_block), problem.block_step)
        inside = builder.mul(builder.binary("urem", self.piece, of_block), problem.piece)
        return wide(builder, builder.add(block, inside) if problem.slab > GROUP else inside)

    def _last(self, inside: Register | None) -> Register | None:
        if inside is None or not self.problem.rest:
            return None
        within = self.builder.compare("ult", self.piece, self.problem.rest)
        return self.builder.select(within, inside, literal(0, INT32))

    def load(self, row: Row, offset: Register, tap: Register, is_last: Register | None) -> list[Register]:
        """A piece of a row, an offset (i64) behind its start, as four i32; zeros where the tap is outside."""
        builder = self.builder
        place = builder.offset(row.start, offset, self.problem.dtype)
        if row.inside is not None:
            bits = row.inside
            if row.last is not None and is_last is not None:
                bits = builder.select(is_last, row.last, bits)
            bit = builder.binary("and", builder.binary("lshr", bits, tap), 1)
            valid = builder.compare("ne", bit, 0)
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
