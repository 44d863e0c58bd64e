"""Code around and within the tiles of a concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tensorwright.codegen.values import Pointer, Register
from tensorwright.kernels.cpu.concatenation.tiling import Blocks, ConcatenationTiling
from tensorwright.kernels.cpu.lanes import picked
from tensorwright.kernels.cpu.spatial.tasks import Span, TaskEmitter
from tensorwright.kernels.cpu.spatial.tile import Memory, Sums, Tile
from tensorwright.kernels.cpu.spatial.tiling import OutputRun
from tensorwright.tensor.dtype import DType


@dataclass(frozen=True)
class ConcatenationTasks(TaskEmitter):
    """Loads the vectors that a block of the output is made of, and puts their lanes together.

    operands: where they start. memories: how they lie there. blocks: the run of blocks that is being written.
    """

    tiling: ConcatenationTiling
    operands: tuple[Pointer, ...] = ()
    memories: tuple[Memory, ...] = ()
    blocks: Blocks | None = None

    def tiles(
        self,
        batch: Register,
        image: Pointer,
        group: Register,
        run: OutputRun,
        position: Sequence[Register],
        units: Span,
    ) -> None:
        images = [
            self.builder.offset(operand, self.builder.scaled(batch, memory.image), self._dtype)
            for operand, memory in zip(self.operands, self.memories, strict=True)
        ]
        (blocks,) = (blocks for blocks in self.tiling.runs if blocks.first == run.first)
        here = replace(self, operands=tuple(images), blocks=blocks)
        super(ConcatenationTasks, here).tiles(batch, image, group, run, position, units)

    @property
    def _dtype(self) -> DType:
        return self.tiling.problem.numerics.left

    def _sum(self, tile: Tile, block: Register, image: Pointer, weights: Pointer, places: Sequence[Register]) -> Sums:
        assert self.blocks is not None
        within = (self._term(block) - self.blocks.first).register
        rows = [self._row(source.operand, source.block, within, places) for source in self.blocks.sources]
        return {(0, column, 0): self._vector(rows, column) for column in range(tile.columns.size)}

    def _row(self, operand: int, block: int, within: Register, places: Sequence[Register]) -> Pointer:
        """The vector at the first position of the tile, in a block of an operand or `within` blocks further on."""
        memory, builder = self.memories[operand], self.builder
        place = builder.offset(self.operands[operand], block * memory.channel, self._dtype)
        place = builder.offset(place, self.builder.scaled(within, memory.channel), self._dtype)
        for index, step in zip(places, memory.spatial, strict=True):
            place = builder.offset(place, self.builder.scaled(index, step), self._dtype)
        return builder.opaque(place)

    def _vector(self, rows: Sequence[Pointer], column: int) -> Register:
        assert self.blocks is not None
        builder, lanes, dtype = self.builder, self.tiling.lanes, self._dtype
        found = [builder.load(builder.offset(row, column * lanes, dtype), dtype, lanes) for row in rows]
        return picked(builder, found, self.blocks.lanes)
