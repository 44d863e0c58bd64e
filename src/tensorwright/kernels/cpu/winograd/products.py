"""Winograd convolution: the products of transformed input and weights at every point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.term import Term, least
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.kernels.cpu.spatial.tiling import even_sizes
from tensorwright.kernels.cpu.winograd.code import WinogradCode
from tensorwright.kernels.cpu.winograd.tiles import TileAxis
from tensorwright.tensor.dtype import INT64

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
        builder, plan = self.builder, self.plan
        size = plan.problem.channels * plan.cut.blocks * plan.lanes
        weights = self._moved(self.weights, self.builder.scaled(split, plan.units * plan.groups * size))
        products = self.products
        with self.emitter.loop(0, plan.points, carried=[literal(0, INT64)]) as points:
            (unit,) = points.carried
            phases = self._phases(points.index)
            inputs = self._moved(self.workspace, self.builder.scaled(unit, plan.input_step))
            results = self._moved(products, self.builder.scaled(points.index, plan.product_step))
            own = self._moved(weights, self.builder.scaled(unit, plan.groups * size))
            if plan.is_short:
                count = self._tiles(points.index)
                for number in plan.tile_counts:
                    with self.emitter.when(self._term(count).equals(number).register):
                        self._multiply_groups(inputs, own, results, phases, number, literal(number, INT64))
            else:
                self._multiply_groups(inputs, own, results, phases, plan.cut.tiles, count)
            points.following = [builder.add(unit, phases)]

    def _tiles(self, point: Register) -> Register:
        """How many tiles have a point."""
        plan = self.plan
        row, column = self._split(point)
        down = _count_of_tiles(row, plan.tiles_down, plan.height, plan.last_row)
        across = _count_of_tiles(column, plan.tiles_across, plan.width, plan.last_column)
        return (down * across).register

    def _multiply_groups(
        self, inputs: Pointer, weights: Pointer, results: Pointer, phases: Register, most: int, count: Register
    ) -> None:
        """One point's products: `count` tiles, at most `most`, and all groups of output blocks."""
        builder, cut, lanes = self.builder, self.plan.cut, self.plan.lanes
        size = self.plan.problem.channels * cut.blocks * lanes
        with self.emitter.loop(0, self.plan.groups) as group:
            factors = self._moved(weights, self.builder.scaled(builder.mul(group.index, phases), size))
            target = self._moved(results, self.builder.scaled(group.index, cut.blocks * cut.tiles * lanes))
            self._multiply_tiles(inputs, factors, target, phases, most, count)

    def _phases(self, point: Register) -> Register:
        """How many phases have something at a point."""
        if self.plan.units == self.plan.points:
            return literal(1, INT64)
        row, column = self._split(point)
        return (_count_of_phases(row, self.plan.height) * _count_of_phases(column, self.plan.width)).register

    def _split(self, point: Register) -> tuple[Term, Term]:
        """Row and column of a point."""
        row, column = self.builder.divided(point, self.plan.width.points)
        return Term(self.builder, row), Term(self.builder, column)

    def _multiply_tiles(
        self, inputs: Pointer, factors: Pointer, target: Pointer, phases: Register, most: int, count: Register
    ) -> None:
        """`count` tiles, at most `most`, for a group of output blocks."""
        cut = self.plan.cut
        sizes = even_sizes(most, cut.pixels)
        lines = -(-ROUND * cut.blocks * self.plan.lanes // (LINE * sizes.count)) if cut.prefetch else 0
        group = self._term(phases) * (self.plan.problem.channels * cut.blocks * self.plan.lanes)
        first = before = 0
        for pixels, times in sizes:
            stop = first + pixels * times
            limit = least(self._term(count), stop).register
            with self.emitter.loop(first, limit, pixels) as tile:
                shift = self.builder.scaled(tile.index, self.plan.lanes)
                turn, _ = self.builder.divided((self._term(tile.index) - (first - before * pixels)).register, pixels)
                ahead = Ahead((group + self._term(turn) * (lines * LINE)).register, lines)
                self._product(self._moved(inputs, shift), factors, self._moved(target, shift), phases, pixels, ahead)
            first, before = stop, before + times

    def _product(
        self, inputs: Pointer, factors: Pointer, target: Pointer, phases: Register, pixels: int, ahead: Ahead
    ) -> None:
        """The sums over phases and channels for so many tiles and a group of output blocks."""
        builder, plan = self.builder, self.plan
        sums: Sequence[Register] = [literal(0.0, self.total, plan.lanes)] * (pixels * plan.cut.blocks)
        if phases.is_literal:
            sums = self._phase(inputs, factors, sums, pixels, ahead)
        else:
            with builder.loop(0, phases, carried=sums, at_least_once=True) as loop:
                size = plan.problem.channels * plan.cut.blocks * plan.lanes
                inputs = self._moved(inputs, self.builder.scaled(loop.index, plan.input_step))
                factors = self._moved(factors, self.builder.scaled(loop.index, size))
                loop.following = self._phase(inputs, factors, loop.carried, pixels, ahead)
            sums = loop.final
        for block in range(plan.cut.blocks):
            for pixel in range(pixels):
                place = self._moved(target, (block * plan.cut.tiles + pixel) * plan.lanes)
                builder.store(sums[pixel * plan.cut.blocks + block], place, self.total)

    def _phase(
        self, inputs: Pointer, factors: Pointer, sums: Sequence[Register], pixels: int, ahead: Ahead
    ) -> Sequence[Register]:
        """The sums over the channels of one phase, added to `sums`."""
        channels = self.plan.problem.channels
        whole = channels - channels % ROUND
        with self.builder.loop(0, whole, ROUND, sums, at_least_once=True) as loop:
            self._prefetch(factors, loop.index, ahead)
            loop.following = self._round(inputs, factors, loop.index, ROUND, loop.carried, pixels)
        added = loop.final
        if channels > whole:
            added = self._round(inputs, factors, literal(whole, INT64), channels - whole, added, pixels)
        return added

    def _prefetch(self, factors: Pointer, channel: Register, ahead: Ahead) -> None:
        """Ask for the weights of the next group, which follow those of this one, a part with every register tile."""
        if ahead.lines:
            place = self._moved(factors, self.builder.scaled(channel, self.plan.cut.blocks * self.plan.lanes))
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
        builder, plan, blocks = self.builder, self.plan, self.plan.cut.blocks
        outer = self._term(channel).logical_right(plan.lanes.bit_length() - 1)
        inner = self._term(channel) & (plan.lanes - 1)
        distance = outer * (plan.cut.tiles * plan.lanes) + inner
        source = builder.opaque(self._moved(inputs, distance.register))
        place = builder.opaque(self._moved(factors, self.builder.scaled(channel, blocks * plan.lanes)))
        result = list(sums)
        for number in range(count):
            weights = [self._vector(place, (number * blocks + block) * plan.lanes) for block in range(blocks)]
            for pixel in range(pixels):
                element = builder.load(self._moved(source, pixel * plan.lanes + number), self.total)
                splat = builder.splat(element, plan.lanes)
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
