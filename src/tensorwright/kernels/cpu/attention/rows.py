"""Rows of scores between the two products: as they are stored, made powers, and scaled by their sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from tensorwright.codegen.scalar import Lane, ScalarEmitter
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.kernels.cpu.rows.epilogue import RowEpilogue
from tensorwright.kernels.cpu.rows.vectors import RowVectors
from tensorwright.tensor.dim import Dim, expression
from tensorwright.tensor.dtype import DType

AT_ONCE = 16
"""Vectors of a row that are worked on without a loop."""


Body = Callable[[Pointer, Sequence[Register], int], list[Register]]
"""Works on some vectors from a place on: with what it has carried so far, for the next ones."""


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
    """Replaces x by ``exp(x - max)`` in rows of `count` vectors; by 0 if `replaces_nan` and the sum is NaN.

    unit: an unknown number of vectors is a multiple of it.
    """

    vectors: RowVectors
    count: int | Register
    unit: int
    replaces_nan: bool

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
        if self.replaces_nan:
            total = self._cleared(row, total)
        return builder.div(literal(1.0, dtype), total)

    def _cleared(self, row: Pointer, total: Register) -> Register:
        """Clear the row if its sum is NaN, as are all its elements divided by it; the sum to divide by."""
        builder, lanes, dtype = self.vectors.builder, self.vectors.lanes, self.vectors.dtype
        is_nan, zero = builder.compare("uno", total, total), literal(0.0, dtype, lanes)
        with builder.when(is_nan), builder.loop(0, self.count) as loop:
            builder.store(zero, builder.offset(row, builder.scaled(loop.index, lanes), dtype), dtype)
        return builder.select(is_nan, literal(1.0, dtype), total)

    def _rounds(
        self,
        row: Pointer,
        identity: float,
        body: Body,
    ) -> list[Register]:
        builder, lanes = self.vectors.builder, self.vectors.lanes
        first = [literal(identity, self.vectors.dtype, lanes)]
        if not isinstance(self.count, int):
            return self._looped(row, self.count, first * self.unit, body)
        at_once = min(self.count, AT_ONCE)
        whole, rest = divmod(self.count, at_once)
        if whole == 1:
            carried = body(row, first * at_once, at_once)
        else:
            carried = self._looped(row, i64(whole * at_once), first * at_once, body)
        last = builder.offset(row, whole * at_once * lanes, self.vectors.dtype)
        return [*body(last, carried[:rest], rest), *carried[rest:]]

    def _looped(self, row: Pointer, count: Register, carried: list[Register], body: Body) -> list[Register]:
        builder = self.vectors.builder
        with builder.loop(0, count, len(carried), carried, at_least_once=True) as loop:
            start = builder.offset(row, builder.scaled(loop.index, self.vectors.lanes), self.vectors.dtype)
            loop.following = body(start, loop.carried, len(carried))
        return loop.final
