"""Code for one tile of a pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.kernels.cpu.pooling.combine import Combiner
from tensorwright.kernels.cpu.pooling.tiling import PoolingTiling
from tensorwright.kernels.cpu.spatial.tile import Sums, TileEmitter

Key = tuple[int, int, int]


@dataclass(frozen=True)
class PoolingTile(TileEmitter):
    """Neighbouring outputs of a row; how they lie in vectors, and those of the input, is up to subclasses.

    Vectors of the input are combined along all axes but the last one first, which neighbouring windows share; then
    along the last one. All rows under the windows are read at once, those that are padding left out, unless that takes
    too much code: then a loop goes through them. There is a loop for every axis further out.
    """

    tiling: PoolingTiling
    combiner: Combiner

    def pooled(self, x: Pointer, positions: Sequence[Register]) -> Sums:
        """The finished maxima or means of the tile at the given position, of one image and channel block."""
        found = self.sum(dict.fromkeys(self._parts(), self._nothing), x, x, positions)
        sums = found if self._at_once else self._across(found)
        return sums if self.combiner.is_max else self._averaged(sums, positions)

    @property
    def _nothing(self) -> Register:
        """A vector of padding."""
        raise NotImplementedError

    def _parts(self) -> Sequence[Key]:
        """Keys of the vectors of a row of input under the windows."""
        raise NotImplementedError

    def _part(self, row: Pointer, key: Key) -> Register:
        """One of these vectors, of a row that starts where the tile's first window does."""
        raise NotImplementedError

    def _across(self, parts: Sums) -> Sums:
        """The vectors of a row combined along the last axis: one vector for every key of the outputs."""
        raise NotImplementedError

    def _inverse_counts(self, columns: Sequence[int], others: int) -> Sums:
        """For every output one over the product of its count along the last axis and of `others`."""
        raise NotImplementedError

    # ---- rows

    @property
    def _at_once(self) -> bool:
        """Whether no loop combines anything."""
        return len(self.axes) == 2 and not self.tiling.walks_rows

    def _outer(self, number: int, sums: Sums, x: Pointer, weights: Pointer, positions: Sequence[Register]) -> Sums:
        if number != len(self.axes) - 2 or self.tiling.walks_rows:
            return super()._outer(number, sums, x, weights, positions)
        for axis, step, position in zip(self.axes[-2:], self.memory.spatial[-2:], positions[-2:], strict=True):
            x = self._in_image(x, self.builder.scaled(position, axis.stride * step), -axis.before * step)
        step = self.axes[number].dilation * self.memory.spatial[number]
        rows = [self._in_image(x, tap * step) for tap, rows in enumerate(self.tile.rows.valid) if rows]
        return self._with(sums, rows)

    def _last(self, sums: Sums, x: Pointer, weights: Pointer) -> Sums:
        return self._with(sums, [x])

    def _with(self, sums: Sums, rows: Sequence[Pointer]) -> Sums:
        rows = [self.builder.opaque(row) for row in rows]
        if self._at_once:
            return self._windows(rows) if rows else self._across(sums)
        return {key: self.combiner.all([*(self._part(row, key) for row in rows), value]) for key, value in sums.items()}

    def _windows(self, rows: Sequence[Pointer]) -> Sums:
        """The outputs of a few rows."""
        return self._across({key: self.combiner.all([self._part(row, key) for row in rows]) for key in self._parts()})

    # ---- means

    def _averaged(self, sums: Sums, positions: Sequence[Register]) -> Sums:
        builder, counts = self.builder, self.tiling.pooling.counts
        tile, known, unknown, total = self.tile, 1, len(self.axes) - 2, self.numerics.total
        if self.tiling.walks_rows:
            unknown += 1
        else:
            (known,) = counts(-2, tile.rows.start)
        factors = self._inverse_counts(counts(-1, tile.columns.start, tile.columns.size), known)
        varying = [self._count(number, positions[number]) for number in range(unknown) if self.axes[number].kernel > 1]
        result = {key: builder.mul(value, factors[key]) for key, value in sums.items()}
        for count in varying:
            inverse = builder.div(literal(1.0, total), builder.convert("sitofp", count, total))
            result = {key: builder.mul(value, builder.splat(inverse, value.lanes)) for key, value in result.items()}
        return result

    def _count(self, number: int, position: Register) -> Register:
        """How many elements of a window count along an axis."""
        axis, (low, high) = self.axes[number], self.tiling.pooling.counted[number]
        first, end = self._tap_range(replace(axis, input=high - low, before=axis.before + low), position)
        return self.builder.sub(end, first)


@dataclass(frozen=True)
class BlockedTile(PoolingTile):
    """Every vector holds neighbouring channels of one output."""

    @property
    def _nothing(self) -> Register:
        return self.combiner.nothing(self.tile.outputs)

    def _parts(self) -> Sequence[Key]:
        return sorted({(0, source, 0) for sources in self._sources() for source in sources})

    def _part(self, row: Pointer, key: Key) -> Register:
        place = self._in_image(row, key[1] * self.memory.spatial[-1])
        return self.builder.load(place, self.numerics.left, self.tile.outputs)

    def _across(self, parts: Sums) -> Sums:
        return self._combined([[parts[0, source, 0] for source in sources] for sources in self._sources()])

    def _windows(self, rows: Sequence[Pointer]) -> Sums:
        axis = self.axes[-1]
        if axis.stride <= (axis.kernel - 1) * axis.dilation:
            return super()._windows(rows)
        windows = [[(row, (0, source, 0)) for row in rows for source in sources] for sources in self._sources()]
        return self._combined([[self._part(*each) for each in window] for window in windows])

    def _sources(self) -> list[list[int]]:
        """For every output, which columns from the first window's start on are under its window, padding left out."""
        axis, columns = self.axes[-1], self.tile.columns
        return [
            [column * axis.stride + tap * axis.dilation for tap, valid in enumerate(columns.valid) if column in valid]
            for column in range(columns.size)
        ]

    def _combined(self, windows: Sequence[Sequence[Register]]) -> Sums:
        return {
            (0, column, 0): self.combiner.all(window) if window else self._nothing
            for column, window in enumerate(windows)
        }

    def _inverse_counts(self, columns: Sequence[int], others: int) -> Sums:
        lanes, total = self.tile.outputs, self.numerics.total
        return {(0, n, 0): literal(inverse(count * others), total, lanes) for n, count in enumerate(columns)}


def inverse(count: int) -> float:
    """One over a count; infinite for none, as the sum of nothing over nothing is no number."""
    return 1 / count if count else float("inf")
