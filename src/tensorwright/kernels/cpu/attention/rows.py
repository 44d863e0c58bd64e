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
from tensorwright.tensor.dtype import INT64, DType

AT_ONCE = 16
"""Vectors of a row that are worked on without a loop."""


@dataclass(frozen=True)
class ScoreRows(RowEpilogue):
    """Stores rows of scores, from row `first` on, as whole vectors in workspace; lanes beyond the columns are -inf."""

    first: Dim
    width: int
    dtype: DType

    def store(
        self,
        emitter: ScalarEmitter,
        output: Pointer,
        accumulators: Sequence[Register],
        row: Dim,
        masks: Sequence[Register | None],
    ) -> None:
        builder, lead, column = emitter.builder, self.position(row), expression(self.column)
        start = builder.offset(output, emitter.integer((row - self.first) * self.width + column), self.dtype)
        for number, (accumulator, mask) in enumerate(zip(accumulators, masks, strict=True)):
            lane = Lane(self.column, self.lanes, mask)
            place = (*lead, column + number * self.lanes)
            value, _ = self.epilogue.apply(emitter, accumulator, place, lane)
            if mask is not None:
                value = builder.select(mask, value, literal(-inf, self.dtype, self.lanes))
            builder.store(value, builder.offset(start, number * self.lanes, self.dtype), self.dtype)


@dataclass(frozen=True)
class ScaledRows(RowEpilogue):
    """Multiplies each row, before its epilogue, by its factor in memory: those of the rows from `first` on."""

    factors: Pointer
    first: Dim
    dtype: DType

    def store(
        self,
        emitter: ScalarEmitter,
        output: Pointer,
        accumulators: Sequence[Register],
        row: Dim,
        masks: Sequence[Register | None],
    ) -> None:
        builder = emitter.builder
        place = builder.offset(self.factors, emitter.integer(row - self.first), self.dtype)
        factor = builder.load(place, self.dtype)
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
        vectors = Larger(self.vectors.builder, self.vectors.dtype, self.vectors.lanes)

        def body(start: Pointer, so_far: Sequence[Register], count: int) -> list[Register]:
            x = vectors.load(start, vectors.dtype, count, -inf)
            return [vectors.apply("max", a, b) for a, b in zip(x, so_far, strict=True)]

        return vectors.total("max", self._rounds(row, -inf, body))

    def write(self, row: Pointer, largest: Register) -> Register:
        """Replace a row, given its maximum, and return the reciprocal of the sum."""
        vectors, builder = self.vectors, self.vectors.builder
        shift, dtype = vectors.spread(largest), vectors.dtype

        def body(start: Pointer, so_far: Sequence[Register], count: int) -> list[Register]:
            powers = [vectors.apply("exp", builder.sub(x, shift)) for x in vectors.load(start, dtype, count, -inf)]
            for number, power in enumerate(powers):
                builder.store(power, builder.offset(start, number * vectors.lanes, dtype), dtype)
            return [builder.add(a, b) for a, b in zip(so_far, powers, strict=True)]

        total = vectors.total("add", self._rounds(row, 0.0, body))
        return builder.div(literal(1.0, dtype), total)

    def _rounds(
        self,
        row: Pointer,
        identity: float,
        body: Callable[[Pointer, Sequence[Register], int], list[Register]],
    ) -> list[Register]:
        builder, lanes, dtype = self.vectors.builder, self.vectors.lanes, self.vectors.dtype
        carried = [literal(identity, dtype, lanes)] * min(self.count, AT_ONCE)
        whole, rest = divmod(self.count, len(carried))
        if whole == 1:
            carried = body(row, carried, len(carried))
        else:
            with builder.loop(0, whole, 1, carried, at_least_once=True) as loop:
                step = builder.mul(loop.index, literal(len(carried) * lanes, INT64))
                loop.following = body(builder.offset(row, step, dtype), loop.carried, len(carried))
            carried = loop.final
        last = builder.offset(row, whole * len(carried) * lanes, dtype)
        return [*body(last, carried[:rest], rest), *carried[rest:]]
