"""What a thread copies of the left operand into shared memory: pieces of some rows."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.cuda.copies import copy_bytes
from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.kernels.cuda.problem import PIECE_BYTES, Problem
from tensorwright.kernels.cuda.rows import row_origin, split_row, tap_offset, taps_inside
from tensorwright.kernels.cuda.tiles.steps import PIECES, Steps
from tensorwright.kernels.cuda.tiles.tiling import ROW_BYTES, Tiling
from tensorwright.tensor.dtype import INT32, INT64

SHARED = "@shared"
SHARED_TEXT = f"{SHARED} = external addrspace(3) global [0 x i8], align 1024"


@dataclass(frozen=True)
class Row:
    """A piece of a row for one thread: its place at the row's origin, and for each tap a bit that says whether it is
    inside of the input; None if all always are.
    """

    start: Pointer
    inside: Register | None


@dataclass(frozen=True)
class Copier(ThreadWriter):
    """Emits the copies of a thread's pieces of the left operand.

    first_row: of the block, last_row: that shares its right operand, i64; thread: its number, i32.
    """

    problem: Problem
    tiling: Tiling
    emitter: GroupEmitter
    thread: Register
    first_row: Register
    last_row: Register

    @property
    def steps(self) -> Steps:
        return Steps(self.problem)

    @property
    def passes(self) -> int:
        """Rows that a thread has a piece of."""
        return self.tiling.rows * PIECES // self.tiling.threads

    def rows(self) -> list[Row]:
        """The thread's rows, evenly apart; those beyond the last one are the last one."""
        builder, number, last = self.builder, self._number(), self.last_row
        first = builder.add(self.first_row, wide(builder, number))
        found = []
        for turn in range(self.passes):
            row = builder.add(first, turn * self.tiling.threads // PIECES)
            found.append(self._row(builder.select(builder.compare("slt", row, last), row, last)))
        return found

    def _row(self, number: Register) -> Row:
        builder, problem = self.builder, self.problem
        indexes = split_row(self.emitter, problem, number)
        offset = builder.add(row_origin(self.emitter, problem, indexes), wide(builder, self._inside_step()))
        is_guarded = problem.pads or self.steps.rest or self.steps.lacks_taps
        inside = taps_inside(builder, problem, indexes) if is_guarded else None
        return Row(builder.offset(self.emitter.operands[problem.left], offset, problem.dtype), inside)

    def copy_left(self, rows: list[Row], step: Register, to: Register) -> None:
        """Begin to copy a step (i32) of the rows. to: where the stage begins, bytes in shared memory, i32."""
        builder, problem, steps = self.builder, self.problem, self.steps
        tap, slab = self._tap(step)
        offset = builder.mul(slab, steps.slab_offset)
        if len(problem.taps) > 1:
            offset = builder.add(offset, tap_offset(builder, problem, tap))
        wide_offset = builder.value(f"sext {offset.typed} to i64", INT64)
        exists = self._piece_exists(slab)
        for row, place in zip(rows, self.places(to), strict=True):
            size = None if row.inside is None else self._size(row.inside, tap, exists)
            source = builder.offset(row.start, wide_offset, problem.dtype)
            copy_bytes(builder, PIECE_BYTES, builder.in_shared(place), source, size)

    def places(self, to: Register) -> list[Register]:
        """Where the thread's pieces are copied to, for each of its rows."""
        builder, first = self.builder, self.builder.add(to, self._swizzled())
        apart = self.tiling.threads * PIECE_BYTES
        return [builder.add(first, turn * apart) for turn in range(self.passes)]

    def _number(self) -> Register:
        """The first row of the thread's."""
        return self.builder.binary("udiv", self.thread, PIECES)

    def _piece(self) -> Register:
        return self.builder.binary("urem", self.thread, PIECES)

    def _piece_of_tap(self) -> Register:
        if self.steps.taps == 1:
            return self._piece()
        return self.builder.binary("urem", self._piece(), self.steps.pieces)

    def _inside_step(self) -> Register:
        """Elements from the start of a row's step to the thread's piece."""
        builder, own = self.builder, self.steps.pieces_of_block
        block = builder.binary("udiv", self._piece_of_tap(), own)
        inner = builder.binary("urem", self._piece_of_tap(), own)
        far = builder.mul(block, self.problem.block_step)
        return builder.add(far, builder.mul(inner, self.problem.piece))

    def _swizzled(self) -> Register:
        """Bytes from the start of a stage to the place of the thread's first piece."""
        builder, row = self.builder, self._number()
        swapped = builder.binary("xor", self._piece(), builder.binary("and", row, PIECES - 1))
        offset = builder.mul(row, ROW_BYTES)
        return builder.add(offset, builder.mul(swapped, PIECE_BYTES))

    def _tap(self, step: Register) -> tuple[Register, Register]:
        """The tap and the slab of channels of the thread's piece of a step."""
        builder, slabs, taps = self.builder, literal(self.steps.slabs, INT32), self.steps.taps
        if taps > 1:
            own = builder.binary("udiv", self._piece(), self.steps.pieces)
            return builder.add(builder.mul(step, taps), own), literal(0, INT32)
        if len(self.problem.taps) == 1:
            return literal(0, INT32), step
        if self.steps.slabs == 1:
            return step, literal(0, INT32)
        return builder.binary("udiv", step, slabs), builder.binary("urem", step, slabs)

    def _piece_exists(self, slab: Register) -> Register | None:
        """Whether the thread's piece has channels; None if every piece does."""
        builder, steps = self.builder, self.steps
        if not steps.rest:
            return None
        inside = builder.compare("ult", self._piece_of_tap(), steps.rest)
        return builder.binary("or", inside, builder.compare("ne", slab, steps.slabs - 1))

    def _size(self, inside: Register, tap: Register, exists: Register | None) -> Register:
        """Bytes of a piece to copy: 16 or none."""
        builder = self.builder
        bit = builder.binary("and", builder.binary("lshr", inside, tap), 1)
        size = builder.binary("shl", bit, 4)
        return size if exists is None else builder.select(exists, size, literal(0, INT32))
