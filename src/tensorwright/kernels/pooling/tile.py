"""Code for one tile of a pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tensorwright.codegen.ir import Pointer, Register, literal
from tensorwright.kernels.convolution.problem import Axis
from tensorwright.kernels.convolution.tile import Sums, TileEmitter
from tensorwright.kernels.pooling.combine import Combiner
from tensorwright.kernels.pooling.plan import PoolingPlan
from tensorwright.tensor.dtype import FLOAT32


@dataclass(frozen=True)
class PoolingTile(TileEmitter):
    """Neighbouring outputs of a row; how they read rows of the input is up to subclasses.

    All rows under the windows are read at once, those that are padding left out, unless there are many: then a loop
    goes through them. There is a loop for every axis further out.
    """

    plan: PoolingPlan
    combiner: Combiner

    def pooled(self, x: Pointer, positions: Sequence[Register]) -> Sums:
        """The finished maxima or means of the tile at the given position, of one image and channel block."""
        keys = self._keys()
        start = {key: self.combiner.nothing(lanes) for key, lanes in keys.items()}
        sums = self.sum(start, x, x, positions)
        return sums if self.combiner.is_max else self._averaged(sums, positions)

    def _keys(self) -> dict[tuple[int, int, int], int]:
        """The keys of the tile's outputs, and lanes of each."""
        raise NotImplementedError

    def _windows(self, rows: Sequence[Pointer]) -> Sums:
        """Every output combined over the given rows, each of which starts where the tile's first window does."""
        raise NotImplementedError

    def _inverse_counts(self, columns: Sequence[int], others: int) -> dict[tuple[int, int, int], Register]:
        """For every output one over the product of its count along the last axis and of `others`."""
        raise NotImplementedError

    # ---- rows

    def _outer(self, number: int, sums: Sums, x: Pointer, weights: Pointer, positions: Sequence[Register]) -> Sums:
        if number != len(self.axes) - 2 or self.plan.walks_rows:
            return super()._outer(number, sums, x, weights, positions)
        for axis, step, position in zip(self.axes[-2:], self.memory.spatial[-2:], positions[-2:], strict=True):
            x = self._moved(x, self._scaled(position, axis.stride * step), -axis.before * step)
        step = self.axes[number].dilation * self.memory.spatial[number]
        rows = [self.builder.offset(x, tap * step, FLOAT32) for tap, rows in enumerate(self.tile.rows.valid) if rows]
        return self._with(sums, rows)

    def _last(self, sums: Sums, x: Pointer, weights: Pointer) -> Sums:
        return self._with(sums, [x])

    def _with(self, sums: Sums, rows: Sequence[Pointer]) -> Sums:
        if not rows:
            return sums
        found = self._windows([self.builder.opaque(row) for row in rows])
        if len(self.axes) == 2 and not self.plan.walks_rows:
            return found
        return {key: self.combiner.all((value, found[key])) for key, value in sums.items()}

    # ---- means

    def _averaged(self, sums: Sums, positions: Sequence[Register]) -> Sums:
        builder, counts = self.builder, self.plan.pooling.counts
        tile, known, unknown = self.tile, 1, len(self.axes) - 2
        if self.plan.walks_rows:
            unknown += 1
        else:
            known = counts[-2][tile.rows.start]
        factors = self._inverse_counts(counts[-1][tile.columns.start : tile.columns.start + tile.columns.size], known)
        varying = [self._count(number, positions[number]) for number in range(unknown) if self.axes[number].kernel > 1]
        result = {key: builder.mul(value, factors[key]) for key, value in sums.items()}
        for count in varying:
            inverse = builder.div(literal(1.0, FLOAT32), builder.convert("sitofp", count, FLOAT32))
            result = {key: builder.mul(value, builder.splat(inverse, value.lanes)) for key, value in result.items()}
        return result

    def _count(self, number: int, position: Register) -> Register:
        """How many elements of a window count along an axis."""
        axis, (low, high) = self.axes[number], self.plan.pooling.counted[number]
        first, end = self._tap_range(replace(axis, input=high - low, before=axis.before + low), position)
        return self.builder.sub(end, first)


@dataclass(frozen=True)
class BlockedTile(PoolingTile):
    """Every vector holds neighbouring channels of one output."""

    def _keys(self) -> dict[tuple[int, int, int], int]:
        return {(0, column, 0): self.tile.outputs for column in range(self.tile.columns.size)}

    def _windows(self, rows: Sequence[Pointer]) -> Sums:
        axis, lanes, found = self.axes[-1], self.tile.outputs, {}
        shared, known = axis.stride < _reach(axis), dict[int, Register]()
        for column in range(self.tile.columns.size):
            taps = [tap for tap, columns in enumerate(self.tile.columns.valid) if column in columns]
            sources = [column * axis.stride + tap * axis.dilation for tap in taps]
            if shared:
                for source in sources:
                    if source not in known:
                        known[source] = self.combiner.all([self._vector(row, source) for row in rows])
                values = [known[source] for source in sources]
            else:
                values = [self._vector(row, source) for row in rows for source in sources]
            found[0, column, 0] = self.combiner.all(values) if values else self.combiner.nothing(lanes)
        return found

    def _vector(self, row: Pointer, source: int) -> Register:
        place = self.builder.offset(row, source * self.memory.spatial[-1], FLOAT32)
        return self.builder.load(place, FLOAT32, self.tile.outputs)

    def _inverse_counts(self, columns: Sequence[int], others: int) -> dict[tuple[int, int, int], Register]:
        lanes = self.tile.outputs
        return {(0, n, 0): literal(inverse(count * others), FLOAT32, lanes) for n, count in enumerate(columns)}


def inverse(count: int) -> float:
    """One over a count; infinite for none, as the sum of nothing over nothing is no number."""
    return 1 / count if count else float("inf")


def _reach(axis: Axis) -> int:
    return (axis.kernel - 1) * axis.dilation + 1
