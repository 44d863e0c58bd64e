"""Attention whose products are computed in tile registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tensorwright.codegen.scalar import lane_mask
from tensorwright.codegen.target import Target
from tensorwright.codegen.term import Term
from tensorwright.codegen.transpose import transposed
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import Variable
from tensorwright.graph.region import Region
from tensorwright.kernels.attention.problem import Problem, known, problem_of
from tensorwright.kernels.cpu.amx.arithmetic import tile_arithmetic
from tensorwright.kernels.cpu.amx.block import Rows, TileBlock
from tensorwright.kernels.cpu.amx.matmul_tactic import RATE
from tensorwright.kernels.cpu.amx.registers import CONFIGURATION_BYTES, ROW_BYTES, ROWS, TILE_BYTES
from tensorwright.kernels.cpu.attention.kernel import attention_kernel
from tensorwright.kernels.cpu.attention.rows import ScaledRows, ScoreRows
from tensorwright.kernels.cpu.attention.write import AttentionTiling, AttentionWriter
from tensorwright.kernels.cpu.function import argument_emitter
from tensorwright.kernels.cpu.matmul.loops import panel_masks
from tensorwright.kernels.cpu.matmul.shapes import task_groups
from tensorwright.kernels.cpu.matmul.tiling import Panel, Panels, RowTiles
from tensorwright.kernels.cpu.rows.epilogue import RowEpilogue, row_epilogue
from tensorwright.kernels.cpu.rows.normalise import Row
from tensorwright.kernels.numerics import FLOAT_TOTAL, Numerics
from tensorwright.kernels.tactic import TUNED, Config, Kernel, Tactic, TacticOptions, plain_inputs
from tensorwright.tensor.dim import Dim, expression, tuning_value, upper_bound
from tensorwright.tensor.dtype import BFLOAT16, INT8, INT16, INT32
from tensorwright.tensor.layout import PLAIN

TALL, WIDE = 2, 2
"""Registers of rows and of columns in a block."""


@dataclass(frozen=True)
class TileAttentionOptions(TacticOptions):
    """groups: tasks of each batch."""

    groups: int


class TileAttention(Tactic[Target, TileAttentionOptions]):
    """k and v are packed once for each batch; then, for 32 rows at a time, scores, their softmax, and its product with
    v, for which powers are rounded to bfloat16.
    """

    name = "attention_tiles"
    joins = True

    def configs(self, region: Region, target: Target) -> Sequence[Config[TileAttentionOptions]]:
        problem = known(problem_of(region, (BFLOAT16,)))
        arithmetic = tile_arithmetic(Numerics(BFLOAT16, BFLOAT16, FLOAT_TOTAL, BFLOAT16), target)
        if problem is None or arithmetic is None or problem.depth % arithmetic.depth:
            return []
        if problem.q.column_step != 1 or problem.k.row_step != 1 or problem.v.column_step != 1:
            return []
        count, batches = -(-problem.rows // (TALL * ROWS)), max(1, tuning_value(problem.batches))
        options = {TileAttentionOptions(groups) for groups in (1, task_groups(count, batches, target))}
        plain = plain_inputs(region)
        configs = [Config(plain, PLAIN, each) for each in sorted(options, key=lambda each: -each.groups)]
        return [config for config in configs if _tiling(problem, config.options).workspace <= target.l2_bytes]

    def efficiency(self, region: Region, config: Config[TileAttentionOptions]) -> float:
        return TUNED * RATE

    def emit(self, region: Region, config: Config[TileAttentionOptions], target: Target) -> Kernel:
        problem = known(problem_of(region, (BFLOAT16,)))
        arithmetic = tile_arithmetic(Numerics(BFLOAT16, BFLOAT16, FLOAT_TOTAL, BFLOAT16), target)
        assert problem is not None
        assert arithmetic is not None
        tiling = _tiling(problem, config.options)
        emitter = argument_emitter(len(region.inputs), region.symbols, target)
        emitter.builder.flushes = True
        TileAttentionWriter(tiling, emitter, TileBlock(emitter.builder, arithmetic, TALL, WIDE)).write()
        return attention_kernel(region, config, tiling, emitter)


TACTICS = (TileAttention(),)


def _tiling(problem: Problem, options: TileAttentionOptions) -> TileTiling:
    scores, result = Panels(problem.columns, ROWS, WIDE), Panels(problem.width, ROWS, WIDE)
    return TileTiling(problem, ROWS, RowTiles(1, problem.rows, TALL * ROWS), 1, scores, result, options.groups)


@dataclass(frozen=True)
class TileTiling(AttentionTiling):
    """An attention of known rows and columns in blocks of tile registers."""

    @property
    def depth_of_step(self) -> int:
        """Elements of a reduction in one register."""
        return ROW_BYTES // BFLOAT16.size

    @property
    def score_steps(self) -> int:
        """Registers along the depth."""
        return self.problem.depth // self.depth_of_step

    @property
    def result_steps(self) -> int:
        """Registers along the columns of the scores."""
        return -(-self.columns // self.depth_of_step)

    @property
    def powers(self) -> int:
        """Powers of a row, rounded up to whole registers."""
        return self.result_steps * self.depth_of_step

    @property
    def pieces(self) -> tuple[int, ...]:
        """Elements of workspace for k, v, the scores of a block and of one more row, a number for each row, the powers
        of a block, its sums, and the table of registers.
        """
        rows, size = self.tiles.most, self.total.size
        tile = TILE_BYTES // size
        return (
            self.columns // self.lanes * self.score_steps * tile,
            self.width // self.lanes * self.result_steps * tile,
            (rows + 1) * self.columns,
            rows,
            rows * self.result_steps * ROW_BYTES // size,
            TALL * WIDE * tile,
            CONFIGURATION_BYTES // size,
        )


@dataclass(frozen=True)
class TileAttentionWriter(AttentionWriter):
    """Rows of a block are counted from its first one on, in scores, powers and sums."""

    tiling: TileTiling
    block: TileBlock

    @property
    def _powers(self) -> Pointer:
        return self._workspace(4)

    @property
    def _sums(self) -> Pointer:
        return self._workspace(5)

    @property
    def _height(self) -> int | None:
        """How many rows all blocks have; None if they differ."""
        heights = self.tiling.tiles.heights
        return heights[0] if len(heights) == 1 else None

    def write(self) -> None:
        if self._height is not None:
            self._configure(i64(self._height))
        super().write()
        self.block.registers.release()

    def _configure(self, height: Register) -> None:
        self.block.configure(self._workspace(6), self.block.split(height)[1])

    # ---- packing

    def _pack(self, batch: Dim) -> None:
        problem, tiling = self.tiling.problem, self.tiling
        k, v = self._matrix(problem.k, batch), self._matrix(problem.v, batch)
        columns = upper_bound(problem.columns)

        def keys(vector: Register, count: int) -> None:
            with self.emitter.loop(0, tiling.score_steps) as loop:
                place = self._tile(self._workspace(0), vector, loop.index, tiling.score_steps)
                self._pack_keys(k, place, vector, loop.index, count)

        def values(vector: Register, count: int) -> None:
            def step(number: Register, rows: int) -> None:
                place = self._tile(self._workspace(1), vector, number, tiling.result_steps)
                self._pack_values(v, place, vector, number, rows, count)

            self._each(columns, tiling.depth_of_step, step)

        self._each(columns, ROWS, keys)
        self._each(problem.width, ROWS, values)

    def _each(self, extent: int, size: int, body: Callable[[Register, int], None]) -> None:
        """`body` for all parts of a size, with their number, and for what is left."""
        whole, rest = divmod(extent, size)
        if whole:
            with self.emitter.loop(0, whole) as loop:
                body(loop.index, size)
        if rest:
            body(i64(whole), rest)

    def _tile(self, base: Pointer, vector: Register, step: Register, steps: int) -> Pointer:
        """Where a packed register lies: those of a vector of columns one after another."""
        number = Term(self.emitter.builder, vector) * steps + Term(self.emitter.builder, step)
        return self.emitter.builder.offset(base, (number * TILE_BYTES).register, INT8)

    def _pack_keys(self, k: Pointer, place: Pointer, vector: Register, step: Register, count: int) -> None:
        """Pairs of the depth of so many columns: a square of pairs, transposed."""
        builder, factor = self.emitter.builder, self.tiling.problem.k
        column_step = self.emitter.integer(factor.column_step)
        start = builder.offset(k, builder.mul(builder.scaled(vector, ROWS), column_step), factor.dtype)
        start = builder.offset(start, builder.scaled(step, ROW_BYTES), INT8)
        places = [builder.offset(start, builder.scaled(column_step, number), factor.dtype) for number in range(count)]
        columns = [builder.load(each, INT32, ROWS, alignment=factor.dtype.size) for each in places]
        columns += [literal(0, INT32, ROWS)] * (ROWS - count)
        for number, row in enumerate(transposed(builder, columns)):
            builder.store(row, builder.offset(place, number * ROW_BYTES, INT8), INT32)

    def _pack_values(self, v: Pointer, place: Pointer, vector: Register, step: Register, rows: int, count: int) -> None:
        """Pairs of rows, so many of them, of so many columns; zeros behind."""
        builder, factor = self.emitter.builder, self.tiling.problem.v
        row_step = self.emitter.integer(factor.row_step)
        start = builder.offset(v, builder.scaled(vector, ROWS), factor.dtype)
        first = builder.scaled(step, self.tiling.depth_of_step)
        start = builder.offset(start, builder.mul(first, row_step), factor.dtype)

        def row(number: int) -> Register:
            zero = literal(0, INT16, ROWS)
            if number >= rows:
                return literal(0, INT32, ROWS)
            at = builder.offset(start, builder.scaled(row_step, number), factor.dtype)
            mask = lane_mask(count, ROWS)
            bits = builder.load(at, INT16, ROWS) if count == ROWS else builder.masked_load(at, mask, zero, INT16)
            return builder.convert("zext", bits, INT32)

        for pair in range(ROWS):
            high = builder.binary("shl", row(2 * pair + 1), 16)
            both = builder.binary("or", row(2 * pair), high)
            builder.store(both, builder.offset(place, pair * ROW_BYTES, INT8), INT32)

    # ---- the products

    def _scores(self, batch: Dim, tiles: tuple[Dim, Dim], first: Dim) -> None:
        tiling, emitter, problem = self.tiling, self.emitter, self.tiling.problem
        builder, row = emitter.builder, batch * problem.rows + first
        height = emitter.integer(tiling.tiles.height(tiles[0]) if self._height is None else self._height)
        if self._height is None:
            self._configure(height)
        whole = row_epilogue(problem.scores, tiling.lanes)
        epilogue = ScoreRows(whole.epilogue, tiling.lanes, row, tiling.columns, tiling.total)
        step = builder.scaled(emitter.integer(problem.q.row_step), problem.q.dtype.size)
        q = builder.offset(self._matrix(problem.q, batch), builder.mul(emitter.integer(first), step), INT8)
        right = self._workspace(0), tiling.score_steps
        self._product(tiling.scores, (q, step), right, height, partial(self._finish, epilogue, self._workspace(2), row))

    def _softmax(self, batch: Dim, rows: tuple[Dim, Dim]) -> None:
        """Powers have zeros behind them, up to a whole register."""
        super()._softmax(batch, rows)
        tiling, builder = self.tiling, self.emitter.builder
        if tiling.powers > tiling.columns:
            zero = literal(0.0, tiling.total, tiling.lanes)
            with builder.loop(0, self.emitter.integer(rows[1] - rows[0]), at_least_once=True) as loop:
                end = builder.offset(self._powers_of(loop.index).start, tiling.columns, BFLOAT16)
                builder.store(zero, end, BFLOAT16)

    def _powers_of(self, number: Register) -> Row:
        place = self.emitter.builder.scaled(number, self.tiling.powers)
        return Row(self.emitter.builder.offset(self._powers, place, BFLOAT16), BFLOAT16)

    def _result(self, batch: Dim, tiles: tuple[Dim, Dim], first: Dim) -> None:
        tiling, emitter, problem = self.tiling, self.emitter, self.tiling.problem
        row = batch * problem.rows + first
        height = emitter.integer(tiling.tiles.height(tiles[0]) if self._height is None else self._height)
        whole = row_epilogue(problem.result, tiling.lanes, problem.output_steps)
        epilogue = ScaledRows(whole.epilogue, tiling.lanes, self._workspace(3), row, tiling.total)
        left = self._powers, i64(tiling.result_steps * ROW_BYTES)
        right = self._workspace(1), tiling.result_steps
        self._product(tiling.result, left, right, height, partial(self._finish, epilogue, Pointer("%out"), row))

    def _product(
        self,
        panels: Panels,
        left: tuple[Pointer, Register],
        right: tuple[Pointer, int],
        height: Register,
        finish: Callable[[Register, Panel, Dim], None],
    ) -> None:
        """A block of rows, of which the first and the bytes from one to the next are given, by packed columns, each of
        so many registers; `finish` gets the sums of each panel.
        """
        emitter, builder, block = self.emitter, self.emitter.builder, self.block
        (start, step), (packed, steps), firsts = left, right, block.split(height)[0]
        lefts = [builder.offset(start, builder.mul(first, step), INT8) for first in firsts]
        for kind, number in self._each_kind(panels):
            vector = panels.first_vector(expression(number))
            columns = self._tile(packed, emitter.integer(vector), i64(0), steps)
            block.clear()
            with builder.loop(0, steps, at_least_once=True) as loop:
                distance = builder.scaled(loop.index, ROW_BYTES)
                rows = [Rows(builder.offset(each, distance, INT8), step) for each in lefts]
                place = builder.offset(columns, builder.scaled(loop.index, TILE_BYTES), INT8)
                block.step(rows, place, kind.vectors, steps * TILE_BYTES)
            block.store(self._sums, firsts, kind.vectors)
            finish(height, kind, vector * ROWS)

    def _finish(
        self, epilogue: RowEpilogue, output: Pointer, row: Dim, height: Register, kind: Panel, column: Dim
    ) -> None:
        """Run an epilogue over the sums of a panel."""
        emitter, within = self.emitter, Variable("within", self.tiling.tiles.most)
        emitter.values[epilogue.column] = emitter.integer(column)
        masks = panel_masks(emitter, epilogue, kind)
        with emitter.loop(0, height) as loop:
            emitter.values[within] = loop.index
            sums = self.block.row(self._sums, loop.index, kind.vectors)
            epilogue.store(emitter, output, sums, row + expression(within), masks)
