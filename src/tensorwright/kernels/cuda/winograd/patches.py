"""What a thread reads of the input, and brings to the points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tensorwright.codegen.cuda.nest import GroupEmitter, split_index
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.codegen.winograd import Value, finite_points, transform_input
from tensorwright.kernels.cuda.fragments.rows import ZEROS
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.kernels.cuda.problem import GROUP
from tensorwright.kernels.cuda.winograd.problem import EIGHT, OUTPUTS, POINTS, Axis, Winograd
from tensorwright.kernels.cuda.winograd.tiling import Tiling
from tensorwright.tensor.dtype import FLOAT32, INT32

PAIR = 2
"""Neighbouring channels of a thread."""
Patch = list[Register]
"""Two channels of 4×4 pixels, row after row."""


@dataclass(frozen=True)
class Patches(ThreadWriter):
    """Emits how a thread of numbers g and q reads channels 2 q and 2 q + 1 of a tile.

    tile: its number, which need not exist (i64); part: which 8 channels of a step, lane: of the warp (i32).
    """

    winograd: Winograd
    tiling: Tiling
    emitter: GroupEmitter
    tile: Register
    part: Register
    lane: Register

    def load(self, step: Register) -> Patch:
        """The patch of a step (i32), zeros beside the input."""
        builder, problem = self.builder, self.winograd.problem
        channel = Term(builder, step) * self.tiling.depth + Term(builder, self.part) * EIGHT
        offset = channel // GROUP * problem.block_step + channel % GROUP
        start, inside = self._place
        moved = builder.offset(start, wide(builder, offset.register), FLOAT32)
        return [self._pixel(moved, place, inside[place]) for place in range(POINTS * POINTS)]

    def _pixel(self, start: Pointer, place: int, inside: Register | None) -> Register:
        row, column = divmod(place, POINTS)
        pixel = self.builder.offset(start, GROUP * (row * self.winograd.right.input + column), FLOAT32)
        if inside is not None:
            pixel = self.builder.choose(inside, pixel, Pointer(f"addrspacecast (ptr addrspace(1) {ZEROS} to ptr)"))
        return self.builder.load(pixel, FLOAT32, PAIR)

    @cached_property
    def _place(self) -> tuple[Pointer, list[Register | None]]:
        """Where the patch's first pixel lies, or would lie, and which of them do."""
        builder, emitter, found = self.builder, self.emitter, self.winograd
        last = emitter.integer(found.tiles - 1)
        tile = builder.select(builder.compare("slt", self.tile, last), self.tile, last)
        image, *tiles = split_index(emitter, found.tile_extents, tile)
        row, column = (
            builder.sub(builder.scaled(index, OUTPUTS), axis.before)
            for index, axis in zip(tiles, (found.down, found.right), strict=True)
        )
        pixel = builder.add(builder.scaled(row, found.right.input), column)
        own = builder.scaled(wide(builder, builder.binary("and", self.lane, 3)), PAIR)
        offset = builder.add(builder.mul(image, emitter.integer(found.problem.row_axes[0].step)), own)
        offset = builder.add(offset, builder.scaled(pixel, GROUP))
        start = builder.offset(emitter.operands[found.problem.left], offset, FLOAT32)
        rows, columns = self._inside(row, found.down), self._inside(column, found.right)
        return start, [self._both(one, other) for one in rows for other in columns]

    def _inside(self, first: Register, axis: Axis) -> list[Register | None]:
        """Which of the patch's indexes along an axis are inside of the input."""
        builder = self.builder
        if not axis.clips:
            return [None] * POINTS
        narrow = builder.convert("trunc", first, INT32)
        return [builder.compare("ult", builder.add(narrow, n), literal(axis.input, INT32)) for n in range(POINTS)]

    def _both(self, one: Register | None, other: Register | None) -> Register | None:
        if one is None or other is None:
            return other if one is None else one
        return self.builder.binary("and", one, other)

    def transformed(self, patch: Patch) -> list[Value]:
        """The patch at all points, row after row."""
        finite = finite_points(POINTS, POINTS)
        columns = [transform_input(self.builder, patch[column::POINTS], finite) for column in range(POINTS)]
        rows = [transform_input(self.builder, list(row), finite) for row in zip(*columns, strict=True)]
        return [value for row in rows for value in row]
