"""Tiles whose input elements are broadcast, each to the outputs of whole vectors: dense convolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, product
from operator import itemgetter

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.target import Target
from tensorwright.codegen.term import Term, least
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.kernels.cpu.arithmetic import Arithmetic, HalfPairs, arithmetic_of
from tensorwright.kernels.cpu.convolution.ahead import LINE_BYTES, Ahead
from tensorwright.kernels.cpu.partial_sums import PartialSums, once_more_unless_finite
from tensorwright.kernels.cpu.spatial.tasks import TaskEmitter
from tensorwright.kernels.cpu.spatial.tile import Sums, Tile, TileEmitter
from tensorwright.kernels.cpu.spatial.tiling import Tiling
from tensorwright.tensor.dtype import DType

PREFETCH_DISTANCE = 1024
"""Elements from a weight that is used to the one that is asked for: 4 KiB of float32, some 100 ns at the speed of
memory.
"""


@dataclass(frozen=True)
class Channels:
    """The input channels a tile sums over: `count` of them from `first` on.

    count is an int if it is the same for all tiles. unroll: channels in one round of the loop; where `first` or
    `count` is not known, both are multiples of it. origin: the channel whose weights come first.
    """

    first: Register
    count: int | Register
    unroll: int
    origin: Register


@dataclass(frozen=True)
class Widened:
    """Elements of the image in the type of the sum: where those of the first channel lie, by row and column within the
    tile, and how far it is from channel to channel.
    """

    builder: FunctionBuilder
    base: Pointer
    dtype: DType
    starts: Mapping[tuple[int, int], int]
    step: int

    def at(self, channel: int) -> Callable[[int, int], Register]:
        """Reads one of a channel."""

        def read(row: int, source: int) -> Register:
            distance = self.starts[row, source] + channel * self.step
            return self.builder.load(self.builder.offset(self.base, distance, self.dtype), self.dtype)

        return read


def widened_bytes(tiling: Tiling, target: Target) -> int:
    """Workspace for the elements that a round of the loop over channels reads, if they are converted beforehand."""
    numerics, options, axis = tiling.problem.numerics, tiling.options, tiling.problem.axes[-1]
    if not arithmetic_of(numerics, target, options.group).converts_vectors:
        return 0
    span = (options.columns - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1
    return options.rows * span * options.unroll * numerics.total.size


@dataclass(frozen=True)
class BroadcastTile(TileEmitter):
    """Sums over input channels.

    Weights lie in the order in which they are needed: taps of all axes, channels, blocks of outputs, lanes, but the
    taps of the last axis behind the channels if they are inside the loop over channels (`taps_inside`).
    """

    channels: Channels
    taps_inside: bool
    prefetch: bool
    arithmetic: Arithmetic
    workspace: Pointer

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
        step, distance = self._weights_between(number), self.axes[number].dilation * self.memory.spatial[number]
        if len(taps) == 1:
            source, place = (
                self._in_image(x, taps[0] * distance),
                self._in_weights(weights, taps[0] * step),
            )
            return self._channels(sums, source, place, taps)
        with builder.loop(taps.start, taps.stop, carried=list(sums.values()), at_least_once=True) as loop:
            source = self._in_image(x, self.builder.scaled(loop.index, distance))
            place = self._in_weights(weights, self.builder.scaled(loop.index, step))
            after = self._channels(dict(zip(sums, loop.carried, strict=True)), source, place, taps[:1])
            loop.following = list(after.values())
        return dict(zip(sums, loop.final, strict=True))

    def _channels(self, sums: Sums, x: Pointer, weights: Pointer, taps: Sequence[int]) -> Sums:
        """The loop over input channels, `unroll` of them in each round, and the rest behind it."""
        builder, channels = self.builder, self.channels
        step = -len(taps) * self.tile.outputs
        before = self._in_weights(weights, self.builder.scaled(channels.origin, step))  # Where channel 0 would be.

        def one_round(values: Sequence[Register], channel: Register, count: int) -> Sums:
            return self._round(dict(zip(sums, values, strict=True)), x, before, channel, count, taps)

        if isinstance(self.arithmetic, HalfPairs):
            assert isinstance(channels.count, int)
            steps = channels.unroll // self.arithmetic.group * len(taps)

            def add(channel: Register, values: Sequence[Register], count: int) -> Sequence[Register]:
                return list(one_round(values, channel, count).values())

            writer = PartialSums(builder, self.arithmetic, channels.unroll, steps, 1, add)
            return dict(zip(sums, writer.added(list(sums.values()), channels.first, channels.count), strict=True))
        known = channels.count if isinstance(channels.count, int) else 0
        whole = channels.count if isinstance(channels.count, Register) else i64(known - known % channels.unroll)
        stop = builder.add(channels.first, whole)
        if not known or known >= channels.unroll:
            carried = list(sums.values())
            with builder.loop(channels.first, stop, channels.unroll, carried, at_least_once=known > 0) as loop:
                loop.following = list(one_round(loop.carried, loop.index, channels.unroll).values())
            sums = dict(zip(sums, loop.final, strict=True))
        return one_round(list(sums.values()), stop, known % channels.unroll)

    def _round(
        self, sums: Sums, x: Pointer, weights: Pointer, channel: Register, count: int, taps: Sequence[int]
    ) -> Sums:
        """Channels `channel`, … `channel` + `count` - 1, which lie in one block if there is more than one."""
        if not count:
            return sums
        builder, tile = self.builder, self.tile
        step = len(taps) * tile.outputs
        source = builder.opaque(self._in_image(x, self._channel_offset(channel)))
        place = builder.opaque(self._in_weights(weights, self.builder.scaled(channel, step)))
        if self.prefetch:
            for line in range(0, count * step, LINE_BYTES // self.numerics.right.size):
                builder.prefetch(self._in_weights(place, PREFETCH_DISTANCE + line))
        if self.memory.block > 1 and tile.rows.size == 1:
            self._ahead.ask(source, self._term(channel) & (self.memory.block - 1), count)
        side = 1 if self.memory.block > 1 else self.memory.channel
        result, widened = dict(sums), self._widened(source, sums, count, taps)
        for number in range(0, count, self.arithmetic.group):
            here, factors = (
                self._in_image(source, number * side),
                self._in_weights(place, number * step),
            )
            self._taps(result, widened.at(number) if widened else partial(self._pixel, here), factors, taps)
        return result

    @property
    def _ahead(self) -> Ahead:
        step = self.axes[-1].stride * self.memory.spatial[-1]
        return Ahead(self.builder, self.numerics.left, self.memory.block, self.tile.columns.size, step)

    # ---- pixels

    def _widened(self, x: Pointer, sums: Sums, count: int, taps: Sequence[int]) -> Widened | None:
        """The elements that a round reads, brought into the type of the sum by whole vectors; None if they are not."""
        reads = [(row, source) for row in sorted({row for row, _, _ in sums}) for source in self._sources(taps)]
        if not reads or not self.arithmetic.converts_vectors:
            return None
        if self.memory.block > 1:
            starts = {read: place * count for place, read in enumerate(reads)}
            for (row, source), start in starts.items():
                self._widen(self._place(x, row, source), count, start)
            return self._brought(starts, 1)
        if self.memory.spatial[-1] > 1:
            return None
        first, last = reads[0][1], reads[-1][1]
        rows, span = sorted({row for row, _ in reads}), last - first + 1
        for number, (place, row) in product(range(count), enumerate(rows)):
            line = self._place(self._in_image(x, number * self.memory.channel), row, first)
            self._widen(line, span, (number * len(rows) + place) * span)
        starts = {(row, source): rows.index(row) * span + source - first for row, source in reads}
        return self._brought(starts, len(rows) * span)

    def _brought(self, starts: Mapping[tuple[int, int], int], step: int) -> Widened:
        return Widened(self.builder, self.builder.opaque(self.workspace), self.numerics.total, starts, step)

    def _widen(self, source: Pointer, count: int, start: int) -> None:
        """Bring neighbouring elements of the image into workspace, by as few vectors as possible."""
        builder, done = self.builder, 0
        while done < count:
            lanes = min(max(self.tile.lanes), 1 << ((count - done).bit_length() - 1))
            vector = builder.load(self._in_image(source, done), self.numerics.left, lanes)
            builder.store(
                vector, builder.offset(self.workspace, start + done, self.numerics.total), self.numerics.total
            )
            done += lanes

    def _sources(self, taps: Sequence[int]) -> Sequence[int]:
        """The columns that taps of the last axis read, counted from where the first tap of the first column does."""
        axis, columns = self.axes[-1], self.tile.columns
        step = axis.dilation if len(taps) > 1 else 0
        return sorted({column * axis.stride + tap * step for tap in taps for column in columns.valid[tap]})

    def _channel_offset(self, channel: Register) -> Register:
        memory, number = self.memory, self._term(channel)
        if memory.block == 1:
            return (number * memory.channel).register
        outer = number.logical_right(memory.block.bit_length() - 1)
        inner = number & (memory.block - 1)
        return (outer * memory.channel + inner).register

    def _taps(self, sums: Sums, pixel: Callable[[int, int], Register], weights: Pointer, taps: Sequence[int]) -> None:
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
                element = pixel(row, source)
                pixels = {lanes: self.builder.splat(element, lanes) for lanes in dict.fromkeys(tile.lanes)}
                for _, tap, column in uses:
                    for block in range(tile.blocks):
                        if (tap, block) not in factors:
                            factors[tap, block] = self._weight(weights, tap - taps[0], block)
                        key = row, column, block
                        factor = factors[tap, block]
                        sums[key] = self.arithmetic.step(self.builder, factor, pixels[sums[key].lanes], sums[key])

    def _weight(self, weights: Pointer, tap: int, block: int) -> Register:
        tile = self.tile
        place = self._in_weights(weights, (tap * tile.outputs + sum(tile.lanes[:block])) * self.arithmetic.group)
        return replace(self.arithmetic, lanes=tile.lanes[block]).load_right(self.builder, place, None)

    def _pixel(self, x: Pointer, row: int, source: int) -> Register:
        return self.arithmetic.element(self.builder, self._place(x, row, source))

    def _place(self, x: Pointer, row: int, source: int) -> Pointer:
        across, along = self.memory.spatial[-2:]
        return self._in_image(x, row * self.axes[-2].stride * across + source * along)


@dataclass(frozen=True)
class BroadcastTasks(TaskEmitter):
    """A dense or grouped convolution in broadcast tiles."""

    def _sum(self, tile: Tile, block: Register, image: Pointer, weights: Pointer, places: Sequence[Register]) -> Sums:
        start, channels = self._initial(tile, block), channels_of(self.tiling, self._term(block), self.memory.block)
        return self._added(start, channels, tile, image, weights, places)

    def _added(
        self,
        start: Sums,
        channels: Channels,
        tile: Tile,
        image: Pointer,
        weights: Pointer,
        places: Sequence[Register],
    ) -> Sums:
        """What some channels add to the sums of a tile."""
        tiling = self.tiling
        emitter = BroadcastTile(
            builder=self.builder,
            axes=tiling.problem.axes,
            memory=self.memory,
            tile=tile,
            registers=self.emitter.target.registers,
            tap_weights=tiling.weight_channels * tile.outputs,
            numerics=tiling.problem.numerics,
            arithmetic=arithmetic_of(tiling.problem.numerics, self.emitter.target, tiling.options.group),
            workspace=self.workspace,
            channels=channels,
            taps_inside=tiling.options.taps_inside,
            prefetch=tiling.options.prefetch,
        )
        sums = emitter.sum(start, image, weights, places)
        if not isinstance(emitter.arithmetic, HalfPairs):
            return sums
        careful = replace(emitter, arithmetic=emitter.arithmetic.careful)
        again = once_more_unless_finite(
            self.builder, list(sums.values()), lambda: list(careful.sum(start, image, weights, places).values())
        )
        return dict(zip(sums, again, strict=True))


def channels_of(tiling: Tiling, block: Term, side_by_side: int) -> Channels:
    """The input channels that a group of output blocks sums over.

    block: the number of its first one. side_by_side: channels that lie so in the input.
    """
    problem, unroll = tiling.problem, tiling.unroll(side_by_side)
    if problem.groups == 1:
        return Channels(i64(0), problem.channels, unroll, i64(0))
    first_output = block * tiling.lanes
    first = first_output // problem.outputs * problem.channels
    if not tiling.spans:
        return Channels(first.register, problem.channels, unroll, first.register)
    last_output = least(first_output + (tiling.lanes - 1), problem.all_outputs - 1)
    last = last_output // problem.outputs * problem.channels
    count = last - first + problem.channels
    return Channels(first.register, count.register, unroll, first.register)
