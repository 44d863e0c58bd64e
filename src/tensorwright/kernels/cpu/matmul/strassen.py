"""Writes the tasks of a product with seven products of quarters: see `quarters`.

A task is a block of rows times a panel of columns. Workspace holds the left factors of the seven products for one block
of rows, made when the first of its panels comes; the sums of one panel, finished when all products are added; and the
right factor of one product where it is not stored: the first tile of rows makes it and leaves it to the other tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.graph.expression import Variable
from tensorwright.kernels.cpu.arithmetic import MultiplyAdd
from tensorwright.kernels.cpu.matmul.grid import is_between
from tensorwright.kernels.cpu.matmul.left import LeftFactors, Rows
from tensorwright.kernels.cpu.matmul.loops import LATENCY
from tensorwright.kernels.cpu.matmul.quarters import (
    ADDED_TO,
    AHEAD,
    FORMED,
    MINUENDS,
    PRODUCTS,
    SPREAD_AFTER,
    STORED,
    SUBTRAHENDS,
    WRITTEN_TO,
    Piece,
    Quarters,
)
from tensorwright.kernels.cpu.matmul.sums import Sums
from tensorwright.kernels.cpu.matmul.tile import LINE_BYTES, Ahead, Difference, Factor, Tile, TileEmitter
from tensorwright.kernels.cpu.rows.epilogue import RowEpilogue
from tensorwright.tensor.dim import Dim, ceil_divide, expression
from tensorwright.tensor.dtype import INT64

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
        left = LeftFactors(emitter, quarters, self.a, self.workspace)
        with builder.loop(Register("%begin", INT64), Register("%end", INT64), carried=[NO_BLOCK]) as loop:
            emitter.values[task] = loop.index
            with emitter.scope():
                count = quarters.panels.count
                emitter.values[block] = emitter.integer(expression(task) // count)
                rows = self._rows(expression(block))
                with emitter.when(builder.compare("ne", emitter.values[block], loop.carried[0])):
                    left.write(rows)
                self._panels(rows, expression(task) % count)
                reached = emitter.values[block]
            loop.following = [reached]

    def _rows(self, block: Dim) -> Rows:
        emitter, split = self.emitter, self.quarters.blocks
        half = Variable("half", self.quarters.half_rows + 1)
        size = split.size(block)
        emitter.values[half] = emitter.integer(ceil_divide(size, 2))
        known = {(size + 1) // 2 for size in self.quarters.block_sizes}
        return Rows(split.start(block), size, known.pop() if len(known) == 1 else expression(half))

    def _at(self, base: Pointer, elements: Register | int) -> Pointer:
        return self.emitter.builder.offset(base, elements, self.quarters.total)

    def _panels(self, rows: Rows, panel: Dim) -> None:
        emitter, panels = self.emitter, self.quarters.panels
        for kind, start, stop in panels.kinds:
            everything = start == 0 and stop == panels.count
            inside = None if everything else is_between(emitter, start, panel, stop)
            with emitter.when(inside):
                first = panels.first_vector(panel) * panels.lanes
                sums = self._sums
                sums.clear(rows, kind.vectors)
                self._products(rows, first, kind.vectors, sums)
                sums.finish(rows, first, kind.vectors)

    @property
    def _sums(self) -> Sums:
        start = self._at(self.workspace, PRODUCTS * self.quarters.factor_elements)
        return Sums(self.emitter, self.epilogue, self.quarters, start, self.output)

    # ---- products

    def _products(self, rows: Rows, first: Dim, vectors: int, sums: Sums) -> None:
        """Add all products of a panel that starts at a column of the left half to the sums."""
        builder, emitter, quarters = self.builder, self.emitter, self.quarters
        size = quarters.half_depth * vectors * quarters.lanes
        panel = self._at(self.b, emitter.integer(first * quarters.half_depth * STORED))
        kept = self._at(self.workspace, quarters.workspace - quarters.formed_elements)
        with builder.loop(0, PRODUCTS, at_least_once=True) as loop:
            number = loop.index
            with emitter.scope():
                left = self._at(self.workspace, builder.scaled(number, quarters.factor_elements))
                piece, other, following = (
                    self._piece(panel, pieces, number, size) for pieces in (MINUENDS, SUBTRAHENDS, AHEAD)
                )
                places = (sums.buffer(builder.entry(ADDED_TO, number)), sums.buffer(builder.entry(WRITTEN_TO, number)))
                tiles = Tiles(emitter, quarters, rows, vectors, left, places, following)
                formed = self._is_formed(number)
                with builder.when(formed), emitter.scope():
                    tiles.write_first(Difference(piece, tiles.width, is_padded=True, subtrahend=other, kept=kept))
                done = builder.convert("zext", formed, INT64)
                tiles.write(done, Factor(self._either(formed, kept, piece), tiles.width, is_padded=True))
                with builder.when(Term(builder, number).equals(SPREAD_AFTER).register):
                    sums.spread(rows, vectors)

    def _piece(self, panel: Pointer, pieces: Sequence[Piece], product: Register, size: int) -> Pointer:
        builder = self.builder
        return self._at(panel, builder.scaled(builder.entry(pieces, product), size))

    def _is_formed(self, product: Register) -> Register:
        number = Term(self.builder, product)
        return (number.at_least(FORMED.start) & number.less(FORMED.stop)).register

    def _either(self, condition: Register, then: Pointer, otherwise: Pointer) -> Pointer:
        name = self.builder.fresh("p")
        self.builder.emit(f"{name} = select {condition.typed}, ptr {then.text}, ptr {otherwise.text}")
        return Pointer(name)


@dataclass(frozen=True)
class Tiles:
    """Writes one product of half a block of rows, in workspace from `left` on, with a panel `vectors` wide.

    places: where the sums are that it is added to, and where they go. following: what is read after this product.
    """

    emitter: ScalarEmitter
    quarters: Quarters
    rows: Rows
    vectors: int
    left: Pointer
    places: tuple[Pointer, Pointer]
    following: Pointer

    def _at(self, base: Pointer, elements: Register | int) -> Pointer:
        return self.emitter.builder.offset(base, elements, self.quarters.total)

    @property
    def width(self) -> Register:
        return i64(self.vectors * self.quarters.lanes)

    def write_first(self, right: Factor) -> None:
        """The first tile of rows alone."""
        self._tile(0, self.quarters.first_heights, right)

    def write(self, done: Register, right: Factor) -> None:
        """All tiles of rows but the first `done`."""
        emitter, builder = self.emitter, self.emitter.builder
        tile = Variable("tile", self.quarters.half_rows)
        with builder.loop(done, emitter.integer(self.quarters.tiles(self.rows.half).count)) as loop:
            emitter.values[tile] = loop.index
            with emitter.scope():
                self._tile(expression(tile), self.quarters.heights, right)

    def _tile(self, tile: Dim, heights: Sequence[int], right: Factor) -> None:
        builder, emitter, quarters = self.emitter.builder, self.emitter, self.quarters
        split = quarters.tiles(self.rows.half)
        start = split.start(tile)
        a = builder.opaque(self._at(self.left, emitter.integer(start * quarters.row_step)))
        distance = emitter.integer(start * (self.vectors * quarters.lanes))
        source, destination = (self._at(buffer, distance) for buffer in self.places)
        ahead = self._ahead(tile)
        height = None if len(heights) == 1 else emitter.integer(split.size(tile))
        for count in heights:
            test = None if height is None else builder.compare("eq", height, count)
            with builder.when(test):
                sums = self._reduced(count, a, right, ahead)
                for number, value in enumerate(sums):
                    place = number * quarters.lanes
                    before = builder.load(self._at(source, place), self.quarters.total, quarters.lanes)
                    builder.store(builder.add(value, before), self._at(destination, place), self.quarters.total)

    def _reduced(self, height: int, a: Pointer, right: Factor, ahead: Ahead) -> list[Register]:
        quarters, vectors = self.quarters, self.vectors
        splits = 1
        while splits < UNROLL and splits * height * vectors < LATENCY:
            splits *= 2
        tile = Tile(height, vectors, MultiplyAdd(quarters.numerics.widened, quarters.lanes), UNROLL, splits)
        left = Factor(a, i64(1), i64(quarters.row_step))
        fetched = [ahead, self._next_rows(a, height)]
        emitter = TileEmitter(self.emitter.builder, tile, left, right, [None] * vectors, fetched)
        depth = quarters.half_depth
        return [value for row in emitter.reduce(i64(depth), depth) for value in row]

    def _next_rows(self, a: Pointer, height: int) -> Ahead:
        """The rows of the next tile, or of the next left factor, which follow in memory."""
        lines = ceil(height * UNROLL * self.quarters.total.size / LINE_BYTES)
        return Ahead(self._at(a, height * self.quarters.row_step), lines, self.quarters.total)

    def _ahead(self, tile: Dim) -> Ahead:
        """A tile's share of what is read after this product."""
        quarters = self.quarters
        lines = UNROLL * self.vectors * quarters.lanes * self.quarters.total.size / LINE_BYTES
        share = max(1, ceil(lines / quarters.usual_tiles))
        elements = share * LINE_BYTES // self.quarters.total.size // UNROLL
        distance = self.emitter.integer(tile * (elements * quarters.half_depth))
        return Ahead(self._at(self.following, distance), share, self.quarters.total)
