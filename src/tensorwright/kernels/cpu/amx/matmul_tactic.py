"""Products with a constant right factor in tile registers: linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.scalar import ScalarEmitter, lane_mask
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import Variable
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.amx.arithmetic import TileArithmetic, tile_arithmetic
from tensorwright.kernels.cpu.amx.block import SHAPES, Ahead, Rows, TileBlock
from tensorwright.kernels.cpu.amx.registers import CONFIGURATION_BYTES, ROW_BYTES, ROWS, TILE_BYTES
from tensorwright.kernels.cpu.amx.unfinished import STATE_BYTES, Unfinished
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.matmul.grid import Grid, Place
from tensorwright.kernels.cpu.matmul.loops import panel_masks
from tensorwright.kernels.cpu.matmul.shapes import task_groups
from tensorwright.kernels.cpu.matmul.tiling import Panel, Panels, RowTiles
from tensorwright.kernels.cpu.rows.epilogue import RowEpilogue, row_epilogue
from tensorwright.kernels.matmul.problem import Problem, problem_of
from tensorwright.kernels.tactic import TUNED, Array, Config, Kernel, Packing, Tactic, TacticOptions, plain_inputs
from tensorwright.tensor.dim import Dim, expression, tuning_value, upper_bound
from tensorwright.tensor.dtype import INT8
from tensorwright.tensor.layout import PLAIN

RATE = 8
"""How many times faster than multiply-adds of vectors tile registers are taken to be where nobody measures."""


@dataclass(frozen=True)
class TileOptions(TacticOptions):
    """tall, wide: registers of rows and of columns in a block; groups: tasks among which the blocks of a panel are
    dealt.
    """

    tall: int
    wide: int
    groups: int


class TileMatMul(Tactic[Target, TileOptions]):
    """Panels of b, packed as registers read them, stay in the caches; blocks of rows of a go past them.

    Rows of a are read as they lie; what is left of them behind whole registers is brought into workspace before. The
    sums pass through workspace, too, where the epilogue reads them.
    """

    name = "matmul_tiles"

    def configs(self, region: Region, target: Target) -> Sequence[Config[TileOptions]]:
        problem = problem_of(region)
        if problem is None or not problem.is_linear or tile_arithmetic(problem.numerics, target) is None:
            return []
        if not isinstance(problem.columns, int) or not isinstance(problem.depth, int) or problem.a.column_step != 1:
            return []
        if problem.columns == 1:
            return []
        plain, options = plain_inputs(region), dict.fromkeys(_options(problem, problem.columns, target))
        return [Config(plain, PLAIN, each) for each in options]

    def efficiency(self, region: Region, config: Config[TileOptions]) -> float:
        return TUNED * RATE

    def emit(self, region: Region, config: Config[TileOptions], target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        assert isinstance(problem.columns, int)
        arithmetic = tile_arithmetic(problem.numerics, target)
        assert arithmetic is not None
        grid, symbols = _grid(problem, problem.columns, config.options), region.symbols
        emitter = argument_emitter(len(region.inputs), symbols, target)
        emitter.builder.flushes = True
        block = TileBlock(emitter.builder, arithmetic, config.options.tall, config.options.wide)
        writer = _Writer(problem, grid, emitter, row_epilogue(region, ROWS), block)
        writer.write()
        packings: list[Packing | None] = [None] * len(region.inputs)
        packings[problem.b.number] = _packing(grid.panels, arithmetic, transposed=problem.b.transposed)
        return Kernel(
            text=emitter.builder.module(signature(len(region.inputs), len(symbols)), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=grid.tasks,
            writes=grid.writes,
            packings=tuple(packings),
            symbols=symbols,
            workspace=writer.workspace_bytes,
        )


TACTICS = (TileMatMul(),)


def _options(problem: Problem, columns: int, target: Target) -> Sequence[TileOptions]:
    found = []
    for tall, wide in SHAPES:
        options = TileOptions(tall, min(wide, -(-columns // ROWS)), 1)
        grid = _grid(problem, columns, options)
        blocks = max(1, tuning_value(grid.blocks))
        tiles = max(1, tuning_value(grid.tiles.count) // blocks)
        units = blocks * max(1, tuning_value(grid.panels.count))
        found.append(TileOptions(tall, options.wide, task_groups(tiles, units, target)))
    return found


def _grid(problem: Problem, columns: int, options: TileOptions) -> Grid:
    most = options.tall * ROWS
    return Grid(1, RowTiles(*problem.all_rows(most), most), Panels(columns, ROWS, options.wide), options.groups)


def _packing(panels: Panels, arithmetic: TileArithmetic, *, transposed: bool) -> Packing:
    """Panel after panel, each as `TileArithmetic.packed` has it; columns are filled up with zeros."""
    edges = [upper_bound(panels.first_vector(panel)) * ROWS for panel in range(upper_bound(panels.count) + 1)]

    def pack(array: Array) -> Array:
        matrix: Array = array.reshape(array.shape[-2:])
        matrix = matrix.T if transposed else matrix
        padded = np.pad(matrix, ((0, 0), (0, -matrix.shape[-1] % ROWS)))
        return np.concatenate([arithmetic.packed(padded[:, a:b]) for a, b in pairwise(edges)])

    name = f"tiles in panels of {panels.most} {arithmetic.numerics.right}{' transposed' if transposed else ''}"
    return Packing(name, pack)


@dataclass(frozen=True)
class _Writer:
    """Writes the body of a kernel. Workspace: a table for the registers, what is unfinished, sums, the ends of rows.

    Blocks of the most frequent kind of panel are finished while the next block of the kind is multiplied.
    """

    problem: Problem
    grid: Grid
    emitter: ScalarEmitter
    epilogue: RowEpilogue
    block: TileBlock

    @property
    def depth(self) -> int:
        return upper_bound(self.problem.depth)

    @property
    def whole_steps(self) -> int:
        """Registers along the reduction that rows of a fill."""
        return self.depth // self.block.arithmetic.depth

    @property
    def end(self) -> int:
        """Elements of a row behind those."""
        return self.depth % self.block.arithmetic.depth

    @property
    def step_bytes(self) -> int:
        return self.depth * self.block.arithmetic.bits.size

    @property
    def height(self) -> int | None:
        """How many rows all blocks have; None if they differ."""
        tiles = self.grid.tiles
        if not isinstance(tiles.rows, int) or len(tiles.heights) > 1:
            return None
        return max(tiles.heights)

    @property
    def most_rows(self) -> int:
        """Rows of the tallest block."""
        return self.block.tall * ROWS

    @property
    def unfinished(self) -> Unfinished:
        return Unfinished(self.emitter.builder, self._workspace(CONFIGURATION_BYTES))

    @property
    def sums(self) -> Pointer:
        return self._workspace(CONFIGURATION_BYTES + STATE_BYTES)

    @property
    def ends(self) -> Pointer:
        return self._workspace(CONFIGURATION_BYTES + STATE_BYTES + self.block.bytes)

    def _workspace(self, distance: int) -> Pointer:
        return self.emitter.builder.offset(Pointer("%workspace"), distance, INT8)

    @property
    def workspace_bytes(self) -> int:
        ends = self.block.tall * TILE_BYTES if self.end else 0
        return CONFIGURATION_BYTES + STATE_BYTES + self.block.bytes + ends

    def write(self) -> None:
        if self.height is not None:
            self._configure(i64(self.height))
        self.unfinished.clear()
        self.grid.write(self.emitter, self._panel)
        self._finish_waiting(i64(0), self.unfinished.rows)
        self.block.registers.release()

    def _configure(self, height: Register) -> None:
        self.block.configure(Pointer("%workspace"), self.block.split(height)[1])

    def _panel(self, place: Place) -> None:
        """The blocks of rows of a task past a panel of b."""
        emitter, builder, tiles, steps = self.emitter, self.emitter.builder, self.grid.tiles, self._steps
        first, waits = self.grid.panels.first_vector(place.panel), place.kind == self._waiting
        panel = builder.offset(
            emitter.operands[self.problem.b.number], emitter.integer(first * (steps * TILE_BYTES)), INT8
        )
        if not waits:
            self._finish_waiting(i64(0), self.unfinished.rows)
            self.unfinished.clear()
        tile, row = Variable("tile", tiles.count), Variable("row", tiles.batches * tiles.rows)
        with emitter.loop(emitter.integer(place.piece[0]), emitter.integer(place.piece[1])) as loop:
            emitter.values[tile] = loop.index
            emitter.values[row] = emitter.integer(tiles.first_row(expression(tile)))
            height = emitter.integer(tiles.height(expression(tile)) if self.height is None else self.height)
            if self.height is None:
                self._configure(height)
            ahead = self._ahead(panel, expression(tile), place.kind.vectors)
            self._sum(emitter.values[row], height, panel, place.kind, ahead)
            column = emitter.integer(first * ROWS)
            if waits:
                self.unfinished.set(height, emitter.values[row], column)
            else:
                self._finish(place.kind, emitter.values[row], column, (i64(0), height))

    @property
    def _waiting(self) -> Panel:
        """The kind of panels whose blocks wait to be finished."""
        return self.grid.panels.usual

    def _finish_waiting(self, begin: Register, end: Register) -> None:
        """Finish some rows of the block that waits."""
        row, column = self.unfinished.fact(0), self.unfinished.fact(1)
        self._finish(self._waiting, row, column, (begin, end))

    @property
    def _steps(self) -> int:
        return self.block.arithmetic.steps(self.depth)

    def _ahead(self, panel: Pointer, tile: Dim, columns: int) -> Ahead | None:
        """The part of the next panel that a block fetches; one block alone would fetch as fast as it reads."""
        share = -(-tuning_value(self.grid.tiles.count) // max(1, tuning_value(self.grid.blocks)))
        if share < 2:
            return None
        following = self.emitter.builder.offset(panel, self._steps * columns * TILE_BYTES, INT8)
        return self.block.ahead(following, self.emitter.integer(tile % share), self._steps, share, columns)

    def _sum(self, row: Register, height: Register, panel: Pointer, kind: Panel, ahead: Ahead | None) -> None:
        builder, block, firsts = self.emitter.builder, self.block, self.block.split(height)[0]
        columns = kind.vectors
        a = builder.offset(self.emitter.operands[self.problem.a.number], builder.scaled(row, self.step_bytes), INT8)
        if self.end:
            self._bring_ends(a, height)
        starts = [builder.offset(a, builder.scaled(first, self.step_bytes), INT8) for first in firsts]
        block.clear()
        if self.whole_steps:
            with builder.loop(0, self.whole_steps, at_least_once=True) as loop:
                block.fetch(ahead, loop.index)
                distance = builder.scaled(loop.index, ROW_BYTES)
                rows = [Rows(builder.offset(start, distance, INT8), self.step_bytes) for start in starts]
                right = builder.offset(panel, builder.scaled(loop.index, columns * TILE_BYTES), INT8)
                block.step(rows, right, columns)
                self._meanwhile(kind, loop.index, self.whole_steps)
        if self.end:
            rows = [
                Rows(builder.offset(self.ends, builder.scaled(first, ROW_BYTES), INT8), ROW_BYTES) for first in firsts
            ]
            block.step(rows, builder.offset(panel, self.whole_steps * columns * TILE_BYTES, INT8), columns)
            if not self.whole_steps:
                self._meanwhile(kind, i64(0), 1)
        block.store(self.sums, firsts, columns)

    def _meanwhile(self, kind: Panel, step: Register, steps: int) -> None:
        """Finish a step's piece of the block that waits."""
        if kind == self._waiting:
            self._finish_waiting(*self.unfinished.piece(step, -(-self.most_rows // steps)))

    def _bring_ends(self, a: Pointer, height: Register) -> None:
        """Bring what rows have behind whole registers into workspace, with zeros behind it."""
        builder, arithmetic = self.emitter.builder, self.block.arithmetic
        bits, lanes = arithmetic.bits, arithmetic.depth
        a = builder.offset(a, self.whole_steps * ROW_BYTES, INT8)
        with builder.loop(0, height) as loop:
            source = builder.offset(a, builder.scaled(loop.index, self.step_bytes), INT8)
            value = builder.masked_load(source, lane_mask(self.end, lanes), literal(0, bits, lanes), bits)
            builder.store(value, builder.offset(self.ends, builder.scaled(loop.index, ROW_BYTES), INT8), bits)

    def _finish(self, kind: Panel, first: Register, column: Register, piece: tuple[Register, Register]) -> None:
        """Run the epilogue over some rows of a block that has its first row and column there."""
        emitter, tiles = self.emitter, self.grid.tiles
        start, within = Variable("start", tiles.batches * tiles.rows), Variable("within", self.most_rows)
        emitter.values.update({start: first, self.epilogue.column: column})
        with emitter.scope():
            masks = panel_masks(emitter, self.epilogue, kind)
            with emitter.loop(*piece) as loop:
                emitter.values[within] = loop.index
                sums = self.block.row(self.sums, loop.index, kind.vectors)
                row = expression(start) + expression(within)
                self.epilogue.store(emitter, Pointer("%out"), sums, row, masks)
