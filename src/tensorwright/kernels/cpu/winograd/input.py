"""Winograd convolution: the transform of a block of tiles of the input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.kernels.cpu.winograd.code import Places, WinogradCode
from tensorwright.kernels.cpu.winograd.phases import Patch
from tensorwright.kernels.cpu.winograd.tiles import TileAxis, TileRun
from tensorwright.kernels.cpu.winograd.transform import Value, kept_points, transform_short


class InputEmitter(WinogradCode):
    """Writes the loop over a block's tiles."""

    def _transform_inputs(self, image: Register, start: Register, count: Register) -> None:
        with self.emitter.loop(0, count) as loop:
            tile = loop.index
            row, column = self.builder.divided(self.builder.add(start, tile), self.tiling.tiles_across)
            x = self._in_image(self.x, self.builder.scaled(image, self.memory.image))
            target = self._tile_places(self.workspace, tile, row)
            if self.tiling.patch is not None:
                self._transform_patch(self.tiling.patch, x, target, row, column)
            else:
                self._transform_tile(x, target, row, column)

    def _transform_tile(self, x: Pointer, target: Places, row: Register, column: Register) -> None:
        """Tiles at different borders have code of their own."""
        for rows in self.tiling.rows:
            for columns in self.tiling.columns:
                with self._inside(rows, row, self.tiling.rows), self._inside(columns, column, self.tiling.columns):
                    self._transform_input(x, target, row, column, rows, columns)

    def _transform_patch(self, patch: Patch, image: Pointer, target: Places, row: Register, column: Register) -> None:
        """The phases of a tile's part of the image."""
        builder, tiling = self.builder, self.tiling
        copied = self._moved(self.products, tiling.points * tiling.product_step)
        starts = [
            (self._term(index) * (size * tiling.apart) + -axis.before * tiling.apart).register
            for axis, size, index in zip(
                tiling.problem.axes, (tiling.options.rows, tiling.options.columns), (row, column), strict=True
            )
        ]
        patch.copy(builder, self.memory, image, copied, *starts)
        copied = builder.opaque(copied)
        for block in range(tiling.channel_blocks):
            distance = block * tiling.options.tiles * tiling.lanes
            places = target.moved(partial(self._moved, elements=distance))
            load = partial(patch.phases, builder, copied, block)
            self._transform_phase(places, (tiling.height, tiling.width), (0, 0), load)

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

    def _transform_phase(
        self, places: Places, tile: tuple[TileAxis, TileAxis], phase: tuple[int, int], load: Callable[[int, int], Value]
    ) -> None:
        """All points of one phase of a block of channels from what `load` gives for the phase's rows and columns."""
        builder, tiling = self.builder, self.tiling
        places = places.moved(builder.opaque)
        down, right = tile
        height, width = down.phase_points(phase[0]), right.phase_points(phase[1])
        by_column = [
            transform_short(builder, [load(i, j) for i in range(height)], down.points, tiling.height.points)
            for j in range(width)
        ]
        rows, columns = (
            kept_points(part.points, whole.points)
            for part, whole in zip(tile, (tiling.height, tiling.width), strict=True)
        )
        for i in range(height):
            values = transform_short(builder, [d[i] for d in by_column], right.points, tiling.width.points)
            for j, value in enumerate(values):
                stored = literal(0.0, self.total, tiling.lanes) if value is None else value
                distance = tiling.unit((rows[i], columns[j]), phase) * tiling.input_step
                builder.store(stored, self._moved(self._place(places, columns[j]), distance), self.total)
