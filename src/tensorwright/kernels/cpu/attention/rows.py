"""Rows of scores between the two products: as they are stored, made powers, and scaled by their sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from tensorwright.codegen.scalar import Lane, ScalarEmitter
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.kernels.cpu.rows.epilogue import RowEpilogue
from tensorwright.kernels.cpu.rows.vectors import RowVectors
from tensorwright.tensor.dim import Dim, expression
from tensorwright.tensor.dtype import FLOAT32, INT64

AT_ONCE = 16
"""Vectors of a row that are worked on without a loop."""


@dataclass(frozen=True)
class ScoreRows(RowEpilogue):
    """Stores rows of scores, from row `first` on, as whole vectors in workspace; lanes beyond the columns are -inf."""

    first: Dim = 0
    width: int = 0

    def store(
        self,
        emitter: ScalarEmitter,
        output: Pointer,
        accumulators: Sequence[Register],
        row: Dim,
        masks: Sequence[Register | None],
    ) -> None:
        builder, lead, column = emitter.builder, self.position(row), expression(self.column)
        start = builder.offset(output, emitter.integer((row - self.first) * self.width + column), FLOAT32)
        for number, (accumulator, mask) in enumerate(zip(accumulators, masks, strict=True)):
            lane = Lane(self.column, self.lanes, mask)
            place = (*lead, column + number * self.lanes)
            value, _ = self.epilogue.apply(emitter, accumulator, place, lane)
            if mask is not None:
                value = builder.select(mask, value, literal(-inf, FLOAT32, self.lanes))
            builder.store(value, builder.offset(start, number * self.lanes, FLOAT32), FLOAT32)


@dataclass(frozen=True)
class ScaledRows(RowEpilogue):
    """Multiplies each row, before its epilogue, by its factor in memory: those of the rows from `first` on."""

    factors: Pointer
    first: Dim

    def store(
        self,
        emitter: ScalarEmitter,
        output: Pointer,
        accumulators: Sequence[Register],
        row: Dim,
        masks: Sequence[Register | None],
    ) -> None:
        builder = emitter.builder
        factor = builder.load(builder.offset(self.factors, emitter.integer(row - self.first), FLOAT32), FLOAT32)
        scaled = [builder.mul(accumulator, builder.splat(factor, self.lanes)) for accumulator in accumulators]
        super().store(emitter, output, scaled, row, masks)


class Larger(RowVectors):
    """Has "max" as its only function, in one instruction; if one operand is NaN the result is the second one."""

    def apply(self, function: str, *operands: Register) -> Register:
        left, right = operands
        return self.builder.select(self.builder.compare("ogt", left, right), left, right)


@dataclass(frozen=True)
class RowPowers:
    """Replaces x by ``exp(x - max)`` in rows of `count` vectors."""

    vectors: RowVectors
    count: int

    def largest(self, row: Pointer) -> Register:
        """The maximum of a row; of one with NaNs, any of its numbers."""
        vectors = Larger(self.vectors.builder, self.vectors.lanes)

        def body(start: Pointer, so_far: Sequence[Register], count: int) -> list[Register]:
            return [vectors.apply("max", a, b) for a, b in zip(vectors.load(start, count, -inf), so_far, strict=True)]

        return vectors.total("max", self._rounds(row, -inf, body))

    def write(self, row: Pointer, largest: Register) -> Register:
        """Replace a row, given its maximum, and return the reciprocal of the sum."""
        vectors, builder = self.vectors, self.vectors.builder
        shift = vectors.spread(largest)

        def body(start: Pointer, so_far: Sequence[Register], count: int) -> list[Register]:
            powers = [vectors.apply("exp", builder.sub(x, shift)) for x in vectors.load(start, count, -inf)]
            for number, power in enumerate(powers):
                builder.store(power, builder.offset(start, number * vectors.lanes, FLOAT32), FLOAT32)
            return [builder.add(a, b) for a, b in zip(so_far, powers, strict=True)]

        total = vectors.total("add", self._rounds(row, 0.0, body))
        return builder.div(literal(1.0, FLOAT32), total)

    def _rounds(
        self,
        row: Pointer,
        identity: float,
        body: Callable[[Pointer, Sequence[Register], int], list[Register]],
    ) -> list[Register]:
        builder, lanes = self.vectors.builder, self.vectors.lanes
        carried = [literal(identity, FLOAT32, lanes)] * min(self.count, AT_ONCE)
        whole, rest = divmod(self.count, len(carried))
        if whole == 1:
            carried = body(row, carried, len(carried))
        else:
            with builder.loop(0, whole, 1, carried, at_least_once=True) as loop:
                step = builder.mul(loop.index, literal(len(carried) * lanes, INT64))
                loop.following = body(builder.offset(row, step, FLOAT32), loop.carried, len(carried))
            carried = loop.final
        last = builder.offset(row, whole * len(carried) * lanes, FLOAT32)
        return [*body(last, carried[:rest], rest), *carried[rest:]]
