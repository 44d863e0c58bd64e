"""Winograd convolution: for a block of tiles, transform the input, multiply at every point, transform the products."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.scalar import Lane
from tensorwright.codegen.term import least
from tensorwright.codegen.values import Register, i64
from tensorwright.codegen.winograd import Value, finite_points, kept_points, transform_output
from tensorwright.graph.expression import Variable
from tensorwright.kernels.cpu.winograd.code import Places
from tensorwright.kernels.cpu.winograd.input import InputEmitter
from tensorwright.kernels.cpu.winograd.products import ProductEmitter
from tensorwright.kernels.cpu.winograd.tiles import TileAxis
from tensorwright.tensor.dim import Dim, expression

Outputs = dict[tuple[int, int], Register]
"""Values by row and column within a tile."""


class WinogradEmitter(InputEmitter, ProductEmitter):
    """Writes the loop over tasks. A task has a block of tiles and a part of the output channels; one whose predecessor
    had the same tiles uses the transformed input again.
    """

    def run(self, begin: Register, end: Register) -> None:
        builder, tiling, grid = self.builder, self.tiling, self.tiling.grid
        for extent in (grid.across, grid.tiles, grid.blocks):
            self.emitter.integer(extent)
        with self.emitter.loop(begin, end, carried=[-1]) as loop:
            item, split = self.builder.divided(loop.index, tiling.options.splits)
            image, block = self._divided(item, grid.blocks)
            first = self._term(block) * tiling.options.tiles
            start, count = first.register, least(self._extent(grid.tiles) - first, tiling.options.tiles).register
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
        products = self.products
        with self.emitter.loop(0, blocks) as outer, self.emitter.loop(0, count) as inner:
            block, tile = outer.index, inner.index
            row, column = self._divided(builder.add(start, tile), tiling.grid.across)
            source = self._moved(products, self.builder.scaled(block, tiling.options.tiles * tiling.lanes))
            sources = self._tile_places(source, tile, row)
            self._write_tile(sources, [image, (first + self._term(block)).register, row, column])

    def _write_tile(self, sources: Places, place: Sequence[Register]) -> None:
        """The outputs of a tile: its image, its block of outputs, its row and column among the tiles."""
        raise NotImplementedError

    def _transformed(
        self, sources: Places, block: Register, tile: tuple[TileAxis, TileAxis], outputs: tuple[int, int]
    ) -> Outputs:
        """So many outputs of a tile for a block of output channels, with the bias."""
        builder, tiling = self.builder, self.tiling
        down, right = tile
        height, width = down.points, right.points
        lines, points = kept_points(height, tiling.height.points), kept_points(width, tiling.width.points)
        sources = sources.moved(builder.opaque)
        upright, level = finite_points(height, tiling.height.points), finite_points(width, tiling.width.points)
        by_column: list[list[Value]] = []
        for point in points:
            source = self._place(sources, point)
            distances = [(line * tiling.width.points + point) * tiling.product_step for line in lines]
            values: list[Value] = [self._vector(source, distance) for distance in distances]
            by_column.append(transform_output(builder, values, down.outputs, upright))
        bias = self._bias(block)
        results: Outputs = {}
        for row in range(outputs[0]):
            finished = transform_output(builder, [values[row] for values in by_column], right.outputs, level, bias)
            inside = enumerate(finished[: outputs[1]])
            results |= {(row, column): value for column, value in inside if value is not None}
        return results

    def _bias(self, block: Register) -> Value:
        """Of a block of output channels."""
        if self.bias is None:
            return None
        dtype = self.tiling.problem.numerics.right
        start = self.builder.offset(self.bias, self.builder.scaled(block, self.tiling.lanes), dtype)
        return self._vector(start, 0, dtype)

    def _finish(self, results: Outputs, image: Register, block: Register, start: Sequence[Register]) -> None:
        """Apply the epilogue to outputs of a tile, counted from the position `start` on, then store them."""
        emitter, tiling, problem = self.emitter, self.tiling, self.tiling.problem
        lane = Variable("lane", tiling.lanes)
        n, outputs = Variable("n", problem.batch), Variable("block", tiling.output_blocks)
        axes = [Variable(f"s{number}", extent) for number, extent in enumerate(tiling.positions)]
        emitter.values.update(zip([n, outputs, *axes, lane], [image, block, *start, i64(0)], strict=True))
        with emitter.scope():
            finished = []
            for shifts, value in results.items():
                spatial: list[Dim] = [
                    expression(axis) + shift * along.dilation
                    for axis, shift, along in zip(axes, shifts, problem.axes, strict=True)
                ]
                index = problem.position(expression(n), expression(outputs), spatial, expression(lane))
                finished.append(self.epilogue.apply(emitter, value, index, Lane(lane, value.lanes)))
            for value, address in finished:
                with emitter.in_lanes(Lane(lane, tiling.lanes)):
                    emitter.store(value, self.output, address, self.epilogue.dtype)
