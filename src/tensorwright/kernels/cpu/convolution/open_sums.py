"""The sums of a tile of a convolution over images whose extents are known only at run time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from operator import itemgetter

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.term import Term, greatest, least
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.kernels.convolution.problem import OpenAxis, OpenProblem
from tensorwright.kernels.cpu.arithmetic import Arithmetic
from tensorwright.kernels.cpu.convolution.ahead import Ahead
from tensorwright.kernels.cpu.convolution.broadcast import Channels, channels_of
from tensorwright.kernels.cpu.convolution.lanewise import spread
from tensorwright.kernels.cpu.convolution.lines import Line, Lines
from tensorwright.kernels.cpu.spatial.tiling import Tiling
from tensorwright.tensor.dim import Dim

Sums = dict[tuple[int, int], Register]
"""The accumulators by column and block within the tile."""

Bounds = tuple[Register, Register]


@dataclass(frozen=True)
class OpenSums:
    """Adds up taps and channels for a tile: so many columns of a row × blocks of outputs.

    Taps that read padding for all columns are left out. For others, columns of padding are zeros in a copy of what the
    tile reads: of one tap, or of all taps of a row where rows lie as vectors. Where lanes stay apart, a copy would take
    longer than the products: such columns read zeros from workspace instead.

    block: channels that lie side by side in x. lanewise: whether lanes stay apart. lanes: outputs in each block of the
    tile. part: the blocks of channels that are summed, if not all of them; then there are no other channels.
    """

    problem: OpenProblem
    tiling: Tiling
    arithmetic: Arithmetic
    block: int
    lanewise: bool
    emitter: ScalarEmitter
    workspace: Pointer
    lanes: tuple[int, ...]
    part: Bounds | None = None

    @property
    def builder(self) -> FunctionBuilder:
        return self.emitter.builder

    @property
    def columns(self) -> int:
        return self.tiling.options.columns

    @property
    def copies_rows(self) -> bool:
        """Whether a copy serves all taps of a row."""
        return self.block == 1

    @property
    def channel_blocks(self) -> int:
        """Blocks of channels of the image."""
        return -(-self.problem.usual.all_channels // self.block)

    @property
    def workspace_bytes(self) -> int:
        """What the tile takes of workspace."""
        elements = self.tiling.lanes if self.lanewise else self.lines.elements
        return elements * self.arithmetic.left.size

    @cached_property
    def lines(self) -> Lines:
        axis = self.problem.axes[1]
        reach = (axis.kernel - 1) * axis.dilation if self.copies_rows else 0
        return Lines(
            self.emitter,
            self.workspace,
            columns=(self.columns - 1) * axis.stride + reach + 1,
            every=1 if self.copies_rows else axis.stride,
            blocks=self.channel_blocks,
            block=self.block,
            dtype=self.arithmetic.left,
            lanes=self.tiling.lanes,
        )

    def prepare(self) -> None:
        """Write to workspace what all tiles read of it."""
        if self.lanewise:
            lanes, dtype = self.tiling.lanes, self.arithmetic.left
            self.builder.store(literal(0.0, dtype, lanes), self.workspace, dtype)

    # ---- taps

    def added(self, sums: Sums, image: Pointer, weights: Pointer, output_block: Dim, row: Dim, first: Register) -> Sums:
        """The sums with all products.

        Args:
            sums: of every column and block, to start with.
            image: its first element; in lanewise tiles, that of its block of channels.
            weights: those of the blocks of outputs.
            output_block: the first of these.
            row: the position along the first axis.
            first: the first position along the second axis.
        """
        down, along = self.problem.axes
        place, width = Term(self.builder, first), self._term(along.input)
        line = self._term(row * down.stride - down.before)
        start = place * along.stride - along.before
        channels = self._channels_of(output_block)
        rows = self._taps(down, self._term(row), self._term(row))
        last = place + (self.columns - 1)
        taps = (i64(0), i64(1)) if along.kernel == 1 else self._taps(along, place, last)
        size, step = (
            self.tiling.weight_channels * sum(self.lanes),
            self._term(down.input * along.input * self.block).register,
        )

        def of_row(sums: Sums, tap: Register) -> Sums:
            number = line + Term(self.builder, tap) * down.dilation
            here = self._in_image(image, ((number * width + start) * self.block).register)
            factors = self._in_weights(weights, self.builder.scaled(tap, along.kernel * size))
            if self.lanewise:
                return self._lanewise(sums, here, factors, start, width)
            return of_piece(sums, Line(here, step), factors)

        def of_piece(sums: Sums, piece: Line, weights: Pointer) -> Sums:
            if self.copies_rows:
                piece = self._padded(piece, start, width, channels)

            def of_tap(sums: Sums, tap: Register) -> Sums:
                distance = Term(self.builder, tap) * along.dilation
                read = Line(self._in_image(piece.start, (distance * self.block).register), piece.step)
                factors = self._in_weights(weights, self.builder.scaled(tap, size))
                if not self.copies_rows:
                    read = self._padded(read, start + distance, width, channels)
                if self.problem.usual.groups > 1:
                    return self._some_channels(sums, read, factors, channels)
                return self._all_channels(sums, read, factors)

            return self._each(taps, sums, of_tap)

        return self._each(rows, sums, of_row)

    def _taps(self, axis: OpenAxis, first: Term, last: Term) -> Bounds:
        """The taps that read the image at one position at least from a first to a last one."""
        if axis.is_pointwise:
            return i64(0), i64(1)
        low = _divided(axis.before - last * axis.stride, axis.dilation)
        high = _divided(axis.before - first * axis.stride + self._term(axis.input), axis.dilation)
        return low.register, least(high, axis.kernel).register

    def _padded(self, line: Line, first: Term, extent: Term, channels: Channels) -> Line:
        if self.problem.usual.groups == 1:
            return self.lines.padded(line, first, extent, *(self.part or (i64(0), i64(self.lines.blocks))))
        behind = Term(self.builder, channels.first) + Term(self.builder, i64(channels.count))
        low, high = Term(self.builder, channels.first) // self.block, (behind + (self.block - 1)) // self.block
        return self.lines.padded(line, first, extent, low.register, high.register)

    def _each(self, bounds: Bounds, sums: Sums, step: Callable[[Sums, Register], Sums]) -> Sums:
        """The sums after some taps of an axis, or rounds of channels."""
        low, high = bounds
        if low.is_literal and high.is_literal and int(high.text) - int(low.text) == 1:
            return step(sums, low)
        with self.emitter.loop(low, high, carried=list(sums.values())) as loop:
            after = step(dict(zip(sums, loop.carried, strict=True)), loop.index)
            loop.following = list(after.values())
        return dict(zip(sums, loop.final, strict=True))

    # ---- channels

    def _channels_of(self, output_block: Dim) -> Channels:
        return channels_of(self.tiling, self._term(output_block), self.block)

    def _lanewise(self, sums: Sums, image: Pointer, weights: Pointer, first: Term, extent: Term) -> Sums:
        """The taps of a row for a block of channels, each lane with weights of its own for every channel of its group.

        first: the column of the image that the first tap reads for the first column of the tile, out of `extent`.
        """
        builder, (lanes,), axis, result = self.builder, self.lanes, self.problem.axes[1], dict(sums)
        channels, dtype = self.problem.usual.channels, self.arithmetic.left
        factors: dict[tuple[int, int], Register] = {}
        reads = sorted(
            (column * axis.stride + tap * axis.dilation, tap, column)
            for tap in range(axis.kernel)
            for column in range(self.columns)
        )
        for source, group in groupby(reads, key=itemgetter(0)):
            is_inside = (first + source).below(extent).register
            place = builder.choose(is_inside, self._in_image(image, source * self.block), self.workspace)
            vector = builder.load(place, dtype, lanes)
            elements = [spread(builder, vector, channels, channel) for channel in range(channels)]
            for _, tap, column in group:
                for channel, element in enumerate(elements):
                    if (tap, channel) not in factors:
                        there = self._in_weights(weights, (tap * channels + channel) * lanes)
                        factors[tap, channel] = builder.load(there, self.arithmetic.right, lanes)
                    result[column, 0] = builder.fma(factors[tap, channel], element, result[column, 0])
        return result

    def _some_channels(self, sums: Sums, line: Line, weights: Pointer, channels: Channels) -> Sums:
        """The channels of the groups that some blocks of outputs belong to, wherever these begin in x."""
        builder, outputs, size = self.builder, sum(self.lanes), self.block
        count = Term(builder, i64(channels.count))

        def of_round(sums: Sums, number: Register) -> Sums:
            behind = Term(builder, number) * channels.unroll
            channel = behind + Term(builder, channels.first)
            distance = channel // size * Term(builder, line.step) + channel % size
            here = builder.opaque(self._in_image(line.start, distance.register))
            factors = builder.opaque(self._in_weights(weights, (behind * outputs).register))
            return self._round(sums, here, factors, channels.unroll)

        return self._each((i64(0), (count // channels.unroll).register), sums, of_round)

    def _all_channels(self, sums: Sums, line: Line, weights: Pointer) -> Sums:
        """All channels, block by block."""
        builder, outputs, channels = self.builder, sum(self.lanes), self.problem.usual.channels
        unroll = min(self.tiling.options.unroll, self.block)
        blocks, rest = divmod(channels, self.block)
        step, along = Term(builder, line.step), self.problem.axes[1]

        def of_block(sums: Sums, number: Register) -> Sums:
            here = self._in_image(line.start, (Term(builder, number) * step).register)
            factors = self._in_weights(weights, builder.scaled(number, self.block * outputs))
            if self.block == unroll:
                return self._round(sums, here, factors, unroll)
            ahead = Ahead(builder, self.arithmetic.left, self.block, self.columns, along.stride * self.block)
            with builder.loop(0, self.block, unroll, list(sums.values()), at_least_once=True) as loop:
                source = builder.opaque(self._in_image(here, loop.index))
                ahead.ask(source, Term(builder, loop.index), unroll)
                place = builder.opaque(self._in_weights(factors, builder.scaled(loop.index, outputs)))
                after = self._round(dict(zip(sums, loop.carried, strict=True)), source, place, unroll)
                loop.following = list(after.values())
            return dict(zip(sums, loop.final, strict=True))

        if blocks:
            sums = self._each(self.part or (i64(0), i64(blocks)), sums, of_block)
        if rest:
            here = self._in_image(line.start, (step * blocks).register)
            sums = self._round(sums, here, self._in_weights(weights, blocks * self.block * outputs), rest)
        return sums

    def _round(self, sums: Sums, image: Pointer, weights: Pointer, count: int) -> Sums:
        """So many neighbouring channels."""
        builder, result, step = self.builder, dict(sums), self.problem.axes[1].stride * self.block
        starts = [sum(self.lanes[:number]) for number in range(len(self.lanes))]
        for channel in range(count):
            factors = [
                replace(self.arithmetic, lanes=lanes).load_right(
                    builder, self._in_weights(weights, channel * sum(self.lanes) + start), None
                )
                for lanes, start in zip(self.lanes, starts, strict=True)
            ]
            for column in dict.fromkeys(column for column, _ in sums):
                element = self.arithmetic.element(builder, self._in_image(image, column * step + channel))
                pixels = {lanes: builder.splat(element, lanes) for lanes in dict.fromkeys(self.lanes)}
                for number, factor in enumerate(factors):
                    key = column, number
                    result[key] = self.arithmetic.step(builder, factor, pixels[self.lanes[number]], result[key])
        return result

    # ---- numbers

    def _in_image(self, base: Pointer, elements: Register | int) -> Pointer:
        return self.builder.offset(base, elements, self.arithmetic.left)

    def _in_weights(self, base: Pointer, elements: Register | int) -> Pointer:
        return self.builder.offset(base, elements, self.arithmetic.right)

    def _term(self, value: Dim) -> Term:
        return Term(self.builder, self.emitter.integer(value))


def _divided(value: Term, divisor: int) -> Term:
    """The quotient rounded up; 0 for what is negative."""
    return (greatest(value, 0) + (divisor - 1)) // divisor
