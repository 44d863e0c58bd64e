"""Convolution of open images over many channels: some at a time for many tiles; their weights stay in a cache."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tensorwright.codegen.term import Term, greatest, least
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.kernels.cpu.convolution.open import OpenTasks
from tensorwright.kernels.cpu.convolution.open_sums import Sums
from tensorwright.kernels.cpu.spatial.tasks import WORKSPACE
from tensorwright.kernels.cpu.spatial.tiling import OutputRun
from tensorwright.tensor.dim import expression
from tensorwright.tensor.dtype import UINT8

POSITIONS = 1024
"""Whose sums wait in workspace, for a group of blocks of outputs."""


@dataclass(frozen=True)
class DeepOpenTasks(OpenTasks):
    """Tasks whose tiles, of all rows, are counted in one row. Between one part of the channels and the next the sums of
    some of them lie in workspace.
    """

    @cached_property
    def at_once(self) -> int:
        """Tiles whose sums wait."""
        return max(1, POSITIONS // self.tiling.options.columns)

    @property
    def workspace(self) -> int:
        return super().workspace + self.at_once * self._tile_bytes

    @property
    def _tile_bytes(self) -> int:
        options = self.tiling.options
        return options.columns * options.blocks * self.tiling.lanes * self.usual.numerics.total.size

    def _tiles(self, run: OutputRun, weights: Pointer, image: Pointer, begin: Term, end: Term) -> None:
        size = self.tiling.options.columns
        low, high = (self._term(0), self._term(self.problem.axes[1].output)) if self.rows_are_units else (begin, end)
        across = (high - low + (size - 1)) // size
        count = (end - begin) * across if self.rows_are_units else across
        with self.emitter.loop(0, count.register, self.at_once) as loop:
            chunk = Term(self.builder, loop.index)
            stop = least(chunk + self.at_once, count)
            with self.emitter.loop(chunk.register, stop.register) as tile:
                self._keep(self._initial(run, size), self._kept(Term(self.builder, tile.index) - chunk))
            blocks, depth = self.usual.channels // self.block, self.tiling.options.depth // self.block
            with self.emitter.loop(0, blocks, depth) as part:
                channels = part.index, least(Term(self.builder, part.index) + depth, blocks).register
                with self.emitter.loop(chunk.register, stop.register) as tile:
                    number = Term(self.builder, tile.index)
                    kept = self._kept(number - chunk)
                    row = self._term(0)
                    if self.rows_are_units:
                        row, number = begin + number // across, number % across
                    self.emitter.values[self.variables[2]] = row.register
                    first = greatest(least(low + number * size, high - size), low)
                    self._part(run, weights, image, (first.register, (high - first).register), channels, kept)

    def _part(
        self,
        run: OutputRun,
        weights: Pointer,
        image: Pointer,
        place: tuple[Register, Register],
        channels: tuple[Register, Register],
        kept: Pointer,
    ) -> None:
        """Some blocks of channels for the positions from a first one on, of which there are so many."""
        _, block, row, *_ = self.variables
        sums = self._sums(run.lanes, channels).added(
            self._taken(run, kept), image, weights, expression(block), expression(row), place[0]
        )
        is_last = self.builder.compare("eq", channels[1], i64(self.usual.channels // self.block))
        with self.emitter.when(is_last):
            self._finish_tile(sums, run, *place)
        with self.emitter.when((Term(self.builder, is_last) ^ True).register):
            self._keep(sums, kept)

    # ---- sums between parts

    def _kept(self, tile: Term) -> Pointer:
        """Where those of a tile lie."""
        start = self.builder.offset(WORKSPACE, super().workspace, UINT8)
        return self.builder.offset(start, (tile * self._tile_bytes).register, UINT8)

    def _place(self, kept: Pointer, key: tuple[int, int]) -> Pointer:
        (column, number), lanes = key, self.tiling.lanes
        return self.builder.offset(
            kept, (column * self.tiling.options.blocks + number) * lanes, self.usual.numerics.total
        )

    def _keep(self, sums: Sums, kept: Pointer) -> None:
        for key, value in sums.items():
            self.builder.store(value, self._place(kept, key), self.usual.numerics.total)

    def _taken(self, run: OutputRun, kept: Pointer) -> Sums:
        keys = [(column, number) for column in range(self.tiling.options.columns) for number in range(len(run.lanes))]
        total = self.usual.numerics.total
        return {key: self.builder.load(self._place(kept, key), total, run.lanes[key[1]]) for key in keys}
