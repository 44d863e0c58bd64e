"""Code around the tiles of a pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.scalar import Lane, lane_mask
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.expression import Variable
from tensorwright.kernels.cpu.blocks import blocked_layout
from tensorwright.kernels.cpu.pooling.combine import Combiner
from tensorwright.kernels.cpu.pooling.line import LineTile
from tensorwright.kernels.cpu.pooling.tile import BlockedTile
from tensorwright.kernels.cpu.pooling.tiling import PoolingTiling
from tensorwright.kernels.cpu.spatial.tasks import TaskEmitter
from tensorwright.kernels.cpu.spatial.tile import Sums, Tile
from tensorwright.tensor.dim import expression


@dataclass(frozen=True)
class BlockedTasks(TaskEmitter):
    """Tiles of vectors of neighbouring channels."""

    tiling: PoolingTiling

    def _sum(self, tile: Tile, block: Register, image: Pointer, weights: Pointer, places: Sequence[Register]) -> Sums:
        dtype = self.tiling.problem.numerics.left
        x = self.builder.offset(image, self.builder.scaled(block, self.memory.channel), dtype)
        return self._pooled(tile, x, places)

    def _pooled(self, tile: Tile, x: Pointer, places: Sequence[Register]) -> Sums:
        problem, registers = self.tiling.problem, self.emitter.target.registers
        return BlockedTile(
            self.builder, problem.axes, self.memory, tile, registers, 0, problem.numerics, self.tiling, self._combiner
        ).pooled(x, places)

    @property
    def _combiner(self) -> Combiner:
        return Combiner(
            self.builder, self.emitter.target, self.tiling.problem.numerics.total, self.tiling.pooling.is_max
        )


@dataclass(frozen=True)
class LineTasks(BlockedTasks):
    """Vectors of neighbouring outputs of a row; every channel is a block."""

    @property
    def _lanes(self) -> int:
        return blocked_layout(self.emitter.target).block

    def _pooled(self, tile: Tile, x: Pointer, places: Sequence[Register]) -> Sums:
        problem, registers = self.tiling.problem, self.emitter.target.registers
        return LineTile(
            self.builder,
            problem.axes,
            self.memory,
            tile,
            registers,
            0,
            problem.numerics,
            self.tiling,
            self._combiner,
            self._lanes,
        ).pooled(x, places)

    def _finish(self, sums: Sums, batch: Register, block: Register, places: Sequence[Register]) -> None:
        """Apply the epilogue to a vector, which is kept under its last column, then store it."""
        emitter, problem, lanes = self.emitter, self.tiling.problem, self._lanes
        batches, channel = Variable("n", problem.batch), Variable("channel", problem.all_channels)
        axes = [Variable(f"s{number}", axis.output) for number, axis in enumerate(problem.axes)]
        emitter.values.update(zip([batches, channel, *axes], [batch, block, *places], strict=True))
        index = problem.position(expression(batches), expression(channel), [expression(axis) for axis in axes], None)
        for (_, last, _), value in sums.items():
            lane = Lane(axes[-1], lanes, None if last + 1 == lanes else lane_mask(last + 1, lanes), last + 1)
            with emitter.scope():
                self.epilogue.store(emitter, self.output, value, index, lane)
