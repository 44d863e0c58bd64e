"""Winograd convolution: the products of transformed input and weights at every point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.term import Term, least
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.kernels.cpu.spatial.runs import even_sizes
from tensorwright.kernels.cpu.winograd.code import WinogradCode
from tensorwright.kernels.cpu.winograd.tiles import TileAxis

ROUND = 4
"""Channels in one round of the innermost loop."""

LINE = 16
"""Elements in a cache line."""


@dataclass(frozen=True)
class Ahead:
    """Weights needed soon: their distance in elements from those in use, and cache lines of them for every round."""

    distance: Register
    lines: int


class ProductEmitter(WinogradCode):
    """Writes the loop over the points. At each, the sum runs over the channels of all phases that have that point."""

    def _multiply(self, split: Register, count: Register) -> None:
        builder, tiling = self.builder, self.tiling
        size = tiling.problem.channels * tiling.options.blocks * tiling.lanes
        weights = self._moved(self.weights, self.builder.scaled(split, tiling.units * tiling.groups * size))
        products = self.products
        with self.emitter.loop(0, tiling.points, carried=[0]) as points:
            (unit,) = points.carried
            phases = self._phases(points.index)
            inputs = self._moved(self.workspace, self.builder.scaled(unit, tiling.input_step))
            results = self._moved(products, self.builder.scaled(points.index, tiling.product_step))
            own = self._moved(weights, self.builder.scaled(unit, tiling.groups * size))
            if tiling.is_short:
                count = self._tiles(points.index)
                for number in tiling.tile_counts:
                    with self.emitter.when(self._term(count).equals(number).register):
                        self._multiply_groups(inputs, own, results, phases, number, i64(number))
            else:
                self._multiply_groups(inputs, own, results, phases, tiling.options.tiles, count)
            points.following = [builder.add(unit, phases)]

    def _tiles(self, point: Register) -> Register:
        """How many tiles have a point."""
        tiling = self.tiling
        row, column = self._split(point)
        down = _count_of_tiles(row, tiling.tiles_down, tiling.height, tiling.last_row)
        across = _count_of_tiles(column, tiling.tiles_across, tiling.width, tiling.last_column)
        return (down * across).register

    def _multiply_groups(
        self, inputs: Pointer, weights: Pointer, results: Pointer, phases: Register, most: int, count: Register
    ) -> None:
        """One point's products: `count` tiles, at most `most`, and all groups of output blocks."""
        builder, options, lanes = self.builder, self.tiling.options, self.tiling.lanes
        size = self.tiling.problem.channels * options.blocks * lanes
        with self.emitter.loop(0, self.tiling.groups) as group:
            factors = self._moved(weights, self.builder.scaled(builder.mul(group.index, phases), size))
            target = self._moved(results, self.builder.scaled(group.index, options.blocks * options.tiles * lanes))
            self._multiply_tiles(inputs, factors, target, phases, most, count)

    def _phases(self, point: Register) -> Register:
        """How many phases have something at a point."""
        if self.tiling.units == self.tiling.points:
            return i64(1)
        row, column = self._split(point)
        return (_count_of_phases(row, self.tiling.height) * _count_of_phases(column, self.tiling.width)).register

    def _split(self, point: Register) -> tuple[Term, Term]:
        """Row and column of a point."""
        row, column = self.builder.divided(point, self.tiling.width.points)
        return Term(self.builder, row), Term(self.builder, column)

    def _multiply_tiles(
        self, inputs: Pointer, factors: Pointer, target: Pointer, phases: Register, most: int, count: Register
    ) -> None:
        """`count` tiles, at most `most`, for a group of output blocks."""
        options = self.tiling.options
        sizes = even_sizes(most, options.pixels)
        lines = -(-ROUND * options.blocks * self.tiling.lanes // (LINE * sizes.count)) if options.prefetch else 0
        group = self._term(phases) * (self.tiling.problem.channels * options.blocks * self.tiling.lanes)
        first = before = 0
        for pixels, times in sizes:
            stop = first + pixels * times
            limit = least(self._term(count), stop).register
            with self.emitter.loop(first, limit, pixels) as tile:
                shift = self.builder.scaled(tile.index, self.tiling.lanes)
                turn, _ = self.builder.divided((self._term(tile.index) - (first - before * pixels)).register, pixels)
                ahead = Ahead((group + self._term(turn) * (lines * LINE)).register, lines)
                self._product(self._moved(inputs, shift), factors, self._moved(target, shift), phases, pixels, ahead)
            first, before = stop, before + times

    def _product(
        self, inputs: Pointer, factors: Pointer, target: Pointer, phases: Register, pixels: int, ahead: Ahead
    ) -> None:
        """The sums over phases and channels for so many tiles and a group of output blocks."""
        builder, tiling = self.builder, self.tiling
        sums: Sequence[Register] = [literal(0.0, self.total, tiling.lanes)] * (pixels * tiling.options.blocks)
        if phases.is_literal:
            sums = self._phase(inputs, factors, sums, pixels, ahead)
        else:
            with builder.loop(0, phases, carried=sums, at_least_once=True) as loop:
                size = tiling.problem.channels * tiling.options.blocks * tiling.lanes
                inputs = self._moved(inputs, self.builder.scaled(loop.index, tiling.input_step))
                factors = self._moved(factors, self.builder.scaled(loop.index, size))
                loop.following = self._phase(inputs, factors, loop.carried, pixels, ahead)
            sums = loop.final
        for block in range(tiling.options.blocks):
            for pixel in range(pixels):
                place = self._moved(target, (block * tiling.options.tiles + pixel) * tiling.lanes)
                builder.store(sums[pixel * tiling.options.blocks + block], place, self.total)

    def _phase(
        self, inputs: Pointer, factors: Pointer, sums: Sequence[Register], pixels: int, ahead: Ahead
    ) -> Sequence[Register]:
        """The sums over the channels of one phase, added to `sums`."""
        channels = self.tiling.problem.channels
        whole = channels - channels % ROUND
        with self.builder.loop(0, whole, ROUND, sums, at_least_once=True) as loop:
            self._prefetch(factors, loop.index, ahead)
            loop.following = self._round(inputs, factors, loop.index, ROUND, loop.carried, pixels)
        added = loop.final
        if channels > whole:
            added = self._round(inputs, factors, i64(whole), channels - whole, added, pixels)
        return added

    def _prefetch(self, factors: Pointer, channel: Register, ahead: Ahead) -> None:
        """Ask for the weights of the next group, which follow those of this one, a part with every register tile."""
        if ahead.lines:
            place = self._moved(factors, self.builder.scaled(channel, self.tiling.options.blocks * self.tiling.lanes))
            place = self._moved(place, ahead.distance)
            for line in range(ahead.lines):
                self.builder.prefetch(self._moved(place, line * LINE))

    def _round(
        self,
        inputs: Pointer,
        factors: Pointer,
        channel: Register,
        count: int,
        sums: Sequence[Register],
        pixels: int,
    ) -> list[Register]:
        builder, tiling, blocks = self.builder, self.tiling, self.tiling.options.blocks
        outer = self._term(channel).logical_right(tiling.lanes.bit_length() - 1)
        inner = self._term(channel) & (tiling.lanes - 1)
        distance = outer * (tiling.options.tiles * tiling.lanes) + inner
        source = builder.opaque(self._moved(inputs, distance.register))
        place = builder.opaque(self._moved(factors, self.builder.scaled(channel, blocks * tiling.lanes)))
        result = list(sums)
        for number in range(count):
            weights = [self._vector(place, (number * blocks + block) * tiling.lanes) for block in range(blocks)]
            for pixel in range(pixels):
                element = builder.load(self._moved(source, pixel * tiling.lanes + number), self.total)
                splat = builder.splat(element, tiling.lanes)
                for block in range(blocks):
                    key = pixel * blocks + block
                    result[key] = builder.fma(weights[block], splat, result[key])
        return result


def _count_of_tiles(index: Term, count: int, axis: TileAxis, last: TileAxis) -> Term:
    """How many tiles along an axis have the points of an index: the last one may lack some that the others have."""
    is_lacking = (index - (last.points - 1)).below(axis.points - last.points)
    return is_lacking.choose(index.constant(count - 1), count)


def _count_of_phases(index: Term, axis: TileAxis) -> Term:
    """How many phases along an axis have the points of an index."""
    common, last = axis.phases(0), axis.phases(axis.points - 1)
    if common == last:
        return index.constant(common)
    return index.equals(axis.points - 1).choose(index.constant(last), common)
