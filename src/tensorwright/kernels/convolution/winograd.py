"""Winograd convolution: for a block of tiles, transform the input, multiply at every point, transform the products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from tensorwright.codegen.epilogue import Epilogue
from tensorwright.codegen.ir import FunctionBuilder, Pointer, Register, literal
from tensorwright.codegen.scalar import Lane, ScalarEmitter
from tensorwright.graph.expression import Variable
from tensorwright.kernels.convolution.tile import Memory
from tensorwright.kernels.convolution.tiling import even_sizes
from tensorwright.kernels.convolution.winograd_phases import Patch
from tensorwright.kernels.convolution.winograd_plan import TileRun, WinogradPlan
from tensorwright.kernels.convolution.winograd_transform import (
    Value,
    combination,
    transform_input,
    transform_output,
)
from tensorwright.tensor.dim import Dim, expression
from tensorwright.tensor.dtype import FLOAT32, INT64

ROUND = 4
"""Channels in one round of the innermost loop."""


@dataclass(frozen=True)
class WinogradEmitter:
    """Writes the loop over tasks. A task has a block of tiles and a part of the output channels.

    The workspace holds the transformed input, ``[points, channel blocks, tiles, lanes]``, the products likewise, and a
    patch of the input where its phases are taken apart; a task whose predecessor had the same tiles uses the
    transformed input again.
    """

    plan: WinogradPlan
    memory: Memory
    emitter: ScalarEmitter
    epilogue: Epilogue
    output: Pointer
    x: Pointer
    weights: Pointer
    bias: Pointer | None
    workspace: Pointer

    @property
    def builder(self) -> FunctionBuilder:
        return self.emitter.builder

    @property
    def products(self) -> Pointer:
        return self.builder.offset(self.workspace, self.plan.points * self.plan.input_step, FLOAT32)

    def run(self, begin: Register, end: Register) -> None:
        builder, plan = self.builder, self.plan
        loop = builder.begin_loop(begin, end, 1, [literal(-1, INT64)])
        with self.emitter.scope():
            item, split = self._divided(loop.index, plan.cut.splits)
            image, block = self._divided(item, plan.tile_blocks)
            start = self._scaled(block, plan.cut.tiles)
            rest = builder.sub(literal(plan.tiles, INT64), start)
            count = builder.intrinsic("smin", (rest, literal(plan.cut.tiles, INT64)))
            with self._if(builder.compare("ne", item, loop.carried[0])):
                self._transform_inputs(image, start, count)
            self._multiply(split, count)
            self._transform_outputs(image, split, start, count)
        builder.end_loop(loop, [item])

    # ---- input

    def _transform_inputs(self, image: Register, start: Register, count: Register) -> None:
        with self._each(literal(0, INT64), count) as tile:
            row, column = self._divided(self.builder.add(start, tile), self.plan.tiles_across)
            x = self._moved(self.x, self._scaled(image, self.memory.image))
            target = self._moved(self.workspace, self._scaled(tile, self.plan.lanes))
            if self.plan.patch is not None:
                self._transform_patch(self.plan.patch, x, target, row, column)
            else:
                self._transform_tile(x, target, row, column)

    def _transform_tile(self, x: Pointer, target: Pointer, row: Register, column: Register) -> None:
        """Tiles at different borders have code of their own."""
        for rows in self.plan.rows:
            for columns in self.plan.columns:
                with self._inside(rows, row, self.plan.rows), self._inside(columns, column, self.plan.columns):
                    self._transform_input(x, target, row, column, rows, columns)

    def _transform_patch(self, patch: Patch, image: Pointer, target: Pointer, row: Register, column: Register) -> None:
        """The phases of a tile's part of the image."""
        builder, plan = self.builder, self.plan
        copied = builder.offset(self.products, plan.points * plan.product_step, FLOAT32)
        starts = [
            builder.add(self._scaled(index, size * plan.phases), literal(-axis.before * plan.phases, INT64))
            for axis, size, index in zip(
                plan.problem.axes, (plan.cut.rows, plan.cut.columns), (row, column), strict=True
            )
        ]
        patch.copy(builder, self.memory, image, copied, *starts)
        copied = builder.opaque(copied)
        for block in range(plan.channel_blocks):
            place = builder.offset(target, block * plan.cut.tiles * plan.lanes, FLOAT32)
            self._transform_block(place, partial(patch.phases, builder, copied, block))

    def _transform_input(
        self, x: Pointer, target: Pointer, row: Register, column: Register, rows: TileRun, columns: TileRun
    ) -> None:
        builder, plan, memory = self.builder, self.plan, self.memory
        for axis, size, index, step in zip(
            plan.problem.axes, (plan.cut.rows, plan.cut.columns), (row, column), memory.spatial, strict=True
        ):
            x = builder.offset(self._moved(x, self._scaled(index, size * step)), -axis.before * step, FLOAT32)
        with self._each(literal(0, INT64), literal(plan.channel_blocks, INT64)) as block:
            source = builder.opaque(self._moved(x, self._scaled(block, memory.channel)))
            place = self._moved(target, self._scaled(block, plan.cut.tiles * plan.lanes))

            def load(i: int, j: int, source: Pointer = source) -> Value:
                if i not in rows.valid or j not in columns.valid:
                    return None
                return self._vector(source, i * memory.spatial[0] + j * memory.spatial[1])

            self._transform_block(place, load)

    def _transform_block(self, place: Pointer, load: Callable[[int, int], Value]) -> None:
        """All points of a block of channels from what `load` gives for the tile's rows and columns."""
        builder, plan, height, width = self.builder, self.plan, self.plan.height, self.plan.width
        place = builder.opaque(place)
        by_column = [transform_input(builder, [load(i, j) for i in range(height)]) for j in range(width)]
        for i in range(height):
            for j, value in enumerate(transform_input(builder, [values[i] for values in by_column])):
                stored = literal(0.0, FLOAT32, plan.lanes) if value is None else value
                where = builder.offset(place, (i * width + j) * plan.input_step, FLOAT32)
                builder.store(stored, where, FLOAT32)

    # ---- products

    def _multiply(self, split: Register, count: Register) -> None:
        builder, plan = self.builder, self.plan
        size = plan.problem.channels * plan.cut.blocks * plan.lanes
        weights = self._moved(self.weights, self._scaled(split, plan.points * plan.groups * size))
        products = self.products
        with self._each(literal(0, INT64), literal(plan.points, INT64)) as point:
            inputs = self._moved(self.workspace, self._scaled(point, plan.input_step))
            results = self._moved(products, self._scaled(point, plan.product_step))
            own = self._moved(weights, self._scaled(point, plan.groups * size))
            with self._each(literal(0, INT64), literal(plan.groups, INT64)) as group:
                factors = self._moved(own, self._scaled(group, size))
                target = self._moved(results, self._scaled(group, plan.cut.blocks * plan.cut.tiles * plan.lanes))
                first = 0
                for pixels, equal in groupby(even_sizes(plan.cut.tiles, plan.cut.pixels)):
                    stop = first + pixels * len(list(equal))
                    limit = builder.intrinsic("smin", (count, literal(stop, INT64)))
                    with self._each(literal(first, INT64), limit, pixels) as tile:
                        shift = self._scaled(tile, plan.lanes)
                        self._product(self._moved(inputs, shift), factors, self._moved(target, shift), pixels)
                    first = stop

    def _product(self, inputs: Pointer, factors: Pointer, target: Pointer, pixels: int) -> None:
        """The sums over channels for so many tiles and a group of output blocks."""
        builder, plan = self.builder, self.plan
        sums = [literal(0.0, FLOAT32, plan.lanes)] * (pixels * plan.cut.blocks)
        channels = plan.problem.channels
        whole = channels - channels % ROUND
        loop = builder.begin_loop(literal(0, INT64), literal(whole, INT64), ROUND, sums, at_least_once=True)
        after = self._round(inputs, factors, loop.index, ROUND, loop.carried, pixels)
        sums = builder.end_loop(loop, after)
        if channels > whole:
            sums = self._round(inputs, factors, literal(whole, INT64), channels - whole, sums, pixels)
        for block in range(plan.cut.blocks):
            for pixel in range(pixels):
                place = builder.offset(target, (block * plan.cut.tiles + pixel) * plan.lanes, FLOAT32)
                builder.store(sums[pixel * plan.cut.blocks + block], place, FLOAT32)

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
        outer = builder.binary("lshr", channel, literal(plan.lanes.bit_length() - 1, INT64))
        inner = builder.binary("and", channel, literal(plan.lanes - 1, INT64))
        distance = builder.add(self._scaled(outer, plan.cut.tiles * plan.lanes), inner)
        source = builder.opaque(self._moved(inputs, distance))
        place = builder.opaque(self._moved(factors, self._scaled(channel, blocks * plan.lanes)))
        result = list(sums)
        for number in range(count):
            weights = [self._vector(place, (number * blocks + block) * plan.lanes) for block in range(blocks)]
            for pixel in range(pixels):
                element = builder.load(builder.offset(source, pixel * plan.lanes + number, FLOAT32), FLOAT32)
                splat = builder.splat(element, plan.lanes)
                for block in range(blocks):
                    key = pixel * blocks + block
                    result[key] = builder.fma(weights[block], splat, result[key])
        return result

    # ---- output

    def _transform_outputs(self, image: Register, split: Register, start: Register, count: Register) -> None:
        builder, plan = self.builder, self.plan
        first = self._scaled(split, plan.split_blocks)
        rest = builder.sub(literal(plan.output_blocks, INT64), first)
        blocks = builder.intrinsic("smin", (rest, literal(plan.split_blocks, INT64)))
        rows, columns = _by_outputs(plan.rows), _by_outputs(plan.columns)
        products = self.products
        with self._each(literal(0, INT64), blocks) as block, self._each(literal(0, INT64), count) as tile:
            row, column = self._divided(builder.add(start, tile), plan.tiles_across)
            source = self._moved(products, self._scaled(block, plan.cut.tiles * plan.lanes))
            source = self._moved(source, self._scaled(tile, plan.lanes))
            place = [image, builder.add(first, block), row, column]
            for across in rows:
                for along in columns:
                    with self._inside(across, row, rows), self._inside(along, column, columns):
                        self._transform_output(source, place, across.outputs, along.outputs)

    def _transform_output(self, source: Pointer, place: Sequence[Register], rows: int, columns: int) -> None:
        builder, plan = self.builder, self.plan
        height, width = plan.height, plan.width
        source = builder.opaque(source)
        by_column: list[list[Value]] = []
        for j in range(width):
            values: list[Value] = [self._vector(source, (i * width + j) * plan.product_step) for i in range(height)]
            if j == 1 and self.bias is not None:
                # What is added to the product at the point (1, 1) appears in every output.
                bias = self._vector(self._moved(self.bias, self._scaled(place[1], plan.lanes)), 0)
                values[1] = combination(builder, (1, values[1]), (1, bias))
            by_column.append(transform_output(builder, values, plan.cut.rows))
        results: dict[tuple[int, int], Register] = {}
        for row in range(rows):
            finished = transform_output(builder, [values[row] for values in by_column], plan.cut.columns)
            results |= {(row, column): value for column, value in enumerate(finished[:columns]) if value is not None}
        self._finish(results, place)

    def _finish(self, results: dict[tuple[int, int], Register], place: Sequence[Register]) -> None:
        """Apply the epilogue to all outputs of a tile, then store them."""
        emitter, plan, problem = self.emitter, self.plan, self.plan.problem
        lane = Variable("lane", plan.lanes)
        n, block = Variable("n", problem.batch), Variable("block", plan.output_blocks)
        axes = [Variable(f"s{number}", axis.output) for number, axis in enumerate(problem.axes)]
        starts = [self._scaled(place[2], plan.cut.rows), self._scaled(place[3], plan.cut.columns)]
        registers = [place[0], place[1], *starts, literal(0, INT64)]
        emitter.values.update(zip([n, block, *axes, lane], registers, strict=True))
        with emitter.scope():
            finished = []
            for shifts, value in results.items():
                spatial: list[Dim] = [expression(axis) + shift for axis, shift in zip(axes, shifts, strict=True)]
                index = problem.position(expression(n), expression(block), spatial, expression(lane))
                finished.append(self.epilogue.apply(emitter, value, index, Lane(lane, value.lanes)))
            for value, address in finished:
                with emitter.in_lanes(Lane(lane, plan.lanes)):
                    emitter.store(value, self.output, address, self.epilogue.dtype)

    # ---- numbers and control

    def _vector(self, base: Pointer, distance: int) -> Register:
        return self.builder.load(self.builder.offset(base, distance, FLOAT32), FLOAT32, self.plan.lanes)

    def _moved(self, base: Pointer, elements: Register) -> Pointer:
        return self.builder.offset(base, elements, FLOAT32)

    def _scaled(self, value: Register, factor: int) -> Register:
        return self.builder.mul(value, literal(factor, INT64))

    def _divided(self, value: Register, extent: int) -> tuple[Register, Register]:
        """Quotient and remainder."""
        if extent == 1:
            return value, literal(0, INT64)
        divisor = literal(extent, INT64)
        return self.builder.binary("udiv", value, divisor), self.builder.binary("urem", value, divisor)

    @contextmanager
    def _each(self, low: Register, high: Register, step: int = 1) -> Iterator[Register]:
        loop = self.builder.begin_loop(low, high, step)
        with self.emitter.scope():
            yield loop.index
        self.builder.end_loop(loop)

    @contextmanager
    def _if(self, condition: Register) -> Iterator[None]:
        label = self.builder.begin_if(condition)
        with self.emitter.scope():
            yield
        self.builder.end_if(label)

    @contextmanager
    def _inside(self, run: TileRun, index: Register, runs: Sequence[TileRun]) -> Iterator[None]:
        """What runs only for the tiles of one run."""
        if len(runs) == 1:
            yield
            return
        distance = self.builder.sub(index, literal(run.first, INT64))
        with self._if(self.builder.compare("ult", distance, literal(run.count, INT64))):
            yield


def _by_outputs(runs: Sequence[TileRun]) -> list[TileRun]:
    """Runs that differ only in the inputs they may read, taken together."""
    merged: list[TileRun] = []
    for outputs, group in groupby(runs, key=lambda run: run.outputs):
        members = list(group)
        merged.append(TileRun(members[0].first, sum(run.count for run in members), (), outputs))
    return merged
