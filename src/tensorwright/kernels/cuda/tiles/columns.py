"""What a thread copies of the right operand into shared memory: as it is packed, or as it lies if it is no constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tensorwright.codegen.cuda.copies import copy_bytes
from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.threads import ThreadBuilder, wide
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.kernels.cuda.problem import GROUP, PIECE_BYTES, Columns, Problem
from tensorwright.kernels.cuda.rows import split_row
from tensorwright.kernels.cuda.tiles.steps import PIECES, Steps
from tensorwright.kernels.cuda.tiles.tiling import ROW_BYTES, Tiling
from tensorwright.tensor.dtype import INT32, INT64

GROUP_BYTES = GROUP * ROW_BYTES


class ColumnCopier(Protocol):
    """Emits the copies of a thread's part of the columns."""

    def start(self) -> Pointer:
        """Where the thread reads, for the first step."""

    def copy(self, start: Pointer, step: Register, to: Register) -> None:
        """Begin to copy a step (i32) of the columns. to: where they begin, bytes in shared memory, i32."""

    def places(self, to: Register) -> list[Register]:
        """Where the thread's pieces are copied to."""

    @property
    def elements(self) -> int:
        """Elements of a piece."""


@dataclass(frozen=True)
class _Part(ThreadWriter):
    """first_group: of the block, first_row: the same, i64; thread: its number, i32."""

    problem: Problem
    tiling: Tiling
    emitter: GroupEmitter
    thread: Register
    first_group: Register
    first_row: Register

    @property
    def steps(self) -> Steps:
        return Steps(self.problem)

    def digit(self, step: int, extent: int) -> Register:
        """A digit of the thread's number."""
        divided = self.builder.binary("udiv", self.thread, step)
        return self.builder.binary("urem", divided, extent)

    def moving(self) -> Columns:
        assert self.problem.moving is not None
        return self.problem.moving

    def batch_start(self) -> Register:
        """Elements (i64) before the right operand of the block's rows."""
        builder, offset = self.builder, i64(0)
        indexes = split_row(self.emitter, self.problem, self.first_row)
        for index, step in zip(indexes, self.moving().batch_steps, strict=False):
            offset = builder.add(offset, builder.mul(index, self.emitter.integer(step)))
        return offset

    def evenly_from(self, first: Register) -> list[Register]:
        """The places of a thread's pieces of 16 bytes: the block's are one behind the other, thread by thread."""
        apart, turns = (
            self.tiling.threads * PIECE_BYTES,
            self.tiling.column_groups * GROUP * PIECES // self.tiling.threads,
        )
        return [self.builder.add(first, turn * apart) for turn in range(turns)]

    def column(self, group: int, inside: Register) -> Register:
        """A column (i64), or the last one there is: what is read of columns beyond is never used."""
        builder, last = self.builder, i64(self.problem.columns - 1)
        group_number = builder.add(self.first_group, group)
        column = builder.add(builder.scaled(group_number, GROUP), wide(builder, inside))
        return builder.select(builder.compare("slt", column, last), column, last)


class PackedColumns(_Part):
    """Constants lie in the order of stages."""

    @property
    def _group(self) -> int:
        return GROUP * PIECES * self.problem.piece

    def start(self) -> Pointer:
        builder, problem = self.builder, self.problem
        offset = builder.scaled(self.first_group, self.steps.count * self._group)
        offset = builder.add(offset, builder.scaled(wide(builder, self.thread), problem.piece))
        return builder.offset(self.emitter.operands[problem.right], offset, problem.dtype)

    def copy(self, start: Pointer, step: Register, to: Register) -> None:
        builder, problem, tiling = self.builder, self.problem, self.tiling
        offset = builder.value(f"zext {builder.mul(step, self._group).typed} to i64", INT64)
        source = builder.offset(start, offset, problem.dtype)
        turns = GROUP * PIECES // tiling.threads
        for turn, place in enumerate(self.places(to)):
            group, part = divmod(turn, turns)
            distance = group * self.steps.count * self._group + part * tiling.threads * problem.piece
            at = builder.in_shared(place)
            copy_bytes(builder, PIECE_BYTES, at, builder.offset(source, distance, problem.dtype))

    def places(self, to: Register) -> list[Register]:
        first = self.builder.add(to, self.builder.mul(self.thread, PIECE_BYTES))
        return self.evenly_from(first)

    @property
    def elements(self) -> int:
        return self.problem.piece


