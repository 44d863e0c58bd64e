"""Rows of scores between the two products: as they are stored, made powers, and scaled by their sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from tensorwright.codegen.functions import apply_function
from tensorwright.codegen.scalar import Lane, ScalarEmitter
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.kernels.cpu.rows.epilogue import RowEpilogue
from tensorwright.kernels.cpu.rows.normalise import Row
from tensorwright.kernels.cpu.rows.vectors import RowVectors
from tensorwright.tensor.dim import Dim, expression
from tensorwright.tensor.dtype import DType

AT_ONCE = 16
"""Vectors of a row that are worked on without a loop."""


Vectors = Callable[[Register | int, int], list[Register]]
"""So many vectors from an element of a row on."""


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
    """Makes ``exp(x - max)`` of x, rows of `count` vectors; 0 if `replaces_nan` and the sum is NaN.

    unit: an unknown number of vectors is a multiple of it.
    """

    vectors: RowVectors
    count: int | Register
    unit: int
    replaces_nan: bool

    def largest(self, row: Pointer) -> Register:
        """The maximum of a row; of one with NaNs, any of its numbers or NaN."""
        vectors = Larger(self.vectors.builder, self.vectors.dtype, self.vectors.lanes)

        def scores(first: Register | int, count: int) -> list[Register]:
            return vectors.load(self._at(row, first), vectors.dtype, count, -inf)

        return vectors.total("max", self._rounds(vectors, "max", -inf, scores))

    def write(self, row: Pointer, largest: Register, powers: Row) -> Register:
        """Write the powers of a row, given its maximum, and return the reciprocal of their sum."""
        vectors, builder = self.vectors, self.vectors.builder
        shift, dtype = vectors.spread(largest), vectors.dtype

        def found(first: Register | int, count: int) -> list[Register]:
            x = vectors.load(self._at(row, first), dtype, count, -inf)
            values = [apply_function(builder, "exp", [builder.sub(each, shift)], powers.dtype) for each in x]
            to = builder.offset(powers.start, first, powers.dtype)
            for number, value in enumerate(values):
                builder.store(value, builder.offset(to, number * vectors.lanes, powers.dtype), powers.dtype)
            return values

        total = vectors.total("add", self._rounds(vectors, "add", 0.0, found))
        if self.replaces_nan:
            total = self._cleared(powers, total)
        return builder.div(literal(1.0, dtype), total)

    def _cleared(self, powers: Row, total: Register) -> Register:
        """Clear the row if its sum is NaN, as are all its elements divided by it; the sum to divide by."""
        builder, lanes, dtype = self.vectors.builder, self.vectors.lanes, self.vectors.dtype
        is_nan, zero = builder.compare("uno", total, total), literal(0.0, dtype, lanes)
        with builder.when(is_nan), builder.loop(0, self.count) as loop:
            place = builder.offset(powers.start, builder.scaled(loop.index, lanes), powers.dtype)
            builder.store(zero, place, powers.dtype)
        return builder.select(is_nan, literal(1.0, dtype), total)

    def _at(self, row: Pointer, element: Register | int) -> Pointer:
        return self.vectors.builder.offset(row, element, self.vectors.dtype)

    def _rounds(self, by: RowVectors, function: str, identity: float, vectors: Vectors) -> list[Register]:
        """All vectors of a row, combined into a few by a function that leaves what it is given beside `identity`."""
        first = literal(identity, by.dtype, by.lanes)
        if not isinstance(self.count, int):
            return self._looped(by, function, self.count, [first] * self.unit, vectors)
        at_once = min(self.count, AT_ONCE)
        whole, rest = divmod(self.count, at_once)
        if whole == 1:
            so_far = vectors(0, at_once)
        else:
            so_far = self._looped(by, function, i64(whole * at_once), [first] * at_once, vectors)
        last = vectors(whole * at_once * by.lanes, rest)
        return [*_each(by, function, last, so_far[:rest]), *so_far[rest:]]

    def _looped(
        self, by: RowVectors, function: str, count: Register, first: list[Register], vectors: Vectors
    ) -> list[Register]:
        with by.builder.loop(0, count, len(first), first, at_least_once=True) as loop:
            found = vectors(by.builder.scaled(loop.index, by.lanes), len(first))
            loop.following = _each(by, function, found, loop.carried)
        return loop.final


def _each(by: RowVectors, function: str, left: Sequence[Register], right: Sequence[Register]) -> list[Register]:
    return [by.apply(function, a, b) for a, b in zip(left, right, strict=True)]
