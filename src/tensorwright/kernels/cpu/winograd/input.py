"""Winograd convolution: the transform of a block of tiles of the input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.codegen.winograd import Value, kept_points, transform_short
from tensorwright.kernels.cpu.winograd.code import Places, WinogradCode
from tensorwright.kernels.cpu.winograd.phases import Patch
from tensorwright.kernels.cpu.winograd.tiles import TileAxis


class InputEmitter(WinogradCode):
    """Writes the loop over a block's tiles."""

    def _transform_inputs(self, image: Register, start: Register, count: Register) -> None:
        with self.emitter.loop(0, count) as loop:
            tile = loop.index
            row, column = self._divided(self.builder.add(start, tile), self.tiling.grid.across)
            target = self._tile_places(self.workspace, tile, row)
            if self.tiling.patch is not None:
                self._transform_patch(self.tiling.patch, self._image(image), target, row, column)
            else:
                self._transform_tile(self._image(image), target, row, column)

    def _image(self, number: Register) -> Pointer:
        """Where an image begins."""
        raise NotImplementedError

    def _image_extents(self) -> tuple[Register, Register]:
        """Rows and columns of an image."""
        raise NotImplementedError

    def _transform_tile(self, image: Pointer, target: Places, row: Register, column: Register) -> None:
        """All channels of the tile with this row and column among the tiles."""
        raise NotImplementedError

    def _transform_patch(self, patch: Patch, image: Pointer, target: Places, row: Register, column: Register) -> None:
        """The phases of a tile's part of the image."""
        builder, tiling = self.builder, self.tiling
        copied = self.behind_products
        starts = [
            (self._term(index) * (size * tiling.apart) + -axis.before * tiling.apart).register
            for axis, size, index in zip(
                tiling.problem.axes, (tiling.options.rows, tiling.options.columns), (row, column), strict=True
            )
        ]
        patch.copy(builder, self._image_extents(), image, copied, *starts)
        copied = builder.opaque(copied)
        for block in range(tiling.channel_blocks):
            distance = block * tiling.options.tiles * tiling.lanes
            places = target.moved(partial(self._moved, elements=distance))
            load = partial(patch.phases, builder, copied, block)
            self._transform_phase(places, (tiling.height, tiling.width), (0, 0), load)

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
