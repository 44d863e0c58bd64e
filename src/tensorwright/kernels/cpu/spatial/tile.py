"""Code for one tile of a direct convolution: accumulators in registers, summed over taps and input channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.term import Term, greatest, least
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.kernels.convolution.problem import Axis
from tensorwright.kernels.cpu.spatial.runs import Run
from tensorwright.kernels.numerics import Numerics
from tensorwright.tensor.dim import Dim


@dataclass(frozen=True)
class Memory:
    """Steps in elements through the input: from image to image, along every spatial axis, from channel to channel.

    block: channels that lie side by side (1 in row-major layout); channel: from one such block to the next.
    ring: after so many rows (of the last axis but one) their places are used again; 0 if each has its own.
    """

    image: int
    spatial: tuple[int, ...]
    channel: int
    block: int
    ring: int = 0

    def address(self, position: Sequence[Dim]) -> Dim:
        """The place of an element in blocked layout within its image: ``(batch, block, *spatial, lane)``."""
        _, block, *spatial, lane = position
        if self.ring:
            spatial[-2] = spatial[-2] % self.ring
        return sum(
            (index * step for index, step in zip(spatial, self.spatial, strict=True)), block * self.channel + lane
        )


def input_memory(axes: Sequence[Axis], channels: int, block: int) -> Memory:
    """How an input of so many channels lies in memory, in blocks of `block` channels (1: row-major)."""
    extents = [axis.input for axis in axes]
    spatial = tuple(prod(extents[position + 1 :]) * block for position in range(len(extents)))
    channel = prod(extents) * block
    return Memory(-(-channels // block) * channel, spatial, channel, block)


@dataclass(frozen=True)
class Tile:
    """rows, columns: the tiles along the last two axes; lanes: output channels in each block of them."""

    rows: Run
    columns: Run
    lanes: tuple[int, ...]

    @property
    def pixels(self) -> tuple[tuple[int, int], ...]:
        """Row and column of every pixel within the tile."""
        return tuple((row, column) for row in range(self.rows.size) for column in range(self.columns.size))

    @property
    def blocks(self) -> int:
        return len(self.lanes)

    @property
    def outputs(self) -> int:
        return sum(self.lanes)

    @property
    def accumulators(self) -> int:
        return self.rows.size * self.columns.size * self.blocks


Sums = dict[tuple[int, int, int], Register]
"""The accumulators by row, column and block within the tile."""


@dataclass(frozen=True)
class TileEmitter:
    """Writes the sums of one tile; what happens along the last axis is up to subclasses.

    Along all axes but the last two a tile has one position. Where it has one, the taps that read input form a range
    computed at run time; where it has several, every tap that meets padding has code of its own.

    registers: how many vector registers there are. tap_weights: weights for one tap. numerics: left is the image, right
    the weights.
    """

    builder: FunctionBuilder
    axes: tuple[Axis, ...]
    memory: Memory
    tile: Tile
    registers: int
    tap_weights: int
    numerics: Numerics

    def sum(self, start: Sums, x: Pointer, weights: Pointer, positions: Sequence[Register]) -> Sums:
        """The sums, added to `start`.

        Args:
            start: the initial values of the accumulators.
            x: the image.
            weights: those of the tile's blocks of outputs.
            positions: the first position of the tile along every spatial axis.
        """
        return self._outer(0, start, x, weights, positions)

    # ---- taps

    def _outer(self, number: int, sums: Sums, x: Pointer, weights: Pointer, positions: Sequence[Register]) -> Sums:
        axis, step = self.axes[number], self.memory.spatial[number]
        if self._is_ring(number):
            return self._walked(number, sums, x, weights, positions)
        first = self.builder.scaled(positions[number], axis.stride * step)
        x = self._in_image(x, first, -axis.before * step)
        if number == len(self.axes) - 1:
            return self._last(sums, x, weights)
        if number == len(self.axes) - 2 and self.tile.rows.size > 1 and axis.clips:
            return self._unrolled(number, sums, x, weights, positions)
        return self._walked(number, sums, x, weights, positions)

    def _unrolled(self, number: int, sums: Sums, x: Pointer, weights: Pointer, positions: Sequence[Register]) -> Sums:
        """One piece of code for every tap: each knows which rows of the tile it is for."""
        axis = self.axes[number]
        for tap, rows in enumerate(self.tile.rows.valid):
            if not rows:
                continue
            source = self._in_image(x, tap * axis.dilation * self.memory.spatial[number])
            place = self._in_weights(weights, tap * self._weights_between(number))
            active = {key: value for key, value in sums.items() if key[0] in rows}
            sums = sums | self._outer(number + 1, active, source, place, positions)
        return sums

    def _walked(self, number: int, sums: Sums, x: Pointer, weights: Pointer, positions: Sequence[Register]) -> Sums:
        """A loop over the taps that read input."""
        axis = self.axes[number]
        if axis.kernel == 1 and not axis.clips:
            source = self._tapped(number, x, positions, i64(0)) if self._is_ring(number) else x
            return self._outer(number + 1, sums, source, weights, positions)
        low, high = self._tap_range(axis, positions[number])
        with self.builder.loop(low, high, carried=list(sums.values())) as loop:
            source = self._tapped(number, x, positions, loop.index)
            place = self._in_weights(weights, self.builder.scaled(loop.index, self._weights_between(number)))
            carried = dict(zip(sums, loop.carried, strict=True))
            loop.following = list(self._outer(number + 1, carried, source, place, positions).values())
        return dict(zip(sums, loop.final, strict=True))

    def _is_ring(self, number: int) -> bool:
        return self.memory.ring > 0 and number == len(self.axes) - 2

    def _tapped(self, number: int, x: Pointer, positions: Sequence[Register], tap: Register) -> Pointer:
        """Where a tap of an axis reads: `x` is where the first one does, or where a ring begins."""
        axis, step = self.axes[number], self.memory.spatial[number]
        if not self._is_ring(number):
            return self._in_image(x, (self._term(tap) * (axis.dilation * step)).register)
        first = self._term(positions[number]) * axis.stride - axis.before
        row = (first + self._term(tap) * axis.dilation) % self.memory.ring
        return self._in_image(x, (row * step).register)

    def _last(self, sums: Sums, x: Pointer, weights: Pointer) -> Sums:
        """All taps of the last axis, for the other axes' taps that `x` and `weights` are moved to."""
        raise NotImplementedError

    def _tap_range(self, axis: Axis, position: Register) -> tuple[Register, Register]:
        if not axis.clips:
            return i64(0), i64(axis.kernel)
        place = axis.before - self._term(position) * axis.stride
        low = _divided(place, axis.dilation)
        high = _divided(place + axis.input, axis.dilation)
        return low.register, least(high, axis.kernel).register

    def _weights_between(self, number: int) -> int:
        """Weights between one tap of an axis and the next."""
        return prod(axis.kernel for axis in self.axes[number + 1 :]) * self.tap_weights

    # ---- addresses

    def _in_image(self, base: Pointer, elements: Register | int, further: int = 0) -> Pointer:
        place = self.builder.offset(base, elements, self.numerics.left)
        return self.builder.offset(place, further, self.numerics.left) if further else place

    def _in_weights(self, base: Pointer, elements: Register | int) -> Pointer:
        return self.builder.offset(base, elements, self.numerics.right)

    def _term(self, index: Register) -> Term:
        return Term(self.builder, index)


def _divided(value: Term, divisor: int) -> Term:
    """The quotient rounded up; 0 for what is negative."""
    positive = greatest(value, 0)
    return positive if divisor == 1 else (positive + (divisor - 1)) // divisor
