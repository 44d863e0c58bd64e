"""Writes the loops of attention: tasks, blocks of rows, and the three stages on each block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tensorwright.codegen.scalar import ScalarEmitter, lane_mask
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.graph.expression import Variable
from tensorwright.kernels.attention.problem import Factor, Problem
from tensorwright.kernels.cpu.arithmetic import Arithmetic, MultiplyAdd
from tensorwright.kernels.cpu.attention.rows import RowPowers, ScaledRows, ScoreRows
from tensorwright.kernels.cpu.matmul import tile
from tensorwright.kernels.cpu.matmul.loops import LeftMatrix, TileLoop
from tensorwright.kernels.cpu.matmul.pack import PanelPacker
from tensorwright.kernels.cpu.matmul.tiling import Panel, Panels, RowTiles, part_of
from tensorwright.kernels.cpu.rows.epilogue import row_epilogue
from tensorwright.kernels.cpu.rows.normalise import Row
from tensorwright.kernels.cpu.rows.vectors import RowVectors
from tensorwright.kernels.numerics import FLOAT_TOTAL, Numerics
from tensorwright.tensor.dim import Dim, expression, is_static, minimum, tuning_value, upper_bound
from tensorwright.tensor.dtype import INT64, DType

UNROLL = 4
MOST_FETCHED = 8
"""Cache lines of a row, and rows, that are fetched ahead for one row."""


@dataclass(frozen=True)
class AttentionTiling:
    """How an attention is computed: `tiles` of rows, of which `block` have their scores in workspace at a time, the
    columns of both products in panels, the tiles of each batch dealt out to `groups` tasks.
    """

    problem: Problem
    lanes: int
    tiles: RowTiles
    block: int
    scores: Panels
    result: Panels
    groups: int

    @property
    def total(self) -> DType:
        """The type in which all is computed, and lies in workspace."""
        return FLOAT_TOTAL

    @property
    def tasks(self) -> Dim:
        return self.problem.batches * self.groups

    @property
    def columns(self) -> int:
        """The most columns of the scores, rounded up to whole vectors; to whole panels if their number is unknown."""
        unit = self.lanes if is_static(self.problem.columns) else self.lanes * self.scores.most
        return -(-upper_bound(self.problem.columns) // unit) * unit

    @property
    def vectors(self) -> Dim:
        """Vectors of a row of scores; lanes beyond its columns are -inf."""
        return self.columns // self.lanes if is_static(self.problem.columns) else self.scores.count * self.scores.most

    @property
    def width(self) -> int:
        """Columns of the result, rounded up to whole vectors."""
        return -(-self.problem.width // self.lanes) * self.lanes

    @property
    def pieces(self) -> tuple[int, ...]:
        """Elements of workspace for k, v, the scores of a block and of one more row, and a number for each row."""
        problem, rows = self.problem, self.block * self.tiles.most
        return problem.depth * self.columns, upper_bound(problem.columns) * self.width, (rows + 1) * self.columns, rows

    @property
    def workspace(self) -> int:
        return sum(self.pieces) * self.total.size


@dataclass(frozen=True)
class AttentionWriter:
    tiling: AttentionTiling
    emitter: ScalarEmitter

    def write(self) -> None:
        """Write the loop over the tasks. Tasks of one batch that follow each other share its packed k and v."""
        tiling, emitter, builder = self.tiling, self.emitter, self.emitter.builder
        begin = Register("%begin", INT64)
        with builder.loop(begin, Register("%end", INT64)) as loop:
            task, batch = Variable("task", tiling.tasks), Variable("batch", tiling.problem.batches)
            emitter.values[task] = loop.index
            with emitter.scope():
                number = expression(task)
                emitter.values[batch] = emitter.integer(number // tiling.groups)
                part = number % tiling.groups
                opening = builder.compare("eq", loop.index, begin)
                fresh = builder.compare("eq", emitter.integer(part), 0)
                with builder.when(builder.binary("or", opening, fresh)), emitter.scope():
                    self._pack(expression(batch))
                count = tiling.tiles.count
                self._blocks(
                    expression(batch), part_of(count, tiling.groups, part), part_of(count, tiling.groups, part + 1)
                )

    def _arithmetic(self, left: DType) -> Arithmetic:
        """For a left factor of some type in memory; right ones lie packed in workspace."""
        total = self.tiling.total
        return MultiplyAdd(Numerics(left, total, total, total), self.tiling.lanes)

    def _offset(self, base: Pointer, elements: Register | int) -> Pointer:
        """A place in workspace."""
        return self.emitter.builder.offset(base, elements, self.tiling.total)

    def _blocks(self, batch: Dim, first: Dim, last: Dim) -> None:
        tiling, emitter, builder = self.tiling, self.emitter, self.emitter.builder
        start = Variable("block", tiling.tiles.count)
        with builder.loop(emitter.integer(first), emitter.integer(last), tiling.block) as loop:
            emitter.values[start] = loop.index
            with emitter.scope():
                end = minimum(expression(start) + tiling.block, last)
                rows = tiling.tiles.split.start(expression(start)), tiling.tiles.split.start(end)
                tiles = expression(start), end
                self._scores(batch, tiles, rows[0])
                self._softmax(batch, rows)
                self._result(batch, tiles, rows[0])

    def _scores(self, batch: Dim, tiles: tuple[Dim, Dim], first: Dim) -> None:
        tiling, emitter, problem = self.tiling, self.emitter, self.tiling.problem
        whole = row_epilogue(problem.scores, tiling.lanes)
        epilogue = ScoreRows(whole.epilogue, tiling.lanes, batch * problem.rows + first, tiling.columns, tiling.total)
        left = LeftMatrix(self._matrix(problem.q, batch), problem.q.row_step, problem.q.column_step)
        loop = TileLoop(
            emitter,
            epilogue,
            self._workspace(2),
            self._arithmetic(problem.q.dtype),
            problem.depth,
            UNROLL,
            tiling.scores.widest,
        )
        for panel, right in self._panels(tiling.scores, epilogue.column, problem.depth, self._workspace(0)):
            loop.run(tiling.tiles, tiles, left, right, panel, batch * problem.rows)

    def _softmax(self, batch: Dim, rows: tuple[Dim, Dim]) -> None:
        """Make powers of the scores; the maximum of each row is found while the row before is written."""
        tiling, emitter, builder = self.tiling, self.emitter, self.emitter.builder
        vectors = tiling.vectors if isinstance(tiling.vectors, int) else emitter.integer(tiling.vectors)
        powers = RowPowers(
            RowVectors(builder, tiling.total, tiling.lanes), vectors, tiling.scores.most, tiling.problem.replaces_nan
        )
        scores = self._workspace(2)
        with builder.loop(
            0, emitter.integer(rows[1] - rows[0]), 1, [powers.largest(scores)], at_least_once=True
        ) as loop:
            number = Variable("row", tiling.problem.rows)
            emitter.values[number] = loop.index
            with emitter.scope():
                self._fetch_ahead(batch, rows[0] + expression(number), rows[1] + expression(number))
            row = self._offset(scores, builder.scaled(loop.index, tiling.columns))
            following = powers.largest(self._offset(row, tiling.columns))
            inverse = powers.write(row, loop.carried[0], self._powers_of(loop.index))
            builder.store(inverse, self._offset(self._workspace(3), loop.index), tiling.total)
            loop.following = [following]

    def _powers_of(self, number: Register) -> Row:
        """Where the powers of a row of the block lie: in place of the scores."""
        start = self._offset(self._workspace(2), self.emitter.builder.scaled(number, self.tiling.columns))
        return Row(start, self.tiling.total)

    def _fetch_ahead(self, batch: Dim, row: Dim, later: Dim) -> None:
        """Ask for a later row of q, and for the share of one row in k and v of the next batch."""
        problem = self.tiling.problem
        self._fetch(problem.q, batch, later)
        for factor, along in ((problem.k, -1), (problem.v, -2)):
            share = -(-tuning_value(problem.columns) // max(1, tuning_value(problem.rows)))
            for number in range(min(share, MOST_FETCHED)):
                self._fetch(factor, batch + 1, row * share + number, along)

    def _fetch(self, factor: Factor, batch: Dim, number: Dim, along: int = -2) -> None:
        """Ask for what lies at an index of one of the two axes of a matrix, if it is contiguous."""
        builder, other = self.emitter.builder, -3 - along
        extent = factor.shape[other]
        if factor.steps[other] != 1 or not isinstance(extent, int):
            return
        line, dtype = tile.LINE_BYTES // factor.dtype.size, factor.dtype
        start = builder.offset(self._matrix(factor, batch), self.emitter.integer(number * factor.steps[along]), dtype)
        for element in range(0, min(extent, MOST_FETCHED * line), line):
            builder.prefetch(builder.offset(start, element, dtype))

    def _result(self, batch: Dim, tiles: tuple[Dim, Dim], first: Dim) -> None:
        tiling, emitter, problem = self.tiling, self.emitter, self.tiling.problem
        whole = row_epilogue(problem.result, tiling.lanes, problem.output_steps)
        epilogue = ScaledRows(
            whole.epilogue, tiling.lanes, self._workspace(3), batch * problem.rows + first, tiling.total
        )
        left = self._weights(first)
        loop = TileLoop(
            emitter,
            epilogue,
            Pointer("%out"),
            self._arithmetic(tiling.total),
            problem.columns,
            UNROLL,
            tiling.result.widest,
        )
        for panel, right in self._panels(tiling.result, epilogue.column, problem.columns, self._workspace(1)):
            loop.run(tiling.tiles, tiles, left, right, panel, batch * problem.rows)

    def _weights(self, first: Dim) -> LeftMatrix:
        """The powers as the left factor of a block whose first row is given: row 0 would lie before them."""
        back = self.emitter.integer(first * -self.tiling.columns)
        return LeftMatrix(self._offset(self._workspace(2), back), self.tiling.columns, 1)

    def _panels(
        self, panels: Panels, column: Variable, depth: Dim, packed: Pointer
    ) -> Iterator[tuple[Panel, tile.Factor]]:
        """Open a loop over the panels of each kind; inside, the packed panel."""
        emitter = self.emitter
        for kind, number in self._each_kind(panels):
            first = panels.first_vector(expression(number)) * panels.lanes
            emitter.values[column] = emitter.integer(first)
            yield kind, self._factor(packed, first, depth, kind)

    def _factor(self, packed: Pointer, first: Dim, depth: Dim, kind: Panel) -> tile.Factor:
        """A panel, as it is packed, that starts with a column of the whole."""
        start = self._offset(packed, self.emitter.integer(first * depth))
        return tile.Factor(start, i64(kind.vectors * self.tiling.lanes), is_padded=True)

    def _each_kind(self, panels: Panels) -> Iterator[tuple[Panel, Variable]]:
        emitter, builder = self.emitter, self.emitter.builder
        for kind, start, stop in panels.kinds:
            number = Variable("panel", panels.count)
            known = is_static(start) and is_static(stop)
            with builder.loop(emitter.integer(start), emitter.integer(stop), at_least_once=known) as loop:
                emitter.values[number] = loop.index
                with emitter.scope():
                    yield kind, number

    def _pack(self, batch: Dim) -> None:
        tiling, problem = self.tiling, self.tiling.problem
        self._pack_factor(problem.k, batch, problem.depth, tiling.scores, self._workspace(0))
        self._pack_factor(problem.v, batch, problem.columns, tiling.result, self._workspace(1))

    def _pack_factor(self, factor: Factor, batch: Dim, depth: Dim, panels: Panels, destination: Pointer) -> None:
        emitter, builder = self.emitter, self.emitter.builder
        column = Variable("column", panels.columns)
        source, dtype = self._matrix(factor, batch), factor.dtype
        plain = factor.column_step == 1
        step = emitter.integer(factor.row_step if plain else factor.column_step)
        for panel, right in self._panels(panels, column, depth, destination):
            start = builder.offset(source, emitter.integer(expression(column) * factor.column_step), dtype)
            left = emitter.integer(panels.columns - expression(column))
            masks = self._masks(panel, panels.lanes, left)
            packer = PanelPacker(
                builder,
                dtype,
                self.tiling.total,
                start,
                step,
                depth if isinstance(depth, int) else emitter.integer(depth),
                panel,
                panels.lanes,
                right.start,
                masks,
                left if panel.is_open else None,
            )
            (packer.copy if plain else packer.transpose)()

    def _matrix(self, factor: Factor, batch: Dim) -> Pointer:
        """Where the matrix of one batch starts."""
        index: list[Dim] = []
        for position, extent in reversed(list(enumerate(self.tiling.problem.batch))):
            index.insert(0, batch % extent if position else batch)
            batch = batch // extent
        start = self.emitter.integer(factor.offset(index))
        return self.emitter.builder.offset(self.emitter.operands[factor.number], start, factor.dtype)

    def _workspace(self, piece: int) -> Pointer:
        return self._offset(Pointer("%workspace"), sum(self.tiling.pieces[:piece]))

    def _masks(self, panel: Panel, lanes: int, left: Register) -> list[Register | None]:
        """For every vector of a panel the lanes that are columns, of which `left` are left; None for all of them."""
        masks: list[Register | None] = [None] * panel.vectors
        if panel.is_open:
            firsts = [i64(number * lanes) for number in range(panel.vectors)]
            return [self.emitter.tail_mask(left, first, lanes) for first in firsts]
        if panel.masked:
            masks[-1] = lane_mask(panel.masked, lanes)
        return masks
