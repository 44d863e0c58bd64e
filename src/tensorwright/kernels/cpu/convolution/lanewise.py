"""Tiles whose lanes stay apart: depthwise convolution, and groups of few channels that divide a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Pointer, Register
from tensorwright.kernels.convolution.problem import Problem
from tensorwright.kernels.cpu.spatial.tasks import TaskEmitter
from tensorwright.kernels.cpu.spatial.tile import Sums, Tile, TileEmitter
from tensorwright.kernels.cpu.spatial.tiling import Tiling
from tensorwright.kernels.tactic import Array, Packing


@dataclass(frozen=True)
class LanewiseTiling(Tiling):
    """A grouped convolution with as many outputs as channels in each group, and a number of groups in each block."""

    @property
    def spans(self) -> bool:
        return False


@dataclass(frozen=True)
class LanewiseTile(TileEmitter):
    """Sums over the channels of a group: lane by lane, each lane taking its group's channels in turn.

    A vector of input is shuffled once for each of them and used by all taps of the last axis that read it. Weights:
    taps, channels within the group, lanes.
    """

    channels: int

    def _last(self, sums: Sums, x: Pointer, weights: Pointer) -> Sums:
        axis, tile, result = self.axes[-1], self.tile, dict(sums)
        x, weights = self.builder.opaque(x), self.builder.opaque(weights)
        factors: dict[tuple[int, int], Register] = {}
        reads = sorted(
            (column * axis.stride + tap * axis.dilation, tap, row, column)
            for tap in range(axis.kernel)
            for row, column, _ in sums
            if column in tile.columns.valid[tap]
        )
        for (source, row), group in groupby(sorted(reads, key=itemgetter(2, 0)), key=itemgetter(0, 2)):
            uses = list(group)
            vector = self._vector(x, row, source)
            for channel in range(self.channels):
                element = spread(self.builder, vector, self.channels, channel)
                for _, tap, _, column in uses:
                    if (tap, channel) not in factors:
                        factors[tap, channel] = self._weight(weights, tap, channel)
                    key = row, column, 0
                    result[key] = self.builder.fma(factors[tap, channel], element, result[key])
        return result

    def _vector(self, x: Pointer, row: int, source: int) -> Register:
        across, along = self.memory.spatial[-2:]
        distance = row * self.axes[-2].stride * across + source * along
        return self.builder.load(self._in_image(x, distance), self.numerics.left, self.tile.outputs)

    def _weight(self, weights: Pointer, tap: int, channel: int) -> Register:
        lanes = self.tile.outputs
        place = self._in_weights(weights, (tap * self.channels + channel) * lanes)
        return self.builder.load(place, self.numerics.right, lanes)


@dataclass(frozen=True)
class LanewiseTasks(TaskEmitter):
    """A grouped convolution in lanewise tiles: a block of outputs reads the block of channels of the same number."""

    def _sum(self, tile: Tile, block: Register, image: Pointer, weights: Pointer, places: Sequence[Register]) -> Sums:
        channels = self.tiling.problem.channels
        emitter = LanewiseTile(
            builder=self.builder,
            axes=self.tiling.problem.axes,
            memory=self.memory,
            tile=tile,
            registers=self.emitter.target.registers,
            tap_weights=channels * tile.outputs,
            numerics=self.tiling.problem.numerics,
            channels=channels,
        )
        image = self.builder.offset(
            image, self.builder.scaled(block, self.memory.channel), self.tiling.problem.numerics.left
        )
        return emitter.sum(self._initial(tile, block), image, weights, places)


def is_lanewise(problem: Problem, lanes: int) -> bool:
    """Whether lanes may stay apart: several whole groups of as many outputs as channels are in a block."""
    same = problem.groups > 1 and problem.channels == problem.outputs
    return same and lanes % problem.channels == 0 and lanes != problem.channels


def spread(builder: FunctionBuilder, vector: Register, channels: int, channel: int) -> Register:
    """In each lane, one of the channels of the lane's group."""
    if channels == 1:
        return vector
    return builder.shuffle(vector, vector, [lane - lane % channels + channel for lane in range(vector.lanes)])


def pack_lanewise(tiling: Tiling) -> Packing:
    """``[O, C, *K]`` as ``[O / lanes, K, C, lanes]``, outputs padded with zeros."""
    problem, lanes = tiling.problem, tiling.lanes

    def pack(array: Array) -> Array:
        padded = np.zeros((tiling.output_blocks * lanes, problem.channels, problem.taps), array.dtype)
        padded[: problem.all_outputs] = array.reshape(problem.all_outputs, problem.channels, problem.taps)
        split = padded.reshape(-1, lanes, problem.channels, problem.taps)
        return np.ascontiguousarray(split.transpose(0, 3, 2, 1)).reshape(-1)

    return Packing(f"lanewise channels={problem.channels} taps={problem.taps} lanes={lanes}", pack)
