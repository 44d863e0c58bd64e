"""The register tile: a block of the product held in vector registers while the reduction runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.kernels.cpu.arithmetic import Arithmetic, HalfPairs
from tensorwright.kernels.cpu.partial_sums import PartialSums, once_more_unless_finite
from tensorwright.tensor.dtype import DType

LINE_BYTES = 64

Accumulators = list[list[Register]]
"""For every row of the tile, its vectors from left to right."""


@dataclass(frozen=True)
class Tile:
    """`rows` × `vectors` vectors of sums.

    unroll: steps of the reduction in one round of the loop. splits: sets of accumulators that take turns, added up at
    the end, for tiles too small to hide the latency of an addition.
    """

    rows: int
    vectors: int
    arithmetic: Arithmetic
    unroll: int = 4
    splits: int = 1

    @property
    def lanes(self) -> int:
        return self.arithmetic.lanes


@dataclass(frozen=True)
class Factor:
    """Where a tile reads one factor: the first element and the steps, in elements, along its side and from one step of
    the reduction to the next.

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
    """Memory that is needed soon: where it starts, how many cache lines one round of the reduction fetches, and what
    type its elements have.
    """

    start: Pointer
    lines: int
    dtype: DType


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
        if isinstance(tile.arithmetic, HalfPairs):
            assert known_depth is not None
            return self._by_rows(self._in_halves(tile.arithmetic, known_depth))
        carried = [tile.arithmetic.zero()] * (tile.rows * tile.vectors * tile.splits)
        if known_depth is None:
            whole = builder.binary("and", depth, -tile.unroll)
        else:
            whole = i64(known_depth // tile.unroll * tile.unroll)
        if known_depth is None or known_depth >= tile.unroll:
            with builder.loop(0, whole, tile.unroll, carried, at_least_once=known_depth is not None) as loop:
                loop.following = self._round(loop.index, loop.carried, tile.unroll)
            carried = loop.final
        if known_depth is None:
            with builder.loop(whole, depth, 1, carried) as loop:
                loop.following = self._steps(loop.index, loop.carried, 1)
            carried = loop.final
        else:
            carried = self._steps(whole, carried, known_depth % tile.unroll)
        return self._summed(carried)

    def _in_halves(self, arithmetic: HalfPairs, depth: int) -> list[Register]:
        tile, builder = self.tile, self.builder
        sums = PartialSums(builder, arithmetic, tile.unroll, tile.unroll, tile.splits, self._round)
        totals = sums.added([arithmetic.zero()] * (tile.rows * tile.vectors), i64(0), depth)
        careful = replace(self, tile=replace(tile, arithmetic=arithmetic.careful, splits=1), ahead=())
        return once_more_unless_finite(
            builder, totals, lambda: [total for row in careful.reduce(i64(depth), depth) for total in row]
        )

    def _round(self, first: Register, sums: Sequence[Register], count: int) -> list[Register]:
        """Some steps, and what a whole round of them fetches ahead."""
        if count == self.tile.unroll:
            self._prefetch(first)
        return self._steps(first, sums, count)

    def _steps(self, first: Register, carried: Sequence[Register], count: int) -> list[Register]:
        sums = list(carried)
        for step in range(count):
            self._step(first, step, sums)
        return sums

    def _prefetch(self, first: Register) -> None:
        builder = self.builder
        for part in self.ahead:
            elements = LINE_BYTES // part.dtype.size
            round_start = builder.scaled(first, part.lines * elements // self.tile.unroll)
            place = builder.offset(part.start, round_start, part.dtype)
            for line in range(part.lines):
                builder.prefetch(builder.offset(place, line * elements, part.dtype))

    def _step(self, first: Register, step: int, sums: list[Register]) -> None:
        tile, builder = self.tile, self.builder
        columns = [self._right(first, step, vector) for vector in range(tile.vectors)]
        base = step % tile.splits * tile.rows * tile.vectors
        for row in range(tile.rows):
            element = self._left(first, step, row)
            for vector in range(tile.vectors):
                place = base + row * tile.vectors + vector
                sums[place] = tile.arithmetic.step(builder, columns[vector], element, sums[place])

    def _left(self, first: Register, step: int, row: int) -> Register:
        assert self.a.along_side is not None
        builder, arithmetic = self.builder, self.tile.arithmetic
        place = self._at_depth(self.a.start, self.a, first, step, arithmetic.left)
        if row:
            place = builder.offset(place, builder.scaled(self.a.along_side, row), arithmetic.left)
        return arithmetic.load_left(builder, place)

    def _right(self, first: Register, step: int, vector: int) -> Register:
        builder, factor = self.builder, self.b
        value = self._vector(factor.start, first, step, vector)
        if isinstance(factor, Difference):
            value = builder.sub(value, self._vector(factor.subtrahend, first, step, vector))
            dtype = self.tile.arithmetic.right
            row = self._at_depth(factor.kept, factor, first, step, dtype)
            builder.store(value, builder.offset(row, vector * self.tile.lanes, dtype), dtype)
        return value

    def _vector(self, start: Pointer, first: Register, step: int, vector: int) -> Register:
        arithmetic = self.tile.arithmetic
        row = self._at_depth(start, self.b, first, step, arithmetic.right)
        place = self.builder.offset(row, vector * arithmetic.lanes * arithmetic.group, arithmetic.right)
        return arithmetic.load_right(self.builder, place, self.masks[vector])

    def _at_depth(self, start: Pointer, factor: Factor, first: Register, step: int, dtype: DType) -> Pointer:
        builder = self.builder
        place = builder.offset(start, builder.mul(first, factor.along_depth), dtype)
        return builder.offset(place, builder.scaled(factor.along_depth, step), dtype) if step else place

    def _summed(self, sums: Sequence[Register]) -> Accumulators:
        tile = self.tile
        size = tile.rows * tile.vectors
        parts = [list(sums[start : start + size]) for start in range(0, len(sums), size)]
        while len(parts) > 1:
            half = (len(parts) + 1) // 2
            for part, other in zip(parts[: len(parts) - half], parts[half:], strict=True):
                part[:] = [self.builder.add(a, b) for a, b in zip(part, other, strict=True)]
            parts = parts[:half]
        return self._by_rows(parts[0])

    def _by_rows(self, sums: Sequence[Register]) -> Accumulators:
        tile = self.tile
        return [list(sums[row * tile.vectors : (row + 1) * tile.vectors]) for row in range(tile.rows)]
