"""Convolutions over images whose extents are known only at run time: rows of tiles in registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from tensorwright.codegen.epilogue import Epilogue
from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import Lane, ScalarEmitter
from tensorwright.codegen.term import Term, greatest, least
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import Variable
from tensorwright.kernels.convolution.problem import OpenAxis, OpenProblem, Problem
from tensorwright.kernels.cpu.arithmetic import Arithmetic
from tensorwright.kernels.cpu.convolution.broadcast import channels_of
from tensorwright.kernels.cpu.convolution.lanewise import spread
from tensorwright.kernels.cpu.spatial.tiling import OutputRun, Tiling
from tensorwright.tensor.dim import Dim, ceil_divide, expression

Sums = dict[tuple[int, int], Register]
"""The accumulators by column and block within the tile."""

Bounds = tuple[Register, Register]


@dataclass(frozen=True)
class Columns:
    """What a tile computes: so many positions of a row from `first` on; taps: those that read no padding there."""

    first: Register
    count: int
    taps: Bounds


@dataclass(frozen=True)
class OpenTasks:
    """Writes the loop over tasks: each is a row, or a piece of one, for one group of output blocks of one image.

    Where all taps lie inside of the image, tiles are as wide as the options say; the last one is moved back so that it
    ends where these positions do. All other positions are tiles of their own, whose taps are found at run time.

    tiling: of the usual extents; it says how blocks of outputs are grouped. block: channels that lie side by side in x.
    lanewise: whether lanes stay apart.
    """

    problem: OpenProblem
    tiling: Tiling
    arithmetic: Arithmetic
    block: int
    lanewise: bool
    emitter: ScalarEmitter
    epilogue: Epilogue
    output: Pointer
    x: Pointer
    weights: Pointer
    bias: Pointer | None

    # ---- tasks

    @property
    def usual(self) -> Problem:
        return self.problem.usual

    @property
    def builder(self) -> FunctionBuilder:
        return self.emitter.builder

    @cached_property
    def rows(self) -> Dim:
        return self.problem.axes[0].output

    @cached_property
    def piece(self) -> Dim:
        """Positions of a row that a task computes: all of them if there are several rows."""
        whole = self.problem.axes[1].output
        return whole if self.rows != 1 else self.tiling.options.columns * self.tiling.options.pixels

    @cached_property
    def pieces(self) -> Dim:
        return 1 if not isinstance(self.piece, int) else ceil_divide(self.problem.axes[1].output, self.piece)

    @property
    def tasks(self) -> Dim:
        return self.usual.batch * self.rows * self.pieces * self.tiling.group_count

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """Image, first block of outputs, positions along all axes, lane."""
        axes = (Variable(f"s{number}", axis.output) for number, axis in enumerate(self.problem.axes))
        blocks, lane = Variable("block", self.tiling.output_blocks), Variable("lane", self.tiling.lanes)
        return (Variable("n", self.usual.batch), blocks, *axes, lane)

    def run(self, begin: Register, end: Register) -> None:
        emitter, tiling = self.emitter, self.tiling
        group, part = Variable("group", tiling.group_count), Variable("part", self.pieces)
        image, _, row, *_ = self.variables
        with self.builder.loop(begin, end) as loop, emitter.scope():
            task = Variable("task", self.tasks)
            emitter.values[task] = loop.index
            number, places = expression(task), self.rows * self.pieces
            if tiling.options.pixels_first:
                emitter.values[group] = emitter.integer(number % tiling.group_count)
                place = number // tiling.group_count % places
            else:
                emitter.values[group] = emitter.integer(number // places % tiling.group_count)
                place = number % places
            emitter.values[image] = emitter.integer(number // (places * tiling.group_count))
            emitter.values[row] = emitter.integer(place // self.pieces)
            emitter.values[part] = emitter.integer(place % self.pieces)
            for run in tiling.output_runs:
                alone = len(tiling.output_runs) == 1
                with emitter.when(None if alone else self._is_in(run, emitter.values[group])):
                    self._group(run, expression(group), expression(part))

    def _is_in(self, run: OutputRun, group: Register) -> Register:
        above = self.builder.compare("sge", group, i64(run.first))
        return self.builder.binary("and", above, self.builder.compare("slt", group, i64(run.first + run.count)))

    def _group(self, run: OutputRun, group: Dim, part: Dim) -> None:
        """The columns of a task: whole tiles, then single positions."""
        emitter, builder, axis, size = self.emitter, self.builder, self.problem.axes[1], self.tiling.options.columns
        emitter.values[self.variables[1]] = emitter.integer((group - run.first) * len(run.lanes) + run.block)
        weights = self._weights_of(run, group)
        whole = self._term(axis.output)
        begin = self._term(part * self.piece) if self.pieces != 1 else self._term(0)
        end = whole if self.pieces == 1 else least(begin + self._term(self.piece), whole)
        low = greatest(begin, -(-axis.before // axis.stride)) if axis.before else begin
        high = least(end, self._inside(axis))
        inner = greatest(high - low, 0)
        enough = builder.compare("sge", inner.register, i64(size))
        tiles = builder.select(enough, ((inner + (size - 1)) // size).register, i64(0))
        covered = Term(builder, builder.select(enough, inner.register, i64(0)))
        taps = i64(0), i64(axis.kernel)
        with emitter.loop(i64(0), tiles) as loop:
            first = least(low + Term(builder, loop.index) * size, high - size)
            self._tile(run, weights, Columns(first.register, size, taps))
        with emitter.loop(i64(0), (end - begin - covered).register) as loop:
            place = begin + Term(builder, loop.index)
            behind = builder.compare("sge", place.register, low.register)
            place = place + Term(builder, builder.select(behind, covered.register, i64(0)))
            self._tile(run, weights, Columns(place.register, 1, self._taps(axis, place)))

    def _inside(self, axis: OpenAxis) -> Term:
        """Behind the last position whose last tap reads the image."""
        reach = (axis.kernel - 1) * axis.dilation - axis.before
        return greatest(self._term(axis.input) - (reach + 1 - axis.stride), 0) // axis.stride

    def _taps(self, axis: OpenAxis, position: Term) -> Bounds:
        """The taps that read the image at a position."""
        if axis.is_pointwise:
            return i64(0), i64(1)
        before = axis.before - position * axis.stride
        low, high = _divided(before, axis.dilation), _divided(before + self._term(axis.input), axis.dilation)
        return low.register, least(high, axis.kernel).register

    def _weights_of(self, run: OutputRun, group: Dim) -> Pointer:
        size = sum(run.lanes) * self.tiling.weights_per_output
        start = run.block * self.tiling.lanes * self.tiling.weights_per_output
        distance = self.emitter.integer((group - run.first) * size + start)
        return self.builder.offset(self.weights, distance, self.arithmetic.right)

    # ---- one tile

    def _tile(self, run: OutputRun, weights: Pointer, columns: Columns) -> None:
        _, _, row, column, _ = self.variables
        self.emitter.values[column] = columns.first
        sums = self._initial(run, columns.count)
        rows = self.problem.axes[0]
        bounds = self._taps(rows, self._term(expression(row)))
        start = self._start(columns)

        def of_row(sums: Sums, tap: Register) -> Sums:
            line = self._term(self.problem.axes[1].input * self.block)
            image = self._in_image(start, (Term(self.builder, tap) * rows.dilation * line).register)
            return self._each(columns.taps, sums, lambda sums, other: self._tap(run, sums, image, weights, tap, other))

        self._finish(self._each(bounds, sums, of_row))

    def _initial(self, run: OutputRun, columns: int) -> Sums:
        numerics, lanes = self.usual.numerics, self.tiling.lanes
        start = [literal(0.0, numerics.total, width) for width in run.lanes]
        if self.bias is not None:
            block = self.emitter.values[self.variables[1]]
            place = self.builder.offset(self.bias, self.builder.scaled(block, lanes), numerics.right)
            places = [self.builder.offset(place, number * lanes, numerics.right) for number in range(len(run.lanes))]
            start = [self.builder.load(at, numerics.right, width) for at, width in zip(places, run.lanes, strict=True)]
        return {(column, number): start[number] for column in range(columns) for number in range(len(run.lanes))}

    def _start(self, columns: Columns) -> Pointer:
        """Where tap 0 of both axes reads the first channel for the first position."""
        image, block, row, _, _ = self.variables
        down, along = self.problem.axes
        pixels = down.input * along.input
        channels = -(-self.usual.all_channels // self.block)
        line = expression(row) * down.stride - down.before
        distance = (expression(image) * channels * pixels + line * along.input) * self.block
        if self.lanewise:
            distance += expression(block) * pixels * self.block
        start = self._in_image(self.x, self.emitter.integer(distance))
        place = Term(self.builder, columns.first) * along.stride - along.before
        return self._in_image(start, (place * self.block).register)

    def _each(self, bounds: Bounds, sums: Sums, step: Callable[[Sums, Register], Sums]) -> Sums:
        """The sums after some taps of an axis."""
        low, high = bounds
        if high.is_literal and int(high.text) == 1:
            return step(sums, low)
        with self.emitter.loop(low, high, carried=list(sums.values())) as loop:
            after = step(dict(zip(sums, loop.carried, strict=True)), loop.index)
            loop.following = list(after.values())
        return dict(zip(sums, loop.final, strict=True))

    def _tap(
        self, run: OutputRun, sums: Sums, image: Pointer, weights: Pointer, down: Register, along: Register
    ) -> Sums:
        axis, outputs = self.problem.axes[1], sum(run.lanes)
        image = self._in_image(image, (Term(self.builder, along) * (axis.dilation * self.block)).register)
        number = Term(self.builder, down) * axis.kernel + Term(self.builder, along)
        size = self.tiling.weight_channels * outputs
        weights = self.builder.offset(weights, (number * size).register, self.arithmetic.right)
        if self.lanewise:
            return self._lanewise(run, sums, image, weights)
        if self.usual.groups > 1:
            return self._channels_of_groups(run, sums, image, weights)
        return self._channels(run, sums, image, weights)

    def _lanewise(self, run: OutputRun, sums: Sums, image: Pointer, weights: Pointer) -> Sums:
        """A tap for a block of channels, each lane with weights of its own for every channel of its group."""
        (lanes,), numerics, step = run.lanes, self.usual.numerics, self.problem.axes[1].stride * self.block
        channels, builder, result = self.usual.channels, self.builder, dict(sums)
        places = [self._in_weights(weights, channel * lanes) for channel in range(channels)]
        factors = [builder.load(place, numerics.right, lanes) for place in places]
        for key in sums:
            vector = builder.load(self._in_image(image, key[0] * step), numerics.left, lanes)
            for channel, factor in enumerate(factors):
                result[key] = builder.fma(factor, spread(builder, vector, channels, channel), result[key])
        return result

    def _channels_of_groups(self, run: OutputRun, sums: Sums, image: Pointer, weights: Pointer) -> Sums:
        """A tap for the channels of the groups that some blocks of outputs belong to, wherever these begin in x."""
        builder, outputs, size = self.builder, sum(run.lanes), self.block
        channels = channels_of(self.tiling, self._term(expression(self.variables[1])), size)
        pixels = self._term(self.problem.axes[0].input * self.problem.axes[1].input * size)
        count = channels.count if isinstance(channels.count, Register) else i64(channels.count)

        def of_round(sums: Sums, number: Register) -> Sums:
            behind = Term(builder, number) * channels.unroll
            channel = behind + Term(builder, channels.first)
            here = self._in_image(image, (channel // size * pixels + channel % size).register)
            factors = self._in_weights(weights, (behind * outputs).register)
            return self._round(run, sums, here, factors, channels.unroll)

        return self._each((i64(0), (Term(builder, count) // channels.unroll).register), sums, of_round)

    def _channels(self, run: OutputRun, sums: Sums, image: Pointer, weights: Pointer) -> Sums:
        """A tap for all channels, block by block."""
        builder, outputs, channels = self.builder, sum(run.lanes), self.usual.channels
        unroll = min(self.tiling.options.unroll, self.block)
        blocks, rest = divmod(channels, self.block)
        pixels = self._term(self.problem.axes[0].input * self.problem.axes[1].input * self.block)

        def of_block(sums: Sums, number: Register) -> Sums:
            here = self._in_image(image, (Term(builder, number) * pixels).register)
            factors = self._in_weights(weights, builder.scaled(number, self.block * outputs))
            if self.block == unroll:
                return self._round(run, sums, here, factors, unroll)
            with builder.loop(0, self.block, unroll, list(sums.values()), at_least_once=True) as loop:
                source = builder.opaque(self._in_image(here, loop.index))
                place = builder.opaque(self._in_weights(factors, builder.scaled(loop.index, outputs)))
                after = self._round(run, dict(zip(sums, loop.carried, strict=True)), source, place, unroll)
                loop.following = list(after.values())
            return dict(zip(sums, loop.final, strict=True))

        if blocks:
            sums = self._each((i64(0), i64(blocks)), sums, of_block)
        if rest:
            here = self._in_image(image, (pixels * blocks).register)
            sums = self._round(run, sums, here, self._in_weights(weights, blocks * self.block * outputs), rest)
        return sums

    def _round(self, run: OutputRun, sums: Sums, image: Pointer, weights: Pointer, count: int) -> Sums:
        """So many neighbouring channels."""
        builder, result, step = self.builder, dict(sums), self.problem.axes[1].stride * self.block
        starts = [sum(run.lanes[:number]) for number in range(len(run.lanes))]
        for channel in range(count):
            factors = [
                replace(self.arithmetic, lanes=lanes).load_right(
                    builder, self._in_weights(weights, channel * sum(run.lanes) + start), None
                )
                for lanes, start in zip(run.lanes, starts, strict=True)
            ]
            for column in dict.fromkeys(column for column, _ in sums):
                element = self.arithmetic.element(builder, self._in_image(image, column * step + channel))
                pixels = {lanes: builder.splat(element, lanes) for lanes in dict.fromkeys(run.lanes)}
                for number, factor in enumerate(factors):
                    key = column, number
                    result[key] = self.arithmetic.step(builder, factor, pixels[run.lanes[number]], result[key])
        return result

    def _finish(self, sums: Sums) -> None:
        """Apply the epilogue to all accumulators, then store them."""
        emitter = self.emitter
        image, block, row, column, lane = self.variables
        emitter.values[lane] = i64(0)
        with emitter.scope():
            finished = []
            for (shift, number), value in sums.items():
                spatial: Sequence[Dim] = (expression(row), expression(column) + shift)
                index = self.usual.position(expression(image), expression(block) + number, spatial, expression(lane))
                finished.append(self.epilogue.apply(emitter, value, index, Lane(lane, value.lanes)))
            for value, address in finished:
                with emitter.in_lanes(Lane(lane, value.lanes)):
                    emitter.store(value, self.output, address, self.epilogue.dtype)

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
