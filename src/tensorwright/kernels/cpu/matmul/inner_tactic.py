"""Products of rows with rows, such as queries with keys: both factors are read as they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.expression import Variable
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.function import argument_emitter
from tensorwright.kernels.cpu.matmul.batches import (
    batched_grid,
    batched_kernel,
    matrix_of_batch,
    packed_bytes,
    write_panel,
)
from tensorwright.kernels.cpu.matmul.grid import Grid, GridOptions, Place, grid_at, grid_options
from tensorwright.kernels.cpu.matmul.inner import AT_ONCE, InnerTile
from tensorwright.kernels.cpu.rows.epilogue import RowEpilogue, row_epilogue
from tensorwright.kernels.matmul.problem import Operand, Problem, problem_of
from tensorwright.kernels.tactic import TUNED, Config, Kernel, Tactic, plain_inputs
from tensorwright.tensor.dim import Dim, bounds, ceil_divide, expression, minimum, product, tuning_value
from tensorwright.tensor.layout import PLAIN

FEW = 4
"""Rows of a that are multiplied without packing."""
EFFICIENCY = {(True, True): 0.95, (True, False): 0.8, (False, True): 1.05, (False, False): 1.01}
"""By whether b is constant and whether rows are few, the share of what other products reach that is assumed."""


class InnerProducts(Tactic[Target, GridOptions]):
    """Up to `FEW` rows of a: inner products with the rows of b, vectors running along them, nothing is packed and b is
    read once. More rows: panels of b are packed into workspace first. An unknown number of rows decides at run time.

    Where more rows than that are usual and b is constant, there is one config: `PackedMatMul` has such panels without
    packing them in every call.
    """

    name = "matmul_inner"

    def configs(self, region: Region, target: Target) -> Sequence[Config[GridOptions]]:
        problem = problem_of(region)
        if problem is None or problem.a.transposed or not problem.b.transposed or problem.columns == 1:
            return []
        if problem.numerics.is_integer:
            return []
        if not isinstance(problem.depth, int) or problem.depth < target.lanes(problem.numerics.total):
            return []
        if bounds(_rows(problem))[0] > FEW and not problem.is_linear:
            return []
        make, plain = partial(batched_grid, problem, target), plain_inputs(region)
        found = [Config(plain, PLAIN, options) for options in grid_options(make, problem.columns, target)]
        return found[:1] if problem.is_linear and tuning_value(_rows(problem)) > FEW else found

    def efficiency(self, region: Region, config: Config[GridOptions]) -> float:
        problem = problem_of(region)
        assert problem is not None
        return TUNED * EFFICIENCY[problem.is_linear, tuning_value(_rows(problem)) <= FEW]

    def emit(self, region: Region, config: Config[GridOptions], target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        grid = grid_at(partial(batched_grid, problem, target), config.options)
        emitter = argument_emitter(len(region.inputs), region.symbols, target)
        epilogue = row_epilogue(region, target.lanes(problem.numerics.total))
        grid.write(emitter, _Writer(problem, grid, emitter, epilogue).write)
        packs = bounds(_rows(problem))[1] > FEW
        return batched_kernel(region, config, emitter, grid, packed_bytes(problem, grid) if packs else 0)


TACTICS = (InnerProducts(),)


def _rows(problem: Problem) -> Dim:
    """Rows of a that meet one matrix b."""
    return product([*problem.batch, problem.rows]) if problem.shares_right else problem.rows


@dataclass(frozen=True)
class _Writer:
    problem: Problem
    grid: Grid
    emitter: ScalarEmitter
    epilogue: RowEpilogue

    def write(self, place: Place) -> None:
        """Write the work on a panel for few rows, for many, or for both."""
        emitter, rows = self.emitter, _rows(self.problem)
        low, high = bounds(rows)
        if low <= FEW:
            with emitter.when(self._compared("sle", rows) if high > FEW else None):
                self._vectors(place)
        if high > FEW:
            with emitter.when(self._compared("sgt", rows) if low <= FEW else None):
                write_panel(self.problem, self.grid, emitter, self.epilogue, True, place)

    def _compared(self, relation: str, rows: Dim) -> Register:
        return self.emitter.builder.compare(relation, self.emitter.integer(rows), FEW)

    def _vectors(self, place: Place) -> None:
        """Write the loop over the vectors of columns of a panel."""
        emitter, builder, panels, column = self.emitter, self.emitter.builder, self.grid.panels, self.epilogue.column
        first, vector = panels.first_vector(place.panel) * panels.lanes, Variable("vector", panels.most)
        columns = minimum(panels.columns - first, place.kind.vectors * panels.lanes)
        with builder.loop(0, emitter.integer(ceil_divide(columns, panels.lanes))) as loop:
            emitter.values[vector] = loop.index
            with emitter.scope():
                emitter.values[column] = emitter.integer(first + expression(vector) * panels.lanes)
                ends = place.kind.is_open or place.kind.masked
                extent = emitter.integer(panels.columns)
                self._tiles(place, emitter.tail_mask(extent, emitter.values[column], panels.lanes) if ends else None)

    def _tiles(self, place: Place, mask: Register | None) -> None:
        """Write the loop over the tiles of rows that meet a vector of columns."""
        emitter, builder, tiles = self.emitter, self.emitter.builder, self.grid.tiles
        tile, row = Variable("tile", tiles.count), Variable("row", tiles.batches * tiles.rows)
        with builder.loop(emitter.integer(place.piece[0]), emitter.integer(place.piece[1])) as loop:
            emitter.values[tile] = loop.index
            with emitter.scope():
                emitter.values[row] = emitter.integer(tiles.first_row(expression(tile)))
                height = emitter.integer(tiles.height(expression(tile)))
                for rows in filter(FEW.__ge__, tiles.heights):
                    with emitter.when(builder.compare("eq", height, rows)):
                        self._tile(rows, expression(row), place.batch, mask)

    def _tile(self, rows: int, first: Dim, batch: Dim, mask: Register | None) -> None:
        """Some rows of a and a vector of columns."""
        problem, numerics = self.problem, self.problem.numerics
        a = [self._row(problem.a, batch, first + number) for number in range(rows)]
        parts = []
        for start in range(0, self.epilogue.lanes, AT_ONCE):
            b = self._columns(start, batch, ends=mask is not None)
            depth, lanes, builder = problem.depth, self.epilogue.lanes, self.emitter.builder
            assert isinstance(depth, int)
            parts.append(InnerTile(builder, numerics, lanes, depth, a, b).sums())
        for number, sums in enumerate(zip(*parts, strict=True)):
            row = batch * problem.rows + first + number
            self.epilogue.store(self.emitter, Pointer("%out"), [self._joined(sums)], row, [mask])

    def _columns(self, start: int, batch: Dim, *, ends: bool) -> list[Pointer]:
        """Rows of b from a lane on; where columns may end among them, the last one stands for those behind it."""
        columns: list[Dim] = [expression(self.epilogue.column) + start + number for number in range(AT_ONCE)]
        if ends:
            columns = [minimum(column, self.problem.columns - 1) for column in columns]
        return [self._row(self.problem.b, batch, column) for column in columns]

    def _row(self, operand: Operand, batch: Dim, number: Dim) -> Pointer:
        emitter, depth = self.emitter, self.problem.depth
        start = matrix_of_batch(self.problem, operand, emitter, batch)
        return emitter.builder.offset(start, emitter.integer(number * depth), operand.value.type.dtype)

    def _joined(self, parts: Sequence[Register]) -> Register:
        """Short vectors side by side in one."""
        builder, found = self.emitter.builder, list(parts)
        while len(found) > 1:
            lanes = range(2 * found[0].lanes)
            found = [builder.shuffle(a, b, lanes) for a, b in zip(found[::2], found[1::2], strict=True)]
        return found[0]
