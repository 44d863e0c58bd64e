"""Winograd convolution: for a block of tiles, transform the input, multiply at every point, transform the products."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from tensorwright.codegen.scalar import Lane
from tensorwright.codegen.term import least
from tensorwright.codegen.values import Register, literal
from tensorwright.graph.expression import Variable
from tensorwright.kernels.cpu.winograd.code import Places
from tensorwright.kernels.cpu.winograd.input import InputEmitter
from tensorwright.kernels.cpu.winograd.products import ProductEmitter
from tensorwright.kernels.cpu.winograd.tiles import TileRun
from tensorwright.kernels.cpu.winograd.transform import (
    Value,
    bias_point,
    combination,
    kept_points,
    transform_output,
)
from tensorwright.tensor.dim import Dim, expression
from tensorwright.tensor.dtype import INT64


class WinogradEmitter(InputEmitter, ProductEmitter):
    """Writes the loop over tasks. A task has a block of tiles and a part of the output channels; one whose predecessor
    had the same tiles uses the transformed input again.
    """

    def run(self, begin: Register, end: Register) -> None:
        builder, plan = self.builder, self.plan
        with self.emitter.loop(begin, end, carried=[literal(-1, INT64)]) as loop:
            item, split = self.builder.divided(loop.index, plan.cut.splits)
            image, block = self.builder.divided(item, plan.tile_blocks)
            first = self._term(block) * plan.cut.tiles
            start, count = first.register, least(plan.tiles - first, plan.cut.tiles).register
            with self.emitter.when(builder.compare("ne", item, loop.carried[0])):
                self._transform_inputs(image, start, count)
            self._multiply(split, count)
            self._transform_outputs(image, split, start, count)
            loop.following = [item]

    # ---- output

    def _transform_outputs(self, image: Register, split: Register, start: Register, count: Register) -> None:
        builder, plan = self.builder, self.plan
        first = self._term(split) * plan.split_blocks
        blocks = least(plan.output_blocks - first, plan.split_blocks).register
        rows, columns = _by_outputs(plan.rows), _by_outputs(plan.columns)
        products = self.products
        with self.emitter.loop(0, blocks) as outer, self.emitter.loop(0, count) as inner:
            block, tile = outer.index, inner.index
            row, column = self.builder.divided(builder.add(start, tile), plan.tiles_across)
            source = self._moved(products, self.builder.scaled(block, plan.cut.tiles * plan.lanes))
            sources = self._tile_places(source, tile, row)
            place = [image, (first + self._term(block)).register, row, column]
            for across in rows:
                for along in columns:
                    with self._inside(across, row, rows), self._inside(along, column, columns):
                        self._transform_output(sources, place, across, along)

    def _transform_output(self, sources: Places, place: Sequence[Register], rows: TileRun, columns: TileRun) -> None:
        builder, plan = self.builder, self.plan
        height, width = rows.tile.points, columns.tile.points
        lines, points = kept_points(height, plan.height.points), kept_points(width, plan.width.points)
        sources = sources.moved(builder.opaque)
        by_column: list[list[Value]] = []
        for j, point in enumerate(points):
            source = self._place(sources, point)
            distances = [(line * plan.width.points + point) * plan.product_step for line in lines]
            values: list[Value] = [self._vector(source, distance) for distance in distances]
            if j == bias_point(width) and self.bias is not None:
                dtype = plan.problem.numerics.right
                start = builder.offset(self.bias, self.builder.scaled(place[1], plan.lanes), dtype)
                bias = self._vector(start, 0, dtype)
                number = bias_point(height)
                values[number] = combination(builder, (1, values[number]), (1, bias))
            by_column.append(transform_output(builder, values, rows.tile.outputs))
        results: dict[tuple[int, int], Register] = {}
        for row in range(rows.outputs):
            finished = transform_output(builder, [values[row] for values in by_column], columns.tile.outputs)
            inside = enumerate(finished[: columns.outputs])
            results |= {(row, column): value for column, value in inside if value is not None}
        self._finish(results, place)

    def _finish(self, results: dict[tuple[int, int], Register], place: Sequence[Register]) -> None:
        """Apply the epilogue to all outputs of a tile, then store them."""
        emitter, plan, problem = self.emitter, self.plan, self.plan.problem
        lane = Variable("lane", plan.lanes)
        n, block = Variable("n", problem.batch), Variable("block", plan.output_blocks)
        axes = [Variable(f"s{number}", axis.output) for number, axis in enumerate(problem.axes)]
        starts = [self.builder.scaled(place[2], plan.cut.rows), self.builder.scaled(place[3], plan.cut.columns)]
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


def _by_outputs(runs: Sequence[TileRun]) -> list[TileRun]:
    """Runs that differ only in the inputs they may read, taken together."""
    merged: list[TileRun] = []
    for outputs, group in groupby(runs, key=lambda run: run.outputs):
        members = list(group)
        merged.append(TileRun(members[0].first, sum(run.count for run in members), (), outputs, members[0].tile))
    return merged
