"""Normalisations of one row, held in registers or, if it is long, in workspace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.kernels.cpu.rows.vectors import RowVectors
from tensorwright.tensor.dtype import FLOAT32, INT64

ROUND = 4
"""Vectors of a long row in one round of a loop: enough to overlap the latencies of exp."""

Round = Callable[[Register, int, bool, Sequence[Register]], list[Register]]
"""Takes the first column of a few vectors, their number, whether the row ends with them, and what is carried along."""

Finish = Callable[[Register, Sequence[Register], bool], None]
"""Takes the first column, the finished vectors from there on, and whether the row ends with them."""


def softmax(vectors: RowVectors, row: Pointer, count: int, finish: Finish) -> None:
    """``exp(x - max) / Σ exp(x - max)`` of a row of `count` vectors, all in registers."""
    builder = vectors.builder
    x = vectors.load(row, count, -inf)
    largest = vectors.spread(vectors.total("max", x))
    powers = [vectors.apply("exp", builder.sub(value, largest)) for value in x]
    inverse = _inverse(vectors, vectors.total("add", powers))
    finish(literal(0, INT64), [builder.mul(power, inverse) for power in powers], True)


def layer_normalization(
    vectors: RowVectors, row: Pointer, extent: int, epsilon: float, parameters: Sequence[Pointer], finish: Finish
) -> None:
    """``(x - mean) / √(variance + epsilon) · scale (+ bias)`` of a row, all in registers."""
    builder, count = vectors.builder, -(-extent // vectors.lanes)
    share = literal(1 / extent, FLOAT32)
    x = vectors.load(row, count, 0.0)
    mean = vectors.spread(builder.mul(vectors.total("add", x), share))
    centred = vectors.cleared([builder.sub(value, mean) for value in x])
    variance = builder.mul(vectors.total("add", [builder.mul(value, value) for value in centred]), share)
    root = vectors.apply("sqrt", builder.add(variance, literal(epsilon, FLOAT32)))
    inverse = _inverse(vectors, root)
    scale, *bias = [vectors.load(place, count, 0.0) for place in parameters]
    result = [builder.mul(builder.mul(value, inverse), s) for value, s in zip(centred, scale, strict=True)]
    for shift in bias:
        result = [builder.add(value, b) for value, b in zip(result, shift, strict=True)]
    finish(literal(0, INT64), result, True)


def _inverse(vectors: RowVectors, number: Register) -> Register:
    return vectors.spread(vectors.builder.div(literal(1.0, FLOAT32), number))


@dataclass(frozen=True)
class LongSoftmax:
    """Softmax of a row of `count` vectors in three passes; the exponentials wait in workspace."""

    vectors: RowVectors
    row: Pointer
    count: int
    workspace: Pointer

    def write(self, finish: Finish) -> None:
        vectors, builder, lanes = self.vectors, self.vectors.builder, self.vectors.lanes
        lowest = literal(-inf, FLOAT32, lanes)

        def maxima(start: Register, count: int, ends: bool, so_far: Sequence[Register]) -> list[Register]:
            x = vectors.load(builder.offset(self.row, start, FLOAT32), count, -inf, ends=ends)
            return [vectors.apply("max", a, b) for a, b in zip(so_far, x, strict=False)] + list(so_far[count:])

        largest = vectors.spread(vectors.total("max", _rounds(vectors, self.count, maxima, [lowest] * ROUND)))

        def powers(start: Register, count: int, ends: bool, so_far: Sequence[Register]) -> list[Register]:
            x = vectors.load(builder.offset(self.row, start, FLOAT32), count, -inf, ends=ends)
            found = [vectors.apply("exp", builder.sub(value, largest)) for value in x]
            for number, value in enumerate(found):
                place = builder.offset(builder.offset(self.workspace, start, FLOAT32), number * lanes, FLOAT32)
                builder.store(value, place, FLOAT32)
            return [builder.add(a, b) for a, b in zip(so_far, found, strict=False)] + list(so_far[count:])

        sums = _rounds(vectors, self.count, powers, [literal(0.0, FLOAT32, lanes)] * ROUND)
        inverse = _inverse(vectors, vectors.total("add", sums))

        def scaled(start: Register, count: int, ends: bool, so_far: Sequence[Register]) -> list[Register]:
            place = builder.offset(self.workspace, start, FLOAT32)
            values = vectors.load(place, count, 0.0, ends=False)
            finish(start, [builder.mul(value, inverse) for value in values], ends)
            return list(so_far)

        _rounds(vectors, self.count, scaled, [])


@dataclass(frozen=True)
class LongLayerNormalization:
    """Layer normalisation of a row of `extent` elements in three passes: mean, variance, result."""

    vectors: RowVectors
    row: Pointer
    extent: int
    epsilon: float
    parameters: Sequence[Pointer]

    def write(self, finish: Finish) -> None:
        vectors, builder = self.vectors, self.vectors.builder
        zeros = [literal(0.0, FLOAT32, vectors.lanes)] * ROUND
        share = literal(1 / self.extent, FLOAT32)

        def sums(start: Register, count: int, ends: bool, so_far: Sequence[Register]) -> list[Register]:
            x = self._loaded(self.row, start, count, ends)
            return [builder.add(a, b) for a, b in zip(so_far, x, strict=False)] + list(so_far[count:])

        mean = vectors.spread(builder.mul(vectors.total("add", self._rounds(sums, zeros)), share))

        def squares(start: Register, count: int, ends: bool, so_far: Sequence[Register]) -> list[Register]:
            x = [builder.sub(value, mean) for value in self._loaded(self.row, start, count, ends)]
            x = vectors.cleared(x) if ends else x
            return [builder.fma(b, b, a) for a, b in zip(so_far, x, strict=False)] + list(so_far[count:])

        variance = builder.mul(vectors.total("add", self._rounds(squares, zeros)), share)
        root = vectors.apply("sqrt", builder.add(variance, literal(self.epsilon, FLOAT32)))
        inverse = _inverse(vectors, root)

        def results(start: Register, count: int, ends: bool, so_far: Sequence[Register]) -> list[Register]:
            x, scale, *bias = (self._loaded(place, start, count, ends) for place in (self.row, *self.parameters))
            y = [builder.mul(builder.mul(builder.sub(a, mean), inverse), b) for a, b in zip(x, scale, strict=True)]
            for shift in bias:
                y = [builder.add(a, b) for a, b in zip(y, shift, strict=True)]
            finish(start, y, ends)
            return list(so_far)

        self._rounds(results, [])

    def _loaded(self, row: Pointer, start: Register, count: int, ends: bool) -> list[Register]:
        return self.vectors.load(self.vectors.builder.offset(row, start, FLOAT32), count, 0.0, ends=ends)

    def _rounds(self, body: Round, carried: list[Register]) -> list[Register]:
        return _rounds(self.vectors, -(-self.extent // self.vectors.lanes), body, carried)


def _rounds(vectors: RowVectors, count: int, body: Round, carried: list[Register]) -> list[Register]:
    """Run the body over all vectors of a row, in whole rounds and then for the rest, where the row ends."""
    builder, lanes = vectors.builder, vectors.lanes
    whole = (count - 1) // ROUND
    if whole:
        stop = literal(whole * ROUND * lanes, INT64)
        with builder.loop(0, stop, ROUND * lanes, carried, at_least_once=True) as loop:
            loop.following = body(loop.index, ROUND, False, loop.carried)
        carried = loop.final
    return body(literal(whole * ROUND * lanes, INT64), count - whole * ROUND, True, carried)
