"""The loop over the depth: pieces are loaded some stages ahead of the products that use them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tensorwright.codegen.cuda.targets import WARP
from tensorwright.codegen.cuda.threads import ThreadBuilder, wide
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.kernels.cuda.fragments.arithmetic import Arithmetic, Sums, Words
from tensorwright.kernels.cuda.fragments.rows import NEVER, Row, RowReader, load_words
from tensorwright.kernels.cuda.fragments.tiling import Tiling
from tensorwright.kernels.cuda.problem import GROUP, Problem
from tensorwright.kernels.cuda.rows import tap_offset
from tensorwright.tensor.dtype import INT32, INT64


@dataclass(frozen=True)
class Depth:
    """Emits the loop of one warp over its part of the depth.

    rows: one for each tile of 8 rows; columns: for each group of columns, the thread's place in the packed weights.
    begin, end: the warp's pieces of the depth, i32.
    """

    problem: Problem
    tiling: Tiling
    arithmetic: Arithmetic
    reader: RowReader
    rows: list[Row]
    columns: list[Pointer]
    begin: Register
    end: Register

    @property
    def builder(self) -> ThreadBuilder:
        return self.reader.builder

    def right_ahead(self) -> list[Words]:
        """The weights of the first stages: what may be loaded before the kernel before this one has ended."""
        return [self._right(self._step(stage)) for stage in range(self.tiling.stages)]

    def sums(self, right: list[Words]) -> Sums:
        """Four sums for each tile of 16 columns by 8 rows, row tiles outermost."""
        builder, tiling = self.builder, self.tiling
        left = [self._left(self._step(stage)) for stage in range(tiling.stages)]
        tiles = tiling.row_tiles * tiling.column_groups * 2
        sums = [[literal(0, self.problem.total)] * 4 for _ in range(tiles)]
        rounds = tiling.rounds(self.problem)
        if rounds > 1:
            with builder.loop(1, rounds, 1, _flat([sums, *left, *right]), at_least_once=True) as loop:
                sums, *stages = _unpacked(loop.carried, sums, *left, *right)
                left, right = stages[: tiling.stages], stages[tiling.stages :]
                base = Term(builder, builder.convert("trunc", loop.index, INT32)) * tiling.stages
                for stage in range(tiling.stages):
                    sums = self.arithmetic.multiply(builder, left[stage], right[stage], sums)
                    step = (Term(builder, self.begin) + base + stage).register
                    right[stage], left[stage] = self._right(step), self._left(step)
                loop.following = _flat([sums, *left, *right])
            sums, *stages = _unpacked(loop.final, sums, *left, *right)
            left, right = stages[: tiling.stages], stages[tiling.stages :]
        for stage in range(tiling.stages):
            sums = self.arithmetic.multiply(builder, left[stage], right[stage], sums)
        return sums

    def _step(self, stage: int) -> Register:
        return (Term(self.builder, self.begin) + stage).register if stage else self.begin

    def _left(self, step: Register) -> Words:
        builder, problem = self.builder, self.problem
        tap, slab = Term(builder, step) // problem.slabs, Term(builder, step) % problem.slabs
        if len(problem.taps) == 1:
            tap, slab = tap.constant(0), Term(builder, step)
        offset = self._slab_offset(slab)
        if len(problem.taps) > 1:
            offset = offset + Term(builder, tap_offset(builder, problem, tap.register))
        is_last = slab.equals(problem.slabs - 1).register if problem.rest else None
        if self.reader.masked:
            within = builder.compare("slt", step, self.end)
            tap = Term(builder, builder.select(within, tap.register, literal(NEVER, INT32)))
        distance = builder.value(f"sext {offset.register.typed} to i64", INT64)
        return [self.reader.load(row, distance, tap.register, is_last) for row in self.rows]

    def _slab_offset(self, slab: Term) -> Term:
        """Elements from a row's first channel to those of a slab."""
        problem = self.problem
        if problem.slab >= GROUP:
            return slab * (problem.slab // GROUP * problem.block_step)
        slabs = GROUP // problem.slab
        return slab // slabs * problem.block_step + slab % slabs * problem.slab

    def _right(self, step: Register) -> Words:
        builder = self.builder
        last = literal(self.problem.steps - 1, INT32)
        if self.reader.masked:
            step = builder.select(builder.compare("slt", step, last), step, last)
        offset = wide(builder, (Term(builder, step) * (GROUP * self.problem.slab)).register)
        found = []
        for column in self.columns:
            dtype, apart = self.problem.dtype, WARP * self.problem.piece
            place = builder.offset(column, offset, dtype)
            parts = [place, *(builder.offset(place, part * apart, dtype) for part in range(1, 4))]
            found += [load_words(builder, part) for part in parts]
        return found


def _flat(parts: Iterable[Words]) -> list[Register]:
    return [register for part in parts for words in part for register in words]


def _unpacked(registers: Sequence[Register], *like: Words) -> list[Words]:
    """What `_flat` put into one list, in the shape of some parts."""
    values = iter(registers)
    return [[[next(values) for _ in words] for words in part] for part in like]
