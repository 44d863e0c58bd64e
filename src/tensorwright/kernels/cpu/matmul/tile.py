"""The register tile: a block of the product held in vector registers while the reduction runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.tensor.dtype import FLOAT32, INT64

LINE_BYTES = 64

Accumulators = list[list[Register]]
"""For every row of the tile, its vectors from left to right."""


@dataclass(frozen=True)
class Tile:
    """`rows` × `vectors` accumulators of `lanes` elements.

    unroll: steps of the reduction in one round of the loop. splits: sets of accumulators that take turns, added up at
    the end, for tiles too small to hide the latency of an addition.
    """

    rows: int
    vectors: int
    lanes: int
    unroll: int = 4
    splits: int = 1


@dataclass(frozen=True)
class Factor:
    """Where a tile reads one factor: the first element and the steps, in elements, along its side and the reduction.

    For the left factor the side steps from row to row; the right one has its columns side by side, and `is_padded` says
    that whole vectors may be read where its columns end within one.
    """

    start: Pointer
    along_depth: Register
    along_side: Register | None = None
    is_padded: bool = False


@dataclass(frozen=True)
class Difference(Factor):
    """A right factor that is `start` less `subtrahend` and is written to `kept` for other tiles, all in equal steps."""

    subtrahend: Pointer = field(kw_only=True)
    kept: Pointer = field(kw_only=True)


@dataclass(frozen=True)
class Ahead:
    """Memory that is needed soon: where it starts and how many cache lines one round of the reduction fetches."""

    start: Pointer
    lines: int


@dataclass(frozen=True)
class TileEmitter:
    """Writes the reduction of one tile. `masks`: for every vector of b the lanes to read, None for all of them."""

    builder: FunctionBuilder
    tile: Tile
    a: Factor
    b: Factor
    masks: Sequence[Register | None]
    ahead: Sequence[Ahead] = ()

    def reduce(self, depth: Register, known_depth: int | None = None) -> Accumulators:
        """The sums over all steps of the reduction, from zero."""
        tile, builder = self.tile, self.builder
        zero = literal(0.0, FLOAT32, tile.lanes)
        carried = [zero] * (tile.rows * tile.vectors * tile.splits)
        if known_depth is None:
            whole = builder.binary("and", depth, literal(-tile.unroll, INT64))
        else:
            whole = literal(known_depth // tile.unroll * tile.unroll, INT64)
        if known_depth is None or known_depth >= tile.unroll:
            loop = builder.begin_loop(
                literal(0, INT64), whole, tile.unroll, carried, at_least_once=known_depth is not None
            )
            self._prefetch(loop.index)
            carried = builder.end_loop(loop, self._steps(loop.index, loop.carried, tile.unroll))
        if known_depth is None:
            loop = builder.begin_loop(whole, depth, 1, carried)
            carried = builder.end_loop(loop, self._steps(loop.index, loop.carried, 1))
        else:
            carried = self._steps(whole, carried, known_depth % tile.unroll)
        return self._summed(carried)

    def _steps(self, first: Register, carried: Sequence[Register], count: int) -> list[Register]:
        sums = list(carried)
        for step in range(count):
            self._step(first, step, sums)
        return sums

    def _prefetch(self, first: Register) -> None:
        builder, elements = self.builder, LINE_BYTES // FLOAT32.size
        for part in self.ahead:
            round_start = builder.mul(first, literal(part.lines * elements // self.tile.unroll, INT64))
            place = builder.offset(part.start, round_start, FLOAT32)
            for line in range(part.lines):
                builder.prefetch(builder.offset(place, line * elements, FLOAT32))

    def _step(self, first: Register, step: int, sums: list[Register]) -> None:
        tile, builder = self.tile, self.builder
        columns = [self._right(first, step, vector) for vector in range(tile.vectors)]
        base = step % tile.splits * tile.rows * tile.vectors
        for row in range(tile.rows):
            element = builder.splat(self._left(first, step, row), tile.lanes)
            for vector in range(tile.vectors):
                place = base + row * tile.vectors + vector
                sums[place] = builder.fma(columns[vector], element, sums[place])

    def _left(self, first: Register, step: int, row: int) -> Register:
        assert self.a.along_side is not None
        builder = self.builder
        start = self._at_depth(self.a.start, self.a, first, step)
        place = builder.offset(start, builder.mul(self.a.along_side, literal(row, INT64)), FLOAT32) if row else start
        return builder.load(place, FLOAT32)

    def _right(self, first: Register, step: int, vector: int) -> Register:
        builder, factor = self.builder, self.b
        value = self._vector(factor.start, first, step, vector)
        if isinstance(factor, Difference):
            value = builder.sub(value, self._vector(factor.subtrahend, first, step, vector))
            kept = builder.offset(self._at_depth(factor.kept, factor, first, step), vector * self.tile.lanes, FLOAT32)
            builder.store(value, kept, FLOAT32)
        return value

    def _vector(self, start: Pointer, first: Register, step: int, vector: int) -> Register:
        builder, lanes = self.builder, self.tile.lanes
        place = builder.offset(self._at_depth(start, self.b, first, step), vector * lanes, FLOAT32)
        mask = self.masks[vector]
        if mask is not None:
            return builder.masked_load(place, mask, literal(0.0, FLOAT32, lanes), FLOAT32)
        return builder.load(place, FLOAT32, lanes)

    def _at_depth(self, start: Pointer, factor: Factor, first: Register, step: int) -> Pointer:
        builder = self.builder
        place = builder.offset(start, builder.mul(first, factor.along_depth), FLOAT32)
        return builder.offset(place, builder.mul(factor.along_depth, literal(step, INT64)), FLOAT32) if step else place

    def _summed(self, sums: Sequence[Register]) -> Accumulators:
        tile = self.tile
        size = tile.rows * tile.vectors
        parts = [list(sums[start : start + size]) for start in range(0, len(sums), size)]
        while len(parts) > 1:
            half = (len(parts) + 1) // 2
            for part, other in zip(parts[: len(parts) - half], parts[half:], strict=True):
                part[:] = [self.builder.add(a, b) for a, b in zip(part, other, strict=True)]
            parts = parts[:half]
        return [parts[0][row * tile.vectors : (row + 1) * tile.vectors] for row in range(tile.rows)]
