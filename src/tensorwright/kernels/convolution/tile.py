"""Code for one tile of a direct convolution: accumulators in registers, summed over taps and input channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod
from operator import itemgetter

from tensorwright.codegen.ir import FunctionBuilder, Pointer, Register, literal
from tensorwright.kernels.convolution.problem import Axis
from tensorwright.kernels.convolution.tiling import Run
from tensorwright.tensor.dtype import FLOAT32, INT64


@dataclass(frozen=True)
class Memory:
    """Steps in elements through the input: from image to image, along every spatial axis, from channel to channel.

    block: channels that lie side by side (1 in row-major layout); channel: from one such block to the next.
    """

    image: int
    spatial: tuple[int, ...]
    channel: int
    block: int


def input_memory(axes: Sequence[Axis], channels: int, block: int) -> Memory:
    """How an input of so many channels lies in memory, in blocks of `block` channels (1: row-major)."""
    extents = [axis.input for axis in axes]
    spatial = tuple(prod(extents[position + 1 :]) * block for position in range(len(extents)))
    channel = prod(extents) * block
    return Memory(-(-channels // block) * channel, spatial, channel, block)


@dataclass(frozen=True)
class Channels:
    """The input channels a tile sums over: `count` of them from `first` on.

    count is an int if it is the same for all tiles. unroll: channels in one round of the loop; where `first` or
    `count` is not known, both are multiples of it.
    """

    first: Register
    count: int | Register
    unroll: int


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
    """Writes the sums of one tile.

    Along all axes but the last two a tile has one position. Where it has one, the taps that read input form a range
    computed at run time; where it has several, every tap that meets padding has code of its own. Weights lie in the
    order in which they are needed: taps of all axes, channels, blocks of outputs, lanes, but the taps of the last axis
    behind the channels if they are inside the loop over channels (`taps_inside`).
    """

    builder: FunctionBuilder
    axes: tuple[Axis, ...]
    memory: Memory
    tile: Tile
    channels: Channels
    weight_channels: int
    taps_inside: bool
    registers: int

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
        first = self._scaled(positions[number], axis.stride * step)
        x = self._moved(x, first, -axis.before * step)
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
            source = self.builder.offset(x, tap * axis.dilation * self.memory.spatial[number], FLOAT32)
            place = self.builder.offset(weights, tap * self._tap_weights(number), FLOAT32)
            active = {key: value for key, value in sums.items() if key[0] in rows}
            sums = sums | self._outer(number + 1, active, source, place, positions)
        return sums

    def _walked(self, number: int, sums: Sums, x: Pointer, weights: Pointer, positions: Sequence[Register]) -> Sums:
        """A loop over the taps that read input."""
        builder, axis = self.builder, self.axes[number]
        if axis.kernel == 1 and not axis.clips:
            return self._outer(number + 1, sums, x, weights, positions)
        low, high = self._tap_range(axis, positions[number])
        loop = builder.begin_loop(low, high, 1, list(sums.values()))
        source = self._moved(x, self._scaled(loop.index, axis.dilation * self.memory.spatial[number]))
        place = self._moved(weights, self._scaled(loop.index, self._tap_weights(number)))
        carried = dict(zip(sums, loop.carried, strict=True))
        after = self._outer(number + 1, carried, source, place, positions)
        return dict(zip(sums, builder.end_loop(loop, list(after.values())), strict=True))

    def _last(self, sums: Sums, x: Pointer, weights: Pointer) -> Sums:
        """The last axis: all its taps inside the loop over channels, or each with such a loop of its own."""
        number = len(self.axes) - 1
        if self.taps_inside:
            return self._channels(sums, x, weights, range(self.axes[number].kernel))
        for columns, group in groupby(enumerate(self.tile.columns.valid), key=itemgetter(1)):
            taps = [tap for tap, _ in group]
            active = {key: value for key, value in sums.items() if key[1] in columns}
            if active:
                sums = sums | self._each_tap(active, x, weights, range(taps[0], taps[-1] + 1))
        return sums

    def _each_tap(self, sums: Sums, x: Pointer, weights: Pointer, taps: range) -> Sums:
        """Taps of the last axis that the same columns use: a loop over them around the loop over channels."""
        builder, number = self.builder, len(self.axes) - 1
        step, distance = self._tap_weights(number), self.axes[number].dilation * self.memory.spatial[number]
        if len(taps) == 1:
            source, place = (
                builder.offset(x, taps[0] * distance, FLOAT32),
                builder.offset(weights, taps[0] * step, FLOAT32),
            )
            return self._channels(sums, source, place, taps)
        loop = builder.begin_loop(
            literal(taps.start, INT64), literal(taps.stop, INT64), 1, list(sums.values()), at_least_once=True
        )
        source = self._moved(x, self._scaled(loop.index, distance))
        place = self._moved(weights, self._scaled(loop.index, step))
        after = self._channels(dict(zip(sums, loop.carried, strict=True)), source, place, taps[:1])
        return dict(zip(sums, builder.end_loop(loop, list(after.values())), strict=True))

    def _tap_range(self, axis: Axis, position: Register) -> tuple[Register, Register]:
        builder = self.builder
        if not axis.clips:
            return literal(0, INT64), literal(axis.kernel, INT64)
        place = builder.sub(literal(axis.before, INT64), builder.mul(position, literal(axis.stride, INT64)))
        low = self._divided(place, axis.dilation)
        high = self._divided(builder.add(place, literal(axis.input, INT64)), axis.dilation)
        return low, builder.intrinsic("smin", (high, literal(axis.kernel, INT64)))

    def _divided(self, value: Register, divisor: int) -> Register:
        """The quotient rounded up; 0 for what is negative."""
        positive = self.builder.intrinsic("smax", (value, literal(0, INT64)))
        if divisor == 1:
            return positive
        raised = self.builder.add(positive, literal(divisor - 1, INT64))
        return self.builder.binary("udiv", raised, literal(divisor, INT64))

    def _tap_weights(self, number: int) -> int:
        """Weights between one tap of an axis and the next."""
        inner = prod(axis.kernel for axis in self.axes[number + 1 :])
        return inner * self.weight_channels * self.tile.outputs

    # ---- channels

    def _channels(self, sums: Sums, x: Pointer, weights: Pointer, taps: Sequence[int]) -> Sums:
        """The loop over input channels, `unroll` of them in each round, and the rest behind it."""
        builder, channels = self.builder, self.channels

        def one_round(values: Sequence[Register], channel: Register, count: int) -> Sums:
            return self._round(dict(zip(sums, values, strict=True)), x, weights, channel, count, taps)

        if isinstance(channels.count, Register):
            loop = builder.begin_loop(literal(0, INT64), channels.count, channels.unroll, list(sums.values()))
            after = one_round(loop.carried, loop.index, channels.unroll)
            return dict(zip(sums, builder.end_loop(loop, list(after.values())), strict=True))
        whole = channels.count // channels.unroll * channels.unroll
        if whole:
            loop = builder.begin_loop(
                literal(0, INT64), literal(whole, INT64), channels.unroll, list(sums.values()), at_least_once=True
            )
            after = one_round(loop.carried, loop.index, channels.unroll)
            sums = dict(zip(sums, builder.end_loop(loop, list(after.values())), strict=True))
        return one_round(list(sums.values()), literal(whole, INT64), channels.count - whole)

    def _round(
        self, sums: Sums, x: Pointer, weights: Pointer, channel: Register, count: int, taps: Sequence[int]
    ) -> Sums:
        """Channels `channel`, … `channel` + `count` - 1, which lie in one block if there is more than one."""
        if not count:
            return sums
        builder, tile = self.builder, self.tile
        step = len(taps) * tile.outputs
        source = self._moved(x, self._channel_offset(builder.add(channel, self.channels.first)))
        place = self._moved(weights, self._scaled(channel, step))
        side = 1 if self.memory.block > 1 else self.memory.channel
        result = dict(sums)
        for number in range(count):
            here, factors = (
                builder.offset(source, number * side, FLOAT32),
                builder.offset(place, number * step, FLOAT32),
            )
            self._taps(result, here, factors, taps)
        return result

    def _channel_offset(self, channel: Register) -> Register:
        builder, memory = self.builder, self.memory
        if memory.block == 1:
            return self._scaled(channel, memory.channel)
        outer = builder.binary("lshr", channel, literal(memory.block.bit_length() - 1, INT64))
        inner = builder.binary("and", channel, literal(memory.block - 1, INT64))
        return builder.add(self._scaled(outer, memory.channel), inner)

    def _taps(self, sums: Sums, x: Pointer, weights: Pointer, taps: Sequence[int]) -> None:
        """Taps of the last axis for one channel, added to the accumulators in place.

        Several taps come in the order of the elements they read, so that each of these is broadcast once, if there are
        registers for all their weights; otherwise, tap by tap.
        """
        tile, axis = self.tile, self.axes[-1]
        factors: dict[tuple[int, int], Register] = {}
        by_source = len(taps) > 1 and tile.accumulators + len(taps) * tile.blocks < self.registers
        step = axis.dilation if len(taps) > 1 else 0
        for row in sorted({row for row, _, _ in sums}):
            reads = [
                (column * axis.stride + tap * step, tap, column) for tap in taps for column in tile.columns.valid[tap]
            ]
            for source, uses in groupby(sorted(reads) if by_source else reads, key=itemgetter(0)):
                element = self._pixel(x, row, source)
                pixels = {lanes: self.builder.splat(element, lanes) for lanes in dict.fromkeys(tile.lanes)}
                for _, tap, column in uses:
                    for block in range(tile.blocks):
                        if (tap, block) not in factors:
                            factors[tap, block] = self._weight(weights, tap - taps[0], block)
                        key = row, column, block
                        factor = factors[tap, block]
                        sums[key] = self.builder.fma(factor, pixels[factor.lanes], sums[key])

    def _weight(self, weights: Pointer, tap: int, block: int) -> Register:
        tile = self.tile
        place = self.builder.offset(weights, tap * tile.outputs + sum(tile.lanes[:block]), FLOAT32)
        return self.builder.load(place, FLOAT32, tile.lanes[block])

    def _pixel(self, x: Pointer, row: int, source: int) -> Register:
        across, along = self.memory.spatial[-2:]
        distance = row * self.axes[-2].stride * across + source * along
        return self.builder.load(self.builder.offset(x, distance, FLOAT32), FLOAT32)

    # ---- addresses

    def _scaled(self, value: Register, factor: int) -> Register:
        return self.builder.mul(value, literal(factor, INT64))

    def _moved(self, base: Pointer, elements: Register, further: int = 0) -> Pointer:
        place = self.builder.offset(base, elements, FLOAT32)
        return self.builder.offset(place, further, FLOAT32) if further else place