class ColumnsOfPieces(_Part):
    """Columns whose depth is contiguous, 16 bytes at a time."""

    def start(self) -> Pointer:
        builder, problem = self.builder, self.problem
        offset = builder.add(self.batch_start(), builder.scaled(wide(builder, self._piece), problem.piece))
        return builder.offset(self.emitter.operands[problem.right], offset, problem.dtype)

    @property
    def _piece(self) -> Register:
        return self.digit(1, PIECES)

    def copy(self, start: Pointer, step: Register, to: Register) -> None:
        builder, problem, tiling = self.builder, self.problem, self.tiling
        along = builder.value(f"zext {builder.mul(step, self.steps.channels).typed} to i64", INT64)
        source, size = builder.offset(start, along, problem.dtype), self._size(step)
        turns = GROUP * PIECES // tiling.threads
        for turn, place in enumerate(self.places(to)):
            group, part = divmod(turn, turns)
            column = self.column(group, builder.add(_column_of(builder, self._row), 4 * part))
            offset = builder.scaled(column, self.moving().column_step)
            at = builder.in_shared(place)
            copy_bytes(builder, PIECE_BYTES, at, builder.offset(source, offset, problem.dtype), size)

    def places(self, to: Register) -> list[Register]:
        builder, row = self.builder, self._row
        swapped = builder.binary("xor", self._piece, builder.binary("and", row, PIECES - 1))
        place = builder.add(builder.mul(row, ROW_BYTES), builder.mul(swapped, 16))
        return self.evenly_from(builder.add(to, place))

    @property
    def elements(self) -> int:
        return self.problem.piece

    @property
    def _row(self) -> Register:
        """The thread's first row in shared memory."""
        return self.digit(PIECES, self.tiling.threads // PIECES)

    def _size(self, step: Register) -> Register | None:
        """Bytes of a piece that there are; None if that is all of every one."""
        builder, steps = self.builder, self.steps
        if not steps.rest:
            return None
        inside = builder.compare("ult", self._piece, steps.rest)
        exists = builder.binary("or", inside, builder.compare("ne", step, steps.count - 1))
        return builder.select(exists, literal(PIECE_BYTES, INT32), literal(0, INT32))


def _column_of(builder: ThreadBuilder, row: Register) -> Register:
    """The column (i32) of a group that is copied to a row: ``8 q + 2 j + e`` for ``8 j + 2 q + e``."""
    inside = builder.binary("urem", row, 8)
    column = builder.mul(builder.binary("udiv", inside, 2), 8)
    column = builder.add(column, builder.mul(builder.binary("udiv", row, 8), 2))
    return builder.add(column, builder.binary("urem", row, 2))


class ColumnsOfElements(_Part):
    """Columns side by side in float32, 4 bytes at a time: neighbouring threads read neighbouring columns."""

    def start(self) -> Pointer:
        return self.builder.offset(self.emitter.operands[self.problem.right], self.batch_start(), self.problem.dtype)

    def copy(self, start: Pointer, step: Register, to: Register) -> None:
        builder, problem, groups = self.builder, self.problem, self.tiling.column_groups
        columns = [self.column(group, self.digit(1, GROUP)) for group in range(groups)]
        first = builder.mul(step, self.steps.channels)
        places = iter(self.places(to))
        for depth in self._depths():
            size, along = self._existing(builder.add(first, depth))
            for column in columns:
                source = builder.offset(start, builder.add(along, column), problem.dtype)
                copy_bytes(builder, problem.dtype.size, builder.in_shared(next(places)), source, size)

    def _depths(self) -> list[Register]:
        """The thread's places along the depth of a step."""
        warps = self.tiling.threads // GROUP
        warp = self.digit(GROUP, warps)
        turns = range(self.steps.channels // warps)
        return [self.builder.add(warp, turn * warps) for turn in turns]

    def places(self, to: Register) -> list[Register]:
        builder, problem, found = self.builder, self.problem, list[Register]()
        row = _row_of(builder, self.digit(1, GROUP))
        low = builder.binary("and", row, PIECES - 1)
        base = builder.add(to, builder.mul(row, ROW_BYTES))
        for depth in self._depths():
            piece = builder.binary("xor", builder.binary("udiv", depth, problem.piece), low)
            element = builder.binary("urem", depth, problem.piece)
            place = builder.add(base, builder.mul(piece, PIECE_BYTES))
            place = builder.add(place, builder.mul(element, problem.dtype.size))
            groups = range(self.tiling.column_groups)
            found += [builder.add(place, group * GROUP_BYTES) for group in groups]
        return found

    elements = 1

    def _existing(self, depth: Register) -> tuple[Register | None, Register]:
        """Bytes of an element that there are, None if that is so for all, and its distance (i64) along the depth."""
        builder, problem = self.builder, self.problem
        along = builder.scaled(wide(builder, depth), self.moving().depth_step)
        if problem.channels % self.steps.channels == 0:
            return None, along
        exists = builder.compare("ult", depth, problem.channels)
        return builder.select(exists, literal(4, INT32), literal(0, INT32)), along


def _row_of(builder: ThreadBuilder, column: Register) -> Register:
    """The row (i32) that a column of a group is copied to: ``8 j + 2 q + e`` for ``8 q + 2 j + e``."""
    inside = builder.binary("urem", column, 8)
    row = builder.mul(builder.binary("udiv", inside, 2), 8)
    row = builder.add(row, builder.mul(builder.binary("udiv", column, 8), 2))
    return builder.add(row, builder.binary("urem", column, 2))


def column_copier(
    problem: Problem,
    tiling: Tiling,
    emitter: GroupEmitter,
    thread: Register,
    first_group: Register,
    first_row: Register,
) -> ColumnCopier:
    """What copies the right operand of a problem. first_group, first_row: of the block, i64; thread: i32."""
    kind: type[PackedColumns | ColumnsOfPieces | ColumnsOfElements] = PackedColumns
    if problem.moving is not None:
        kind = ColumnsOfPieces if problem.moving.depth_step == 1 else ColumnsOfElements
    return kind(problem, tiling, emitter, thread, first_group, first_row)
