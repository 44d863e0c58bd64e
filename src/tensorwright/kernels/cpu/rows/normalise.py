"""Normalisations of one row, held in registers or, if it is long, in workspace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.kernels.cpu.rows.vectors import RowVectors
from tensorwright.tensor.dtype import DType

ROUND = 4
"""Vectors of a long row in one round of a loop: enough to overlap the latencies of exp."""


@dataclass(frozen=True)
class Row:
    """Where a row, or the parameters for all rows, start in memory, and their type there."""

    start: Pointer
    dtype: DType

    def load(
        self, vectors: RowVectors, count: int, padding: float, column: Register | None = None, *, ends: bool = True
    ) -> list[Register]:
        """`count` vectors from a column on."""
        start = self.start if column is None else vectors.builder.offset(self.start, column, self.dtype)
        return vectors.load(start, self.dtype, count, padding, ends=ends)


Round = Callable[[Register, int, bool, Sequence[Register]], list[Register]]
"""Takes the first column of a few vectors, their number, whether the row ends with them, and what is carried along."""

Finish = Callable[[Register, Sequence[Register], bool], None]
"""Takes the first column, the finished vectors from there on, and whether the row ends with them."""


def softmax(vectors: RowVectors, row: Row, count: int, finish: Finish) -> None:
    """``exp(x - max) / Σ exp(x - max)`` of a row of `count` vectors, all in registers."""
    builder = vectors.builder
    x = row.load(vectors, count, -inf)
    largest = vectors.spread(vectors.total("max", x))
    powers = [vectors.apply("exp", builder.sub(value, largest)) for value in x]
    inverse = _inverse(vectors, vectors.total("add", powers))
    finish(i64(0), [builder.mul(power, inverse) for power in powers], True)


def layer_normalization(
    vectors: RowVectors, row: Row, extent: int, epsilon: float, parameters: Sequence[Row], finish: Finish
) -> None:
    """``(x - mean) / √(variance + epsilon) · scale (+ bias)`` of a row, all in registers."""
    builder, count = vectors.builder, -(-extent // vectors.lanes)
    share = literal(1 / extent, vectors.dtype)
    x = row.load(vectors, count, 0.0)
    mean = vectors.spread(builder.mul(vectors.total("add", x), share))
    centred = vectors.cleared([builder.sub(value, mean) for value in x])
    variance = builder.mul(vectors.total("add", [builder.mul(value, value) for value in centred]), share)
    root = vectors.apply("sqrt", builder.add(variance, epsilon))
    inverse = _inverse(vectors, root)
    scale, *bias = [each.load(vectors, count, 0.0) for each in parameters]
    result = [builder.mul(builder.mul(value, inverse), s) for value, s in zip(centred, scale, strict=True)]
    for shift in bias:
        result = [builder.add(value, b) for value, b in zip(result, shift, strict=True)]
    finish(i64(0), result, True)


def _inverse(vectors: RowVectors, number: Register) -> Register:
    return vectors.spread(vectors.builder.div(literal(1.0, vectors.dtype), number))


@dataclass(frozen=True)
class LongSoftmax:
    """Softmax of a row of `count` vectors in three passes; the exponentials wait in workspace."""

    vectors: RowVectors
    row: Row
    count: int
    workspace: Pointer

    def write(self, finish: Finish) -> None:
        vectors, builder, lanes = self.vectors, self.vectors.builder, self.vectors.lanes
        lowest, dtype = literal(-inf, vectors.dtype, lanes), vectors.dtype

        def maxima(start: Register, count: int, ends: bool, so_far: Sequence[Register]) -> list[Register]:
            x = self.row.load(vectors, count, -inf, start, ends=ends)
            return [vectors.apply("max", a, b) for a, b in zip(so_far, x, strict=False)] + list(so_far[count:])

        largest = vectors.spread(vectors.total("max", _rounds(vectors, self.count, maxima, [lowest] * ROUND)))

        def powers(start: Register, count: int, ends: bool, so_far: Sequence[Register]) -> list[Register]:
            x = self.row.load(vectors, count, -inf, start, ends=ends)
            found = [vectors.apply("exp", builder.sub(value, largest)) for value in x]
            for number, value in enumerate(found):
                place = builder.offset(builder.offset(self.workspace, start, dtype), number * lanes, dtype)
                builder.store(value, place, dtype)
            return [builder.add(a, b) for a, b in zip(so_far, found, strict=False)] + list(so_far[count:])

        sums = _rounds(vectors, self.count, powers, [literal(0.0, dtype, lanes)] * ROUND)
        inverse = _inverse(vectors, vectors.total("add", sums))

        def scaled(start: Register, count: int, ends: bool, so_far: Sequence[Register]) -> list[Register]:
            values = Row(self.workspace, dtype).load(vectors, count, 0.0, start, ends=False)
            finish(start, [builder.mul(value, inverse) for value in values], ends)
            return list(so_far)

        _rounds(vectors, self.count, scaled, [])


@dataclass(frozen=True)
class LongLayerNormalization:
    """Layer normalisation of a row of `extent` elements in three passes: mean, variance, result."""

    vectors: RowVectors
    row: Row
    extent: int
    epsilon: float
    parameters: Sequence[Row]

    def write(self, finish: Finish) -> None:
        vectors, builder = self.vectors, self.vectors.builder
        zeros = [literal(0.0, vectors.dtype, vectors.lanes)] * ROUND
        share = literal(1 / self.extent, vectors.dtype)

        def sums(start: Register, count: int, ends: bool, so_far: Sequence[Register]) -> list[Register]:
            x = self._loaded(self.row, start, count, ends)
            return [builder.add(a, b) for a, b in zip(so_far, x, strict=False)] + list(so_far[count:])

        mean = vectors.spread(builder.mul(vectors.total("add", self._rounds(sums, zeros)), share))

        def squares(start: Register, count: int, ends: bool, so_far: Sequence[Register]) -> list[Register]:
            x = [builder.sub(value, mean) for value in self._loaded(self.row, start, count, ends)]
            x = vectors.cleared(x) if ends else x
            return [builder.fma(b, b, a) for a, b in zip(so_far, x, strict=False)] + list(so_far[count:])

        variance = builder.mul(vectors.total("add", self._rounds(squares, zeros)), share)
        root = vectors.apply("sqrt", builder.add(variance, self.epsilon))
        inverse = _inverse(vectors, root)

        def results(start: Register, count: int, ends: bool, so_far: Sequence[Register]) -> list[Register]:
            x, scale, *bias = (self._loaded(each, start, count, ends) for each in (self.row, *self.parameters))
            y = [builder.mul(builder.mul(builder.sub(a, mean), inverse), b) for a, b in zip(x, scale, strict=True)]
            for shift in bias:
                y = [builder.add(a, b) for a, b in zip(y, shift, strict=True)]
            finish(start, y, ends)
            return list(so_far)

        self._rounds(results, [])

    def _loaded(self, row: Row, start: Register, count: int, ends: bool) -> list[Register]:
        return row.load(self.vectors, count, 0.0, start, ends=ends)

    def _rounds(self, body: Round, carried: list[Register]) -> list[Register]:
        return _rounds(self.vectors, -(-self.extent // self.vectors.lanes), body, carried)


def _rounds(vectors: RowVectors, count: int, body: Round, carried: list[Register]) -> list[Register]:
    """Run the body over all vectors of a row, in whole rounds and then for the rest, where the row ends."""
    builder, lanes = vectors.builder, vectors.lanes
    whole = (count - 1) // ROUND
    if whole:
        stop = i64(whole * ROUND * lanes)
        with builder.loop(0, stop, ROUND * lanes, carried, at_least_once=True) as loop:
            loop.following = body(loop.index, ROUND, False, loop.carried)
        carried = loop.final
    return body(i64(whole * ROUND * lanes), count - whole * ROUND, True, carried)
