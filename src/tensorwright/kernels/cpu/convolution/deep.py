"""Direct convolution over many channels: some at a time for all tiles, so that their weights stay in a cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from tensorwright.codegen.target import Target
from tensorwright.codegen.term import Term, least
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.kernels.cpu.convolution.ahead import LINE_BYTES
from tensorwright.kernels.cpu.convolution.broadcast import BroadcastTasks, Channels, widened_bytes
from tensorwright.kernels.cpu.spatial.tasks import Span
from tensorwright.kernels.cpu.spatial.tile import Sums, Tile
from tensorwright.kernels.cpu.spatial.tiling import OutputRun, Tiling
from tensorwright.tensor.dtype import UINT8


@dataclass(frozen=True)
class DeepTasks(BroadcastTasks):
    """A dense convolution in broadcast tiles. Between one part of the channels and the next the sums lie in workspace:
    unit after unit, each as rows × columns × blocks of outputs.
    """

    def tiles(
        self,
        batch: Register,
        image: Pointer,
        group: Register,
        run: OutputRun,
        position: Sequence[Register],
        units: Span,
    ) -> None:
        channels, depth = self.tiling.problem.channels, self.tiling.options.depth
        block, weights = self._group(group, run)
        for tile, places, unit in self._tiles(run, position, units):
            self._keep(self._initial(tile, block), self._kept(unit, units, places))
        with self.emitter.loop(0, channels, depth) as loop:
            first = self._term(loop.index)
            part, is_last = self._part_of_channels(first), first.below(channels - depth) ^ True
            for tile, places, unit in self._tiles(run, position, units):
                kept = self._kept(unit, units, places)
                sums = self._added(self._taken(tile, kept), part, tile, image, weights, places)
                with self.emitter.when(is_last.register):
                    self._finish(sums, batch, block, places)
                with self.emitter.when((is_last ^ True).register):
                    self._keep(sums, kept)

    def _part_of_channels(self, first: Term) -> Channels:
        channels, depth = self.tiling.problem.channels, self.tiling.options.depth
        count = least(channels - first, depth).register if channels % depth else depth
        return Channels(first.register, count, self.tiling.unroll(self.memory.block), i64(0))

    # ---- sums between parts

    def _kept(self, unit: Register, units: Span, places: Sequence[Register]) -> Pointer:
        """Where the first sum of a tile lies, which is in this unit of those of the task."""
        tiling, total = self.tiling, self.tiling.problem.numerics.total
        number = (self._term(unit) - self._term(units.low)) * prod(_unit(tiling))
        number += self._term(places[-1]) if tiling.rows_are_units else 0
        start = self.builder.offset(self.workspace, _sums_start(tiling, self.emitter.target), UINT8)
        return self.builder.offset(start, (number * (tiling.options.blocks * tiling.lanes)).register, total)

    def _place(self, kept: Pointer, key: tuple[int, int, int]) -> Pointer:
        (row, column, block), (_, width), tiling = key, _unit(self.tiling), self.tiling
        number = (row * width + column) * tiling.options.blocks + block
        return self.builder.offset(kept, number * tiling.lanes, tiling.problem.numerics.total)

    def _keep(self, sums: Sums, kept: Pointer) -> None:
        for key, value in sums.items():
            self.builder.store(value, self._place(kept, key), self.tiling.problem.numerics.total)

    def _taken(self, tile: Tile, kept: Pointer) -> Sums:
        keys = [(*pixel, block) for pixel in tile.pixels for block in range(tile.blocks)]
        total = self.tiling.problem.numerics.total
        return {key: self.builder.load(self._place(kept, key), total, tile.lanes[key[-1]]) for key in keys}


def deep_bytes(tiling: Tiling, target: Target) -> int:
    """Workspace for sums, behind what tiles need themselves."""
    options, total = tiling.options, tiling.problem.numerics.total
    sums = options.pixels * prod(_unit(tiling)) * options.blocks * tiling.lanes
    return _sums_start(tiling, target) + sums * total.size


def _sums_start(tiling: Tiling, target: Target) -> int:
    return -(-widened_bytes(tiling, target) // LINE_BYTES) * LINE_BYTES


def _unit(tiling: Tiling) -> tuple[int, int]:
    """Rows and columns of a unit of pixels, at most."""
    options, (rows, columns) = tiling.options, tiling.problem.axes[-2:]
    return (options.rows, columns.output) if tiling.rows_are_units else (rows.output, options.columns)
