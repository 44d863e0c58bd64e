"""Winograd convolution: for a block of tiles, transform the input, multiply at every point, transform the products."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from tensorwright.codegen.scalar import Lane
from tensorwright.codegen.term import least
from tensorwright.codegen.values import Register, i64
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


class WinogradEmitter(InputEmitter, ProductEmitter):
    """Writes the loop over tasks. A task has a block of tiles and a part of the output channels; one whose predecessor
    had the same tiles uses the transformed input again.
    """

    def run(self, begin: Register, end: Register) -> None:
        builder, tiling = self.builder, self.tiling
        with self.emitter.loop(begin, end, carried=[-1]) as loop:
            item, split = self.builder.divided(loop.index, tiling.options.splits)
            image, block = self.builder.divided(item, tiling.tile_blocks)
            first = self._term(block) * tiling.options.tiles
            start, count = first.register, least(tiling.tiles - first, tiling.options.tiles).register
            with self.emitter.when(builder.compare("ne", item, loop.carried[0])):
                self._transform_inputs(image, start, count)
            self._multiply(split, count)
            self._transform_outputs(image, split, start, count)
            loop.following = [item]

    # ---- output

    def _transform_outputs(self, image: Register, split: Register, start: Register, count: Register) -> None:
        builder, tiling = self.builder, self.tiling
        first = self._term(split) * tiling.split_blocks
        blocks = least(tiling.output_blocks - first, tiling.split_blocks).register
        rows, columns = _by_outputs(tiling.rows), _by_outputs(tiling.columns)
        products = self.products
        with self.emitter.loop(0, blocks) as outer, self.emitter.loop(0, count) as inner:
            block, tile = outer.index, inner.index
            row, column = self.builder.divided(builder.add(start, tile), tiling.tiles_across)
            source = self._moved(products, self.builder.scaled(block, tiling.options.tiles * tiling.lanes))
            sources = self._tile_places(source, tile, row)
            place = [image, (first + self._term(block)).register, row, column]
            for across in rows:
                for along in columns:
                    with self._inside(across, row, rows), self._inside(along, column, columns):
                        self._transform_output(sources, place, across, along)

    def _transform_output(self, sources: Places, place: Sequence[Register], rows: TileRun, columns: TileRun) -> None:
        builder, tiling = self.builder, self.tiling
        height, width = rows.tile.points, columns.tile.points
        lines, points = kept_points(height, tiling.height.points), kept_points(width, tiling.width.points)
        sources = sources.moved(builder.opaque)
        by_column: list[list[Value]] = []
        for j, point in enumerate(points):
            source = self._place(sources, point)
            distances = [(line * tiling.width.points + point) * tiling.product_step for line in lines]
            values: list[Value] = [self._vector(source, distance) for distance in distances]
            if j == bias_point(width) and self.bias is not None:
                dtype = tiling.problem.numerics.right
                start = builder.offset(self.bias, self.builder.scaled(place[1], tiling.lanes), dtype)
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
        emitter, tiling, problem = self.emitter, self.tiling, self.tiling.problem
        lane = Variable("lane", tiling.lanes)
        n, block = Variable("n", problem.batch), Variable("block", tiling.output_blocks)
        axes = [Variable(f"s{number}", axis.output) for number, axis in enumerate(problem.axes)]
        starts = [
            self.builder.scaled(place[2], tiling.options.rows),
            self.builder.scaled(place[3], tiling.options.columns),
        ]
        registers = [place[0], place[1], *starts, i64(0)]
        emitter.values.update(zip([n, block, *axes, lane], registers, strict=True))
        with emitter.scope():
            finished = []
            for shifts, value in results.items():
                spatial: list[Dim] = [expression(axis) + shift for axis, shift in zip(axes, shifts, strict=True)]
                index = problem.position(expression(n), expression(block), spatial, expression(lane))
                finished.append(self.epilogue.apply(emitter, value, index, Lane(lane, value.lanes)))
            for value, address in finished:
                with emitter.in_lanes(Lane(lane, tiling.lanes)):
                    emitter.store(value, self.output, address, self.epilogue.dtype)


def _by_outputs(runs: Sequence[TileRun]) -> list[TileRun]:
    """Runs that differ only in the inputs they may read, taken together."""
    merged: list[TileRun] = []
    for outputs, group in groupby(runs, key=lambda run: run.outputs):
        members = list(group)
        merged.append(TileRun(members[0].first, sum(run.count for run in members), (), outputs, members[0].tile))
    return merged
