"""A convolution of stride 2 with few channels as one of stride 1, which Winograd's algorithm can do.

Its input channels are the four phases of every channel: the elements at even or odd rows and columns. A kernel of K
taps along an axis becomes one of about K / 2 taps, some of them zero for one phase. 7×7 kernels become 4×4 kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.kernels.convolution.problem import Axis, Problem
from tensorwright.kernels.cpu.spatial.tile import Memory
from tensorwright.kernels.numerics import Numerics
from tensorwright.kernels.tactic import Array

STRIDE = 2
PHASES = STRIDE * STRIDE


def apart(problem: Problem) -> Problem:
    """The problem on phases: its channels are ``[C, row phase, column phase]``."""
    return replace(problem, channels=problem.channels * PHASES, axes=tuple(_apart_axis(axis) for axis in problem.axes))


def _apart_axis(axis: Axis) -> Axis:
    """An output needs, of phase q, elements from `before` places back on: tap 2·place + q + before of the kernel."""
    back = (axis.before + STRIDE - 1) // STRIDE
    forth = (axis.kernel - 1 - axis.before) // STRIDE
    return Axis(-(-axis.input // STRIDE), axis.output, back + forth + 1, before=back)


def weights_apart(array: Array, problem: Problem) -> Array:
    """``[O, C, height, width]`` as ``[O, C · phases, *taps]`` for the axes of the problem before it was taken apart."""
    outputs, channels = array.shape[:2]
    rows, columns = (_apart_axis(axis) for axis in problem.axes)
    result = np.zeros((outputs, channels, STRIDE, STRIDE, rows.kernel, columns.kernel), array.dtype)
    for row in range(array.shape[2]):
        down, across = divmod(row - problem.axes[0].before, STRIDE)
        for column in range(array.shape[3]):
            right, along = divmod(column - problem.axes[1].before, STRIDE)
            result[:, :, across, along, down + rows.before, right + columns.before] = array[:, :, row, column]
    return result.reshape(outputs, channels * PHASES, rows.kernel, columns.kernel)


@dataclass(frozen=True)
class Patch:
    """What one tile needs of a row-major image: a copy in the type of the sum, with padding as zeros and rows filled
    up to vectors.
    """

    numerics: Numerics
    channels: int
    rows: int
    columns: int
    lanes: int

    @property
    def memory(self) -> Memory:
        width = -(-self.columns // self.lanes) * self.lanes
        return Memory(0, (width, 1), self.rows * width, 1)

    @property
    def elements(self) -> int:
        return self.channels * self.memory.channel

    def copy(
        self,
        builder: FunctionBuilder,
        extents: tuple[Register, Register],
        image: Pointer,
        target: Pointer,
        row: Register,
        column: Register,
    ) -> None:
        """Copy from a row and a column on, which may be negative, of an image of so many rows and columns."""
        height, width = extents
        dtype, total = self.numerics.left, self.numerics.total
        zeros, pixels = literal(0.0, total, self.lanes), builder.mul(height, width)
        starts = range(0, self.columns, self.lanes)
        inside = [self._inside(builder, builder.add(column, start), width) for start in starts]
        with builder.loop(0, self.rows, at_least_once=True) as loop:
            line = builder.add(row, loop.index)
            known = builder.compare("ult", line, height)
            masks = [builder.binary("and", mask, builder.splat(known, self.lanes)) for mask in inside]
            source = builder.offset(image, builder.add(builder.mul(line, width), column), dtype)
            place = builder.offset(target, builder.scaled(loop.index, self.memory.spatial[0]), total)
            for channel in range(self.channels):
                of_channel = builder.offset(source, builder.scaled(pixels, channel), dtype)
                for start, mask in zip(starts, masks, strict=True):
                    here = builder.offset(of_channel, start, dtype)
                    there = builder.offset(place, channel * self.memory.channel + start, total)
                    builder.store(builder.masked_load(here, mask, zeros, dtype), there, total)

    def _inside(self, builder: FunctionBuilder, start: Register, extent: Register) -> Register:
        numbers = builder.add(builder.lane_numbers(self.lanes), builder.splat(start, self.lanes))
        return builder.compare("ult", numbers, builder.splat(extent, self.lanes))

    def phases(self, builder: FunctionBuilder, patch: Pointer, block: int, row: int, column: int) -> Register:
        """The phases of a block of channels at one place; lanes behind the last channel hold anything.

        Those of a row are neighbours in memory.
        """
        first, count = block * self.lanes // PHASES, max(1, self.lanes // PHASES)
        starts = [
            channel * self.memory.channel + (row * STRIDE + phase) * self.memory.spatial[0] + column * STRIDE
            for channel in range(first, min(first + count, self.channels))
            for phase in range(STRIDE)
        ]
        total = self.numerics.total
        pairs = [builder.load(builder.offset(patch, start, total), total, STRIDE) for start in starts]
        return _joined(builder, pairs, self.lanes)


def _joined(builder: FunctionBuilder, parts: list[Register], lanes: int) -> Register:
    """One vector of all parts, filled up with the last of them."""
    while parts[0].lanes < lanes:
        parts += parts[-1:] * (len(parts) % 2)
        width = 2 * parts[0].lanes
        parts = [
            builder.shuffle(left, right, range(width)) for left, right in zip(parts[::2], parts[1::2], strict=True)
        ]
    return parts[0]
