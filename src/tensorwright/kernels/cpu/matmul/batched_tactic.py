"""Products of two variables, one for every batch: attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, literal
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.arithmetic import MultiplyAdd
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.matmul.cut import Panel, Panels, RowTiles
from tensorwright.kernels.cpu.matmul.grid import Grid, GridOptions, Place, grid_at, grid_options
from tensorwright.kernels.cpu.matmul.loops import LeftMatrix, TileLoop, panel_masks
from tensorwright.kernels.cpu.matmul.pack import PanelPacker
from tensorwright.kernels.cpu.matmul.tile import Factor
from tensorwright.kernels.cpu.rows.epilogue import RowEpilogue, row_epilogue
from tensorwright.kernels.matmul.problem import Operand, Problem, problem_of
from tensorwright.kernels.tactic import Config, Kernel, Tactic, plain_inputs
from tensorwright.tensor.dim import Dim, expression, is_static, upper_bound
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.layout import PLAIN

UNROLL = 4


@dataclass(frozen=True)
class BatchedOptions(GridOptions):
    """pack: whether panels of b are packed, rather than read in place."""

    pack: bool


class BatchedMatMul(Tactic[Target, BatchedOptions]):
    """Like packed products, but a panel of b is read in place, or packed into workspace before its tiles run."""

    name = "matmul_batched"

    def configs(self, region: Region, target: Target) -> Sequence[Config[BatchedOptions]]:
        problem = problem_of(region)
        if problem is None or problem.is_linear or problem.columns == 1:
            return []
        plain, make = plain_inputs(region), partial(_grid, problem, target)
        return [
            Config(plain, PLAIN, BatchedOptions(each.rows, each.vectors, each.groups, pack))
            for each in grid_options(make, problem.columns, target)
            for pack in _packs(problem, target)
        ]

    def emit(self, region: Region, config: Config[BatchedOptions], target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        grid = grid_at(partial(_grid, problem, target), config.options)
        symbols = region.symbols
        emitter = argument_emitter(len(region.inputs), symbols, target)
        builder, inputs = emitter.builder, emitter.operands
        epilogue, pack = row_epilogue(region, target.float_lanes), config.options.pack
        grid.write(emitter, partial(_write_panel, problem, grid, emitter, epilogue, pack))
        return Kernel(
            text=builder.module(signature(len(inputs), len(symbols)), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=grid.tasks,
            writes=grid.writes,
            packings=(None,) * len(inputs),
            symbols=symbols,
            workspace=upper_bound(problem.depth) * grid.panels.most * target.vector_bytes if pack else 0,
        )


TACTICS = (BatchedMatMul(),)


def _packs(problem: Problem, target: Target) -> Sequence[bool]:
    """Whether to pack b, rather than to read it in place; nothing if neither is possible."""
    packable = (True,) if is_static(problem.depth) else ()
    if problem.b.transposed:
        return packable
    columns = problem.columns
    has_masks = target.vector_bytes > 16
    whole = isinstance(columns, int) and columns % target.float_lanes == 0
    return (False, *packable) if has_masks or whole else packable


def _grid(problem: Problem, target: Target, rows: int, vectors: int, groups: int) -> Grid:
    panels = Panels(problem.columns, target.float_lanes, vectors)
    if problem.shares_right:
        return Grid(1, RowTiles(*problem.all_rows(rows), rows), panels, groups)
    return Grid(problem.batches, RowTiles(1, problem.rows, rows), panels, groups)


def _write_panel(
    problem: Problem, grid: Grid, emitter: ScalarEmitter, epilogue: RowEpilogue, pack: bool, place: Place
) -> None:
    builder, lanes = emitter.builder, grid.panels.lanes
    column = grid.panels.first_vector(place.panel) * lanes
    emitter.values[epilogue.column] = emitter.integer(column)
    source = _matrix(problem, problem.b, emitter, place.batch)
    numerics = problem.numerics
    source = builder.offset(source, emitter.integer(column * problem.b.column_step), numerics.right)
    right = Factor(source, emitter.integer(problem.b.shape[-1]))
    if pack:
        right = _packed(problem, emitter, epilogue, source, place.kind)
        numerics = replace(numerics, right=numerics.total)
    left = LeftMatrix(_matrix(problem, problem.a, emitter, place.batch), problem.a.row_step, problem.a.column_step)
    loop = TileLoop(
        emitter, epilogue, Pointer("%out"), MultiplyAdd(numerics, lanes), problem.depth, UNROLL, grid.panels.widest
    )
    loop.run(grid.tiles, place.piece, left, right, place.kind, place.batch * problem.rows)


def _packed(problem: Problem, emitter: ScalarEmitter, epilogue: RowEpilogue, source: Pointer, panel: Panel) -> Factor:
    """Pack a panel that starts at `source` into workspace, in the type of the sum."""
    assert isinstance(problem.depth, int)
    builder, workspace = emitter.builder, Pointer("%workspace")
    left = emitter.integer(problem.columns - expression(epilogue.column)) if panel.is_open else None
    packer = PanelPacker(
        builder,
        problem.numerics.right,
        source,
        emitter.integer(problem.b.shape[-1]),
        problem.depth,
        panel,
        epilogue.lanes,
        workspace,
        panel_masks(emitter, epilogue, panel),
        left,
    )
    (packer.transpose if problem.b.transposed else packer.copy)()
    return Factor(workspace, literal(packer.width, INT64), is_padded=True)


def _matrix(problem: Problem, operand: Operand, emitter: ScalarEmitter, batch: Dim) -> Pointer:
    """Where the matrix of one batch starts."""
    index: list[Dim] = []
    for extent in reversed(problem.batch):
        index.insert(0, batch % extent if len(index) < len(problem.batch) - 1 else batch)
        batch = batch // extent
    start = emitter.integer(operand.offset(tuple(index)))
    return emitter.builder.offset(emitter.operands[operand.number], start, operand.value.type.dtype)
