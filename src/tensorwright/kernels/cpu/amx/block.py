"""A block of sums in tile registers: some registers of rows by some of columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.term import Term, greatest, least
from tensorwright.codegen.values import Pointer, Register
from tensorwright.kernels.cpu.amx.arithmetic import TileArithmetic
from tensorwright.kernels.cpu.amx.registers import REGISTERS, ROW_BYTES, ROWS, TILE_BYTES, TileRegisters
from tensorwright.tensor.dtype import INT8

SHAPES = ((2, 2), (1, 4))
"""Registers of rows × registers of columns of a block, the most promising first."""


@dataclass(frozen=True)
class Rows:
    """Where the rows of a left factor start that one register reads, and how many bytes it is from one to the next."""

    start: Pointer
    step: Register | int


@dataclass(frozen=True)
class Ahead:
    """Packed columns that are needed soon: each step fetches so many cache lines of them, one step after another."""

    start: Pointer
    lines: int

    def at(self, builder: FunctionBuilder, step: Register) -> Pointer:
        """What a step fetches."""
        return builder.offset(self.start, builder.scaled(step, self.lines * ROW_BYTES), INT8)


@dataclass(frozen=True)
class TileBlock:
    """`tall` × `wide` registers of sums. `tall` others hold the left factor, what is left the right one, in turn."""

    builder: FunctionBuilder
    arithmetic: TileArithmetic
    tall: int
    wide: int

    @property
    def registers(self) -> TileRegisters:
        return TileRegisters(self.builder)

    @property
    def bytes(self) -> int:
        """What its sums take in memory."""
        return self.tall * self.wide * TILE_BYTES

    def configure(self, place: Pointer, heights: Sequence[Register | int]) -> None:
        """Set up the registers for so many rows in each register of rows; `place` is memory for a table."""
        sums = [height for height in heights for _ in range(self.wide)]
        rights = REGISTERS - len(sums) - len(heights)
        self.registers.configure(place, [*sums, *heights, *[ROWS] * rights])

    def split(self, height: Register) -> tuple[list[Register], list[Register]]:
        """The first row of each register of rows in a block of so many rows, and how many it has: as even as possible,
        but at least one, so that the last row may belong to several.
        """
        tall, rows = self.tall, Term(self.builder, height)
        size = (rows + (tall - 1)) // tall
        starts = [least(size * number, rows - 1) for number in range(tall)]
        sizes = [greatest(least(rows - size * number, size), 1) for number in range(tall)]
        return [start.register for start in starts], [each.register for each in sizes]

    def clear(self) -> None:
        for number in range(self.tall * self.wide):
            self.registers.zero(number)

    def step(self, rows: Sequence[Rows], right: Pointer, columns: int, between: int = TILE_BYTES) -> None:
        """Add the products over one register's depth: of all rows, and of so many packed columns from `right` on, so
        many bytes from one to the next.
        """
        registers, first_left = self.registers, self.tall * self.wide
        first_right = first_left + self.tall
        for number, each in enumerate(rows):
            registers.load(first_left + number, each.start, each.step)
        for column in range(columns):
            place = first_right + column % (REGISTERS - first_right)
            registers.load(place, self.builder.offset(right, column * between, INT8), ROW_BYTES)
            for number in range(self.tall):
                total = number * self.wide + column
                registers.multiply(self.arithmetic.instruction, total, first_left + number, place)

    def ahead(self, following: Pointer, number: Register, steps: int, share: int, columns: int) -> Ahead:
        """Block `number`'s part of a panel of `columns` that is needed next, if `share` blocks share it."""
        lines = -(-columns * TILE_BYTES // ROW_BYTES // share)
        distance = self.builder.scaled(number, steps * lines * ROW_BYTES)
        return Ahead(self.builder.offset(following, distance, INT8), lines)

    def fetch(self, ahead: Ahead | None, step: Register) -> None:
        """Ask for what a step fetches."""
        if ahead is not None:
            place = ahead.at(self.builder, step)
            for line in range(ahead.lines):
                self.builder.prefetch(self.builder.offset(place, line * ROW_BYTES, INT8))

    def store(self, place: Pointer, first_rows: Sequence[Register | int], columns: int) -> None:
        """Write the sums to memory, rows of `wide` × 64 bytes, those of each register from its first row on."""
        builder, step = self.builder, self.wide * ROW_BYTES
        for number, first in enumerate(first_rows):
            distance = first * step if isinstance(first, int) else builder.scaled(first, step)
            start = builder.offset(place, distance, INT8)
            for column in range(columns):
                where = builder.offset(start, column * ROW_BYTES, INT8)
                self.registers.store(number * self.wide + column, where, step)

    def row(self, place: Pointer, row: Register, columns: int) -> list[Register]:
        """The sums of a row, as they were stored."""
        builder, total = self.builder, self.arithmetic.numerics.total
        start = builder.offset(place, builder.scaled(row, self.wide * ROW_BYTES), INT8)
        lanes = ROW_BYTES // total.size
        return [
            builder.load(builder.offset(start, column * ROW_BYTES, INT8), total, lanes) for column in range(columns)
        ]
