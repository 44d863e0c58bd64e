"""Winograd convolution of images of known extents: code for every border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, product

from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.codegen.winograd import Value
from tensorwright.kernels.cpu.spatial.tile import Memory
from tensorwright.kernels.cpu.winograd.code import Places
from tensorwright.kernels.cpu.winograd.tiles import TileRun
from tensorwright.kernels.cpu.winograd.write import WinogradEmitter


@dataclass(frozen=True)
class FixedWinograd(WinogradEmitter):
    """memory: how the image lies."""

    memory: Memory

    def _image(self, number: Register) -> Pointer:
        return self._in_image(self.x, self.builder.scaled(number, self.memory.image))

    def _image_extents(self) -> tuple[Register, Register]:
        pixels, width = self.memory.channel // self.memory.block, self.memory.spatial[0] // self.memory.block
        return i64(pixels // width), i64(width)

    def _transform_tile(self, image: Pointer, target: Places, row: Register, column: Register) -> None:
        for rows in self.tiling.rows:
            for columns in self.tiling.columns:
                with self._inside(rows, row, self.tiling.rows), self._inside(columns, column, self.tiling.columns):
                    self._transform_input(image, target, row, column, rows, columns)

    def _transform_input(
        self, x: Pointer, target: Places, row: Register, column: Register, rows: TileRun, columns: TileRun
    ) -> None:
        builder, tiling, memory = self.builder, self.tiling, self.memory
        for axis, size, index, step in zip(
            tiling.problem.axes,
            (tiling.options.rows, tiling.options.columns),
            (row, column),
            memory.spatial,
            strict=True,
        ):
            moved = self._in_image(x, self.builder.scaled(index, size * axis.stride * step))
            x = self._in_image(moved, -axis.before * step)
        with self.emitter.loop(0, tiling.channel_blocks) as loop:
            block = loop.index
            source = builder.opaque(self._in_image(x, self.builder.scaled(block, memory.channel)))
            distance = self.builder.scaled(block, tiling.options.tiles * tiling.lanes)
            places = target.moved(lambda place: self._moved(place, distance))
            down, right, dtype = tiling.height.stride, tiling.width.stride, tiling.problem.numerics.left

            for across, along in product(range(down), range(right)):

                def load(i: int, j: int, across: int = across, along: int = along) -> Value:
                    row, column = i * down + across, j * right + along
                    if row not in rows.valid or column not in columns.valid:
                        return None
                    return self._vector(source, row * memory.spatial[0] + column * memory.spatial[1], dtype)

                self._transform_phase(places, (rows.tile, columns.tile), (across, along), load)

    def _write_tile(self, sources: Places, place: Sequence[Register]) -> None:
        image, block, row, column = place
        rows, columns = _by_outputs(self.tiling.rows), _by_outputs(self.tiling.columns)
        height, width = self.tiling.options.tile
        for down in rows:
            for right in columns:
                with self._inside(down, row, rows), self._inside(right, column, columns):
                    outputs = down.outputs, right.outputs
                    results = self._transformed(sources, block, (down.tile, right.tile), outputs)
                    start = [self.builder.scaled(row, height), self.builder.scaled(column, width)]
                    self._finish(results, image, block, start)


def _by_outputs(runs: Sequence[TileRun]) -> list[TileRun]:
    """Runs that differ only in the inputs they may read, taken together."""
    merged: list[TileRun] = []
    for outputs, group in groupby(runs, key=lambda run: run.outputs):
        members = list(group)
        merged.append(TileRun(members[0].first, sum(run.count for run in members), (), outputs, members[0].tile))
    return merged
