"""The tasks of a matrix product: batches × blocks of rows × panels of columns × groups of tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Register
from tensorwright.graph.expression import Variable
from tensorwright.kernels.cpu.arithmetic import MOST_REGISTERS
from tensorwright.kernels.cpu.matmul.shapes import task_groups, tile_shapes
from tensorwright.kernels.cpu.matmul.tiling import Panel, Panels, RowTiles, part_of
from tensorwright.kernels.slabs import MOST_TASKS, DealtAxis, Slabs, slabs_along
from tensorwright.kernels.tactic import TacticOptions
from tensorwright.tensor.dim import Dim, ceil_divide, expression, is_static, minimum, tuning_value, upper_bound
from tensorwright.tensor.dtype import INT64

BLOCK_ROWS = 256
"""Rows of a that one pass over all panels shares, so that they stay in the second-level cache."""

TALLEST_OF_UNKNOWN = 8
"""Rows of the tiles of an unknown number of rows: there is code for every height up to it."""


@dataclass(frozen=True)
class Place:
    """What a task computes: tiles from ``piece[0]`` up to, not including, ``piece[1]`` of a panel of a batch."""

    kind: Panel
    panel: Dim
    piece: tuple[Dim, Dim]
    batch: Dim


@dataclass(frozen=True)
class Grid:
    """How one product, or each of `batches` products, is split into tiles of rows, panels of columns, and tasks."""

    batches: Dim
    tiles: RowTiles
    panels: Panels
    groups: int

    @property
    def blocks(self) -> Dim:
        return ceil_divide(self.tiles.batches * self.tiles.rows, BLOCK_ROWS)

    @property
    def tasks(self) -> Dim:
        return self.batches * self.blocks * self.panels.count * self.groups

    @property
    def writes(self) -> Slabs | None:
        """What each task writes of a row-major result."""
        tiles, count, blocks = self.tiles, self.panels.count, self.blocks
        if not (isinstance(tiles.count, int) and isinstance(count, int) and isinstance(blocks, int)):
            return None
        if upper_bound(self.tasks) > MOST_TASKS:
            return None
        lanes, columns, parts = self.panels.lanes, self.panels.columns, blocks * self.groups
        edges = [upper_bound(tiles.first_row(part_of(tiles.count, parts, part))) for part in range(parts + 1)]
        rows = list(pairwise(edges))
        panels = [upper_bound(minimum(self.panels.first_vector(p) * lanes, columns)) for p in range(count + 1)]
        of_task = [
            rows[block * self.groups + g] for block in range(blocks) for _ in range(count) for g in range(self.groups)
        ]
        found = slabs_along(
            (self.batches, tiles.batches * tiles.rows, columns),
            [(0, upper_bound(self.batches)), (1, tuple(of_task))],
        )
        if found is None or count == 1:
            return found
        return replace(found, dealt=(*found.dealt, DealtAxis(2, tuple(pairwise(panels)), self.groups)))

    def write(self, emitter: ScalarEmitter, write_panel: Callable[[Place], None]) -> None:
        """Write the loop over the tasks; `write_panel` writes the work on one kind of panel."""
        builder, count = emitter.builder, self.panels.count
        with builder.loop(Register("%begin", INT64), Register("%end", INT64)) as loop:
            task, panel, batch = Variable("task", self.tasks), Variable("panel", count), Variable("batch", self.batches)
            emitter.values[task] = loop.index
            with emitter.scope():
                number = expression(task)
                emitter.values[panel] = emitter.integer(number // self.groups % count)
                emitter.values[batch] = emitter.integer(number // (self.blocks * count * self.groups))
                block = number // (self.groups * count) % self.blocks
                part, parts = block * self.groups + number % self.groups, self.blocks * self.groups
                piece = part_of(self.tiles.count, parts, part), part_of(self.tiles.count, parts, part + 1)
                for kind, start, stop in self.panels.kinds:
                    everything = start == 0 and stop == count
                    inside = None if everything else is_between(emitter, start, expression(panel), stop)
                    of_batch = 0 if self.batches == 1 else expression(batch)
                    with emitter.when(inside):
                        write_panel(Place(kind, expression(panel), piece, of_batch))


def is_between(emitter: ScalarEmitter, start: Dim, number: Dim, stop: Dim) -> Register:
    """Whether a number lies in ``range(start, stop)``."""
    builder, register = emitter.builder, emitter.integer(number)
    above = builder.compare("sge", register, emitter.integer(start))
    below = builder.compare("slt", register, emitter.integer(stop))
    return builder.binary("and", above, below)


@dataclass(frozen=True)
class GridOptions(TacticOptions):
    """rows, vectors: the largest tile; groups: tasks among which the tiles of a panel are dealt."""

    rows: int
    vectors: int
    groups: int


def grid_options(
    make: Callable[[int, int, int], Grid], columns: Dim, target: Target, sums: Sequence[int] = (MOST_REGISTERS,)
) -> Iterator[GridOptions]:
    """The options of all grids worth trying; `make` gives the grid for rows and vectors of a tile, and groups.

    sums: how many a tile may have at most.
    """
    whole = tuning_value(Panels(columns, make(1, 1, 1).panels.lanes, 1).vectors)
    for tallest, vectors in dict.fromkeys(shape for most in sums for shape in tile_shapes(target, whole, most)):
        rows, grid = tallest, make(tallest, vectors, 1)
        if not is_static(grid.tiles.rows) and rows > TALLEST_OF_UNKNOWN:
            rows = TALLEST_OF_UNKNOWN
            grid = make(rows, vectors, 1)
        blocks = max(1, tuning_value(grid.blocks))
        units = max(1, tuning_value(grid.batches) * blocks * tuning_value(grid.panels.count))
        tiles = max(1, tuning_value(grid.tiles.count) // blocks)
        yield GridOptions(rows, vectors, task_groups(tiles, units, target))


def grid_at(make: Callable[[int, int, int], Grid], options: GridOptions) -> Grid:
    return make(options.rows, options.vectors, options.groups)
