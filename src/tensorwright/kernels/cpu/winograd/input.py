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
            row, column = self.builder.divided(self.builder.add(start, tile), self.plan.tiles_across)
            x = self._in_image(self.x, self.builder.scaled(image, self.memory.image))
            target = self._tile_places(self.workspace, tile, row)
            if self.plan.patch is not None:
                self._transform_patch(self.plan.patch, x, target, row, column)
            else:
                self._transform_tile(x, target, row, column)

    def _transform_tile(self, x: Pointer, target: Places, row: Register, column: Register) -> None:
        """Tiles at different borders have code of their own."""
        for rows in self.plan.rows:
            for columns in self.plan.columns:
                with self._inside(rows, row, self.plan.rows), self._inside(columns, column, self.plan.columns):
                    self._transform_input(x, target, row, column, rows, columns)

    def _transform_patch(self, patch: Patch, image: Pointer, target: Places, row: Register, column: Register) -> None:
        """The phases of a tile's part of the image."""
        builder, plan = self.builder, self.plan
        copied = self._moved(self.products, plan.points * plan.product_step)
        starts = [
            (self._term(index) * (size * plan.apart) + -axis.before * plan.apart).register
            for axis, size, index in zip(
                plan.problem.axes, (plan.cut.rows, plan.cut.columns), (row, column), strict=True
            )
        ]
        patch.copy(builder, self.memory, image, copied, *starts)
        copied = builder.opaque(copied)
        for block in range(plan.channel_blocks):
            distance = block * plan.cut.tiles * plan.lanes
            places = target.moved(partial(self._moved, elements=distance))
            load = partial(patch.phases, builder, copied, block)
            self._transform_phase(places, (plan.height, plan.width), (0, 0), load)

    def _transform_input(
        self, x: Pointer, target: Places, row: Register, column: Register, rows: TileRun, columns: TileRun
    ) -> None:
        builder, plan, memory = self.builder, self.plan, self.memory
        for axis, size, index, step in zip(
            plan.problem.axes, (plan.cut.rows, plan.cut.columns), (row, column), memory.spatial, strict=True
        ):
            moved = self._in_image(x, self.builder.scaled(index, size * axis.stride * step))
            x = self._in_image(moved, -axis.before * step)
        with self.emitter.loop(0, plan.channel_blocks) as loop:
            block = loop.index
            source = builder.opaque(self._in_image(x, self.builder.scaled(block, memory.channel)))
            distance = self.builder.scaled(block, plan.cut.tiles * plan.lanes)
            places = target.moved(lambda place: self._moved(place, distance))
            down, right, dtype = plan.height.stride, plan.width.stride, plan.problem.numerics.left

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
        builder, plan = self.builder, self.plan
        places = places.moved(builder.opaque)
        down, right = tile
        height, width = down.phase_points(phase[0]), right.phase_points(phase[1])
        by_column = [
            transform_short(builder, [load(i, j) for i in range(height)], down.points, plan.height.points)
            for j in range(width)
        ]
        rows, columns = (
            kept_points(part.points, whole.points) for part, whole in zip(tile, (plan.height, plan.width), strict=True)
        )
        for i in range(height):
            values = transform_short(builder, [d[i] for d in by_column], right.points, plan.width.points)
            for j, value in enumerate(values):
                stored = literal(0.0, self.total, plan.lanes) if value is None else value
                distance = plan.unit((rows[i], columns[j]), phase) * plan.input_step
                builder.store(stored, self._moved(self._place(places, columns[j]), distance), self.total)
