"""Writes the tasks of a product with seven products of quarters: see `quarters`.

A task is a block of rows times a panel of columns. Workspace holds the left factors of the seven products for one block
of rows, made when the first of its panels comes, and the sums of one panel, finished when all products are added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from tensorwright.codegen.ir import FunctionBuilder, Pointer, Register, literal
from tensorwright.codegen.scalar import ScalarEmitter, lane_mask
from tensorwright.graph.expression import Variable
from tensorwright.kernels.matmul.loops import LATENCY
from tensorwright.kernels.matmul.quarters import (
    ADDED_TO,
    BOTTOM,
    CLEARED,
    PRODUCTS,
    SPREAD_AFTER,
    TOP,
    WRITTEN_TO,
    Buffer,
    Quarters,
)
from tensorwright.kernels.matmul.tile import LINE_BYTES, Ahead, Factor, Tile, TileEmitter
from tensorwright.kernels.rows.epilogue import RowEpilogue
from tensorwright.tensor.dim import Dim, bounds, ceil_divide, expression
from tensorwright.tensor.dtype import FLOAT32, INT64

UNROLL = 4
NO_BLOCK = -1


@dataclass(frozen=True)
class Strassen:
    """Writes a product; `a` and `b` are its factors, the second one packed by `Quarters.pack`."""

    emitter: ScalarEmitter
    epilogue: RowEpilogue
    quarters: Quarters
    a: Pointer
    b: Pointer
    output: Pointer
    workspace: Pointer

    @property
    def builder(self) -> FunctionBuilder:
        return self.emitter.builder

    def write(self) -> None:
        """Write the loop over the tasks."""
        builder, emitter, quarters = self.builder, self.emitter, self.quarters
        task, block = Variable("task", quarters.tasks), Variable("block", quarters.blocks.count)
        loop = builder.begin_loop(
            Register("%begin", INT64), Register("%end", INT64), carried=[literal(NO_BLOCK, INT64)]
        )
        emitter.values[task] = loop.index
        with emitter.scope():
            count = quarters.panels.count
            emitter.values[block] = emitter.integer(expression(task) // count)
            rows = self._rows(expression(block))
            label = builder.begin_if(builder.compare("ne", emitter.values[block], loop.carried[0]))
            with emitter.scope():
                self._combine(rows)
            builder.end_if(label)
            self._panels(rows, expression(task) % count)
            reached = emitter.values[block]
        builder.end_loop(loop, [reached])

    def _rows(self, block: Dim) -> Rows:
        emitter, cut = self.emitter, self.quarters.blocks
        half = Variable("half", self.quarters.half_rows + 1)
        size = cut.size(block)
        emitter.values[half] = emitter.integer(ceil_divide(size, 2))
        known = {(size + 1) // 2 for size in self.quarters.block_sizes}
        return Rows(cut.start(block), size, known.pop() if len(known) == 1 else expression(half))

    # ---- left factors

    def _combine(self, rows: Rows) -> None:
        """Make the left factors of all products for a block of rows."""
        builder, emitter, quarters = self.builder, self.emitter, self.quarters
        row = Variable("row", quarters.half_rows)
        loop = builder.begin_loop(literal(0, INT64), emitter.integer(rows.half))
        emitter.values[row] = loop.index
        with emitter.scope():
            depth = quarters.depth
            upper = builder.offset(self.a, emitter.integer((rows.start + expression(row)) * depth), FLOAT32)
            lower = builder.offset(self.a, emitter.integer((rows.lower + expression(row)) * depth), FLOAT32)
            out = builder.offset(self.workspace, emitter.integer(expression(row) * quarters.row_step), FLOAT32)
            left, lanes = quarters.half_depth, quarters.lanes
            whole = (depth - left) // lanes * lanes
            if whole:
                step = builder.begin_loop(literal(0, INT64), literal(whole, INT64), lanes)
                self._combine_vectors(upper, lower, out, step.index, lanes, lanes)
                builder.end_loop(step)
            if left > whole:
                self._combine_vectors(upper, lower, out, literal(whole, INT64), left - whole, depth - left - whole)
        builder.end_loop(loop)

    def _combine_vectors(
        self, upper: Pointer, lower: Pointer, out: Pointer, column: Register, left: int, right: int
    ) -> None:
        """One vector of each factor; so many of its lanes are elements in the left and in the right quarters."""
        builder, half = self.builder, self.quarters.half_depth
        (a11, a12), (a21, a22) = [
            (
                self._load(builder.offset(row, column, FLOAT32), left),
                self._load(builder.offset(builder.offset(row, half, FLOAT32), column, FLOAT32), right),
            )
            for row in (upper, lower)
        ]
        s1 = builder.add(a21, a22)
        s2 = builder.sub(s1, a11)
        factors = (a11, a12, s2, builder.sub(a11, a21), s1, a22, builder.sub(a12, s2))
        place = builder.offset(out, column, FLOAT32)
        for number, factor in enumerate(factors):
            builder.store(factor, builder.offset(place, number * self.quarters.factor_elements, FLOAT32), FLOAT32)

    def _load(self, place: Pointer, count: int) -> Register:
        lanes = self.quarters.lanes
        if count == lanes:
            return self.builder.load(place, FLOAT32, lanes)
        zero = literal(0.0, FLOAT32, lanes)
        return self.builder.masked_load(place, lane_mask(count, lanes), zero, FLOAT32) if count else zero

    # ---- products

    def _panels(self, rows: Rows, panel: Dim) -> None:
        builder, emitter, panels = self.builder, self.emitter, self.quarters.panels
        for kind, start, stop in panels.kinds:
            everything = start == 0 and stop == panels.count
            label = None if everything else self._begin_if_between(start, panel, stop)
            with emitter.scope():
                first = panels.first_vector(panel) * panels.lanes
                self._products(rows, first, kind.vectors)
                self._finish(rows, first, kind.vectors)
            if label is not None:
                builder.end_if(label)

    def _begin_if_between(self, start: Dim, number: Dim, stop: Dim) -> str:
        builder, integer = self.builder, self.emitter.integer
        above = builder.compare("sge", integer(number), integer(start))
        below = builder.compare("slt", integer(number), integer(stop))
        return builder.begin_if(builder.binary("and", above, below))

    def _products(self, rows: Rows, first: Dim, vectors: int) -> None:
        """Add all products of a panel that starts at a column of the left half to the buffers."""
        builder, emitter, quarters = self.builder, self.emitter, self.quarters
        size = quarters.half_depth * vectors * quarters.lanes
        for buffer in CLEARED:
            self._over_buffers(rows, vectors, self._clearing(self._buffer(buffer)))
        panel = builder.offset(self.b, emitter.integer(first * quarters.half_depth * PRODUCTS), FLOAT32)
        loop = builder.begin_loop(literal(0, INT64), literal(PRODUCTS, INT64), at_least_once=True)
        left = builder.offset(
            self.workspace, builder.mul(loop.index, literal(quarters.factor_elements, INT64)), FLOAT32
        )
        right = builder.offset(panel, builder.mul(loop.index, literal(size, INT64)), FLOAT32)
        with emitter.scope():
            added, written = self._listed(ADDED_TO, loop.index), self._listed(WRITTEN_TO, loop.index)
            self._tiles(rows, left, right, added, written, vectors)
            label = builder.begin_if(builder.compare("eq", loop.index, literal(SPREAD_AFTER, INT64)))
            self._over_buffers(rows, vectors, self._spread)
            builder.end_if(label)
        builder.end_loop(loop)

    def _tiles(self, rows: Rows, left: Pointer, right: Pointer, added: Pointer, written: Pointer, vectors: int) -> None:
        """Multiply half a block of rows with a panel."""
        builder, emitter, quarters = self.builder, self.emitter, self.quarters
        cut = quarters.tiles(rows.half)
        tile = Variable("tile", ceil_divide(quarters.half_rows, 1))
        loop = builder.begin_loop(literal(0, INT64), emitter.integer(cut.count))
        emitter.values[tile] = loop.index
        with emitter.scope():
            start = cut.start(expression(tile))
            a = builder.offset(left, emitter.integer(start * quarters.row_step), FLOAT32)
            place = emitter.integer(start * (vectors * quarters.lanes))
            ahead = self._ahead(right, expression(tile), vectors)
            heights = quarters.heights
            height = None if len(heights) == 1 else emitter.integer(cut.size(expression(tile)))
            for count in heights:
                test = None if height is None else builder.compare("eq", height, literal(count, INT64))
                label = None if test is None else builder.begin_if(test)
                source, destination = (builder.offset(buffer, place, FLOAT32) for buffer in (added, written))
                sums = self._reduced(count, vectors, a, right, ahead)
                for number, value in enumerate(sums):
                    distance = number * quarters.lanes
                    before = builder.load(builder.offset(source, distance, FLOAT32), FLOAT32, quarters.lanes)
                    builder.store(builder.add(value, before), builder.offset(destination, distance, FLOAT32), FLOAT32)
                if label is not None:
                    builder.end_if(label)
        builder.end_loop(loop)

    def _reduced(self, height: int, vectors: int, a: Pointer, b: Pointer, ahead: Ahead) -> list[Register]:
        quarters = self.quarters
        splits = 1
        while splits < UNROLL and splits * height * vectors < LATENCY:
            splits *= 2
        tile = Tile(height, vectors, quarters.lanes, UNROLL, splits)
        left = Factor(a, literal(1, INT64), literal(quarters.row_step, INT64))
        right = Factor(b, literal(vectors * quarters.lanes, INT64), is_padded=True)
        emitter = TileEmitter(self.builder, tile, left, right, [None] * vectors, [ahead, self._next_rows(a, height)])
        depth = quarters.half_depth
        return [value for row in emitter.reduce(literal(depth, INT64), depth) for value in row]

    def _next_rows(self, a: Pointer, height: int) -> Ahead:
        """The rows of the next tile, or of the next left factor, which follow in memory."""
        lines = ceil(height * UNROLL * FLOAT32.size / LINE_BYTES)
        return Ahead(self.builder.offset(a, height * self.quarters.row_step, FLOAT32), lines)

    def _ahead(self, right: Pointer, tile: Dim, vectors: int) -> Ahead:
        """A tile's share of the next right factor, which follows this one in memory."""
        builder, quarters = self.builder, self.quarters
        following = builder.offset(right, quarters.half_depth * vectors * quarters.lanes, FLOAT32)
        lines = UNROLL * vectors * quarters.lanes * FLOAT32.size / LINE_BYTES
        share = max(1, ceil(lines / quarters.usual_tiles))
        elements = share * LINE_BYTES // FLOAT32.size // UNROLL
        distance = self.emitter.integer(tile * (elements * quarters.half_depth))
        return Ahead(builder.offset(following, distance, FLOAT32), share)

    # ---- buffers

    def _buffer(self, number: int) -> Pointer:
        quarters = self.quarters
        distance = PRODUCTS * quarters.factor_elements + number * quarters.buffer_elements
        return self.builder.offset(self.workspace, distance, FLOAT32)

    def _listed(self, buffers: Sequence[Buffer], product: Register) -> Pointer:
        """The buffer that a list names for a product: the list is a number with four bits for each entry."""
        builder = self.builder
        digits = literal(sum(buffer << 4 * place for place, buffer in enumerate(buffers)), INT64)
        shifted = builder.binary("lshr", digits, builder.mul(product, literal(4, INT64)))
        number = builder.binary("and", shifted, literal(15, INT64))
        distance = builder.mul(number, literal(self.quarters.buffer_elements, INT64))
        return builder.offset(self._buffer(0), distance, FLOAT32)

    def _over_buffers(self, rows: Rows, vectors: int, body: Callable[[Register], None]) -> None:
        """A loop over all vectors of a buffer in use; `body` gets the distance of one."""
        builder, lanes = self.builder, self.quarters.lanes
        loop = builder.begin_loop(literal(0, INT64), self.emitter.integer(rows.half * (vectors * lanes)), lanes)
        body(loop.index)
        builder.end_loop(loop)

    def _clearing(self, buffer: Pointer) -> Callable[[Register], None]:
        builder, zero = self.builder, literal(0.0, FLOAT32, self.quarters.lanes)
        return lambda distance: builder.store(zero, builder.offset(buffer, distance, FLOAT32), FLOAT32)

    def _spread(self, distance: Register) -> None:
        builder, lanes = self.builder, self.quarters.lanes
        x, y, d = (builder.offset(self._buffer(b), distance, FLOAT32) for b in (Buffer.X, Buffer.Y, Buffer.D))
        product = builder.load(d, FLOAT32, lanes)
        builder.store(builder.add(builder.load(x, FLOAT32, lanes), product), x, FLOAT32)
        builder.store(builder.add(builder.load(y, FLOAT32, lanes), product), d, FLOAT32)

    # ---- result

    def _finish(self, rows: Rows, first: Dim, vectors: int) -> None:
        """Run the epilogue over the sums of a panel. The middle row of an odd number belongs to the upper half."""
        self._finish_half(rows.start, 0, rows.half, TOP, first, vectors)
        self._finish_half(rows.lower, 2 * rows.half - rows.size, rows.half, BOTTOM, first, vectors)

    def _finish_half(
        self, start: Dim, begin: Dim, end: Dim, buffers: Sequence[Buffer], first: Dim, vectors: int
    ) -> None:
        builder, emitter, quarters = self.builder, self.emitter, self.quarters
        row = Variable("row", quarters.half_rows)
        loop = builder.begin_loop(emitter.integer(begin), emitter.integer(end))
        emitter.values[row] = loop.index
        with emitter.scope():
            distance = emitter.integer(expression(row) * (vectors * quarters.lanes))
            for buffer, column in zip(buffers, (first, first + quarters.half_columns), strict=True):
                place = builder.offset(self._buffer(buffer), distance, FLOAT32)
                self._finish_vectors(place, start + expression(row), column, vectors)
        builder.end_loop(loop)

    def _finish_vectors(self, place: Pointer, row: Dim, column: Dim, vectors: int) -> None:
        """Run the epilogue over a row of a panel, the last columns of the product perhaps ending within it."""
        emitter, builder, lanes = self.emitter, self.builder, self.quarters.lanes
        with emitter.scope():
            emitter.values[self.epilogue.column] = emitter.integer(column)
            places = [builder.offset(place, number * lanes, FLOAT32) for number in range(vectors)]
            values = [builder.load(each, FLOAT32, lanes) for each in places]
            self.epilogue.store(emitter, self.output, values, row, self._masks(column, vectors))

    def _masks(self, column: Dim, vectors: int) -> list[Register | None]:
        """The lanes that are columns: all of them, but where the right half ends."""
        emitter, quarters = self.emitter, self.quarters
        lanes, (_, most) = quarters.lanes, bounds(column)
        if most + vectors * lanes <= quarters.columns:
            return [None] * vectors
        end = literal(quarters.columns, INT64)
        return [emitter.tail_mask(end, emitter.integer(column + number * lanes), lanes) for number in range(vectors)]


@dataclass(frozen=True)
class Rows:
    """A block of rows: its first one, how many there are, and how many are in a half."""

    start: Dim
    size: Dim
    half: Dim

    @property
    def lower(self) -> Dim:
        """The first row of the lower half."""
        return self.start + self.size - self.half
