"""The loop over the tiles of one panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from tensorwright.codegen.scalar import ScalarEmitter, lane_mask
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.expression import Variable
from tensorwright.kernels.cpu.arithmetic import Arithmetic
from tensorwright.kernels.cpu.matmul.tile import LINE_BYTES, Accumulators, Ahead, Factor, Tile, TileEmitter
from tensorwright.kernels.cpu.matmul.tiling import Panel, RowTiles
from tensorwright.kernels.cpu.rows.epilogue import RowEpilogue
from tensorwright.tensor.dim import Dim, ceil_divide, expression, tuning_value

LATENCY = 8
"""Independent additions that keep the floating-point units busy: four cycles of latency, two units."""


def independent_sums(accumulators: int, unroll: int) -> int:
    """Sets of accumulators for tiles, the largest of so many accumulators: a divisor of the unrolling."""
    sets = 1
    while sets < unroll and sets * accumulators < LATENCY:
        sets *= 2
    return sets


@dataclass(frozen=True)
class LeftMatrix:
    """The left factor: where it starts and the steps, in elements, from row to row and along the reduction."""

    start: Pointer
    row_step: Dim
    column_step: Dim


Masks = Sequence[Register | None]
"""For every vector of a panel the lanes that are columns, None for all of them."""


def panel_masks(emitter: ScalarEmitter, epilogue: RowEpilogue, panel: Panel) -> Masks:
    """The masks of a panel that starts at the column that the emitter knows."""
    lanes = epilogue.lanes
    masks: list[Register | None] = [None] * panel.vectors
    if panel.is_open:
        extent = emitter.integer(epilogue.column.extent)
        for number in range(panel.vectors):
            first = emitter.integer(expression(epilogue.column) + number * lanes)
            masks[number] = emitter.tail_mask(extent, first, lanes)
    elif panel.masked:
        masks[-1] = lane_mask(panel.masked, lanes)
    return masks


@dataclass(frozen=True)
class TileLoop:
    """Computes the tiles of one panel, one after another.

    The emitter has to know the value of the epilogue's column: the first one of the panel. The panel that comes next
    is fetched, spread over the tiles, if `next_panel` says where it starts. `widest` is the largest panel of the
    product, in vectors: all tiles add up in the same order, so that equal rows and columns give equal results.
    `fetches_rows`: each tile fetches the rows of the next one, for a left factor too large for the second-level cache.
    """

    emitter: ScalarEmitter
    epilogue: RowEpilogue
    output: Pointer
    arithmetic: Arithmetic
    depth: Dim
    unroll: int
    widest: int
    next_panel: Pointer | None = None
    fetches_rows: bool = False

    def run(
        self, tiles: RowTiles, piece: tuple[Dim, Dim], left: LeftMatrix, right: Factor, panel: Panel, first_row: Dim = 0
    ) -> None:
        """Compute the tiles from ``piece[0]`` up to, not including, ``piece[1]``; `first_row` counts for the output."""
        emitter, builder = self.emitter, self.emitter.builder
        tile = Variable("tile", tiles.count)
        row = Variable("row", tiles.batches * tiles.rows)
        masks = panel_masks(emitter, self.epilogue, panel)
        with builder.loop(emitter.integer(piece[0]), emitter.integer(piece[1])) as loop:
            emitter.values[tile] = loop.index
            with emitter.scope():
                emitter.values[row] = emitter.integer(tiles.first_row(expression(tile)))
                ahead = self._ahead(tiles, expression(tile), panel)
                heights = tiles.heights
                height = None if len(heights) == 1 else emitter.integer(tiles.height(expression(tile)))
                for rows in heights:
                    test = None if height is None else builder.compare("eq", height, rows)
                    with emitter.when(test):
                        highest = rows if tiles.is_alone(rows) else max(heights)
                        sums = self._reduced(rows, highest, expression(row), left, right, masks, ahead)
                        self._store(sums, first_row + expression(row), masks)

    def _reduced(
        self, rows: int, highest: int, row: Dim, left: LeftMatrix, right: Factor, masks: Masks, ahead: Ahead | None
    ) -> Accumulators:
        emitter, builder = self.emitter, self.emitter.builder
        splits = independent_sums(highest * self.widest, self.unroll)
        tile = Tile(rows, len(masks), self.arithmetic, self.unroll, splits)
        place = builder.offset(left.start, emitter.integer(row * left.row_step), self.arithmetic.left)
        step = emitter.integer(left.column_step * self.arithmetic.group)
        factor = Factor(place, step, emitter.integer(left.row_step))
        steps = ceil_divide(self.depth, self.arithmetic.group)
        known = steps if isinstance(steps, int) else None
        reads: Masks = [None] * len(masks) if right.is_padded else masks
        coming = [part for part in (ahead, self._next_rows(rows, place, left)) if part is not None]
        return TileEmitter(builder, tile, factor, right, reads, coming).reduce(emitter.integer(steps), known)

    def _store(self, sums: Accumulators, row: Dim, masks: Masks) -> None:
        for number, accumulators in enumerate(sums):
            self.epilogue.store(self.emitter, self.output, accumulators, row + number, masks)

    def _next_rows(self, rows: int, place: Pointer, left: LeftMatrix) -> Ahead | None:
        """The rows of the next tile, if they follow in memory."""
        if not self.fetches_rows or left.row_step != self.depth or not isinstance(self.depth, int):
            return None
        dtype = self.arithmetic.left
        following = self.emitter.builder.offset(place, rows * self.depth, dtype)
        return Ahead(following, ceil(rows * self.unroll * self.arithmetic.group * dtype.size / LINE_BYTES), dtype)

    def _ahead(self, tiles: RowTiles, tile: Dim, panel: Panel) -> Ahead | None:
        """Every tile's share of the next panel. One tile alone would fetch as fast as it reads, which helps nobody."""
        count = tuning_value(tiles.count)
        if self.next_panel is None or count < 2:
            return None
        dtype, group = self.arithmetic.right, self.arithmetic.group
        lines_per_round = self.unroll * panel.vectors * self.epilogue.lanes * group * dtype.size / LINE_BYTES
        share = max(1, ceil(lines_per_round / count))
        elements = share * LINE_BYTES // dtype.size // self.unroll
        distance = self.emitter.integer(tile * elements * ceil_divide(self.depth, group))
        return Ahead(self.emitter.builder.offset(self.next_panel, distance, dtype), share, dtype)
