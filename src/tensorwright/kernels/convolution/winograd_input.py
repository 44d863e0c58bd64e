"""Winograd convolution: the transform of a block of tiles of the input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

from tensorwright.codegen.ir import Pointer, Register, literal
from tensorwright.kernels.convolution.winograd_code import WinogradCode
from tensorwright.kernels.convolution.winograd_phases import Patch
from tensorwright.kernels.convolution.winograd_plan import TileRun
from tensorwright.kernels.convolution.winograd_transform import Value, transform_input
from tensorwright.tensor.dtype import FLOAT32, INT64


class InputEmitter(WinogradCode):
    """Writes the loop over a block's tiles."""

    def _transform_inputs(self, image: Register, start: Register, count: Register) -> None:
        with self._each(literal(0, INT64), count) as tile:
            row, column = self._divided(self.builder.add(start, tile), self.plan.tiles_across)
            x = self._moved(self.x, self._scaled(image, self.memory.image))
            target = self._moved(self.workspace, self._scaled(tile, self.plan.lanes))
            if self.plan.patch is not None:
                self._transform_patch(self.plan.patch, x, target, row, column)
            else:
                self._transform_tile(x, target, row, column)

    def _transform_tile(self, x: Pointer, target: Pointer, row: Register, column: Register) -> None:
        """Tiles at different borders have code of their own."""
        for rows in self.plan.rows:
            for columns in self.plan.columns:
                with self._inside(rows, row, self.plan.rows), self._inside(columns, column, self.plan.columns):
                    self._transform_input(x, target, row, column, rows, columns)

    def _transform_patch(self, patch: Patch, image: Pointer, target: Pointer, row: Register, column: Register) -> None:
        """The phases of a tile's part of the image."""
        builder, plan = self.builder, self.plan
        copied = builder.offset(self.products, plan.points * plan.product_step, FLOAT32)
        starts = [
            builder.add(self._scaled(index, size * plan.apart), literal(-axis.before * plan.apart, INT64))
            for axis, size, index in zip(
                plan.problem.axes, (plan.cut.rows, plan.cut.columns), (row, column), strict=True
            )
        ]
        patch.copy(builder, self.memory, image, copied, *starts)
        copied = builder.opaque(copied)
        for block in range(plan.channel_blocks):
            place = builder.offset(target, block * plan.cut.tiles * plan.lanes, FLOAT32)
            self._transform_phase(place, (0, 0), partial(patch.phases, builder, copied, block))

    def _transform_input(
        self, x: Pointer, target: Pointer, row: Register, column: Register, rows: TileRun, columns: TileRun
    ) -> None:
        builder, plan, memory = self.builder, self.plan, self.memory
        for axis, size, index, step in zip(
            plan.problem.axes, (plan.cut.rows, plan.cut.columns), (row, column), memory.spatial, strict=True
        ):
            moved = self._moved(x, self._scaled(index, size * axis.stride * step))
            x = builder.offset(moved, -axis.before * step, FLOAT32)
        with self._each(literal(0, INT64), literal(plan.channel_blocks, INT64)) as block:
            source = builder.opaque(self._moved(x, self._scaled(block, memory.channel)))
            place = self._moved(target, self._scaled(block, plan.cut.tiles * plan.lanes))
            down, right = plan.height.stride, plan.width.stride

            for across, along in product(range(down), range(right)):

                def load(i: int, j: int, across: int = across, along: int = along) -> Value:
                    row, column = i * down + across, j * right + along
                    if row not in rows.valid or column not in columns.valid:
                        return None
                    return self._vector(source, row * memory.spatial[0] + column * memory.spatial[1])

                self._transform_phase(place, (across, along), load)

    def _transform_phase(self, place: Pointer, phase: tuple[int, int], load: Callable[[int, int], Value]) -> None:
        """All points of one phase of a block of channels from what `load` gives for the phase's rows and columns."""
        builder, plan = self.builder, self.plan
        place = builder.opaque(place)
        height, width = (axis.phase_points(q) for axis, q in zip((plan.height, plan.width), phase, strict=True))
        by_column = [
            transform_input(builder, [load(i, j) for i in range(height)], plan.height.points) for j in range(width)
        ]
        for i in range(height):
            for j, value in enumerate(transform_input(builder, [d[i] for d in by_column], plan.width.points)):
                stored = literal(0.0, FLOAT32, plan.lanes) if value is None else value
                where = builder.offset(place, plan.unit((i, j), phase) * plan.input_step, FLOAT32)
                builder.store(stored, where, FLOAT32)
