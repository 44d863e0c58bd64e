"""Products with a matrix for every batch, or one for all, that is read as it lies or packed panel by panel."""

from __future__ import annotations

from dataclasses import replace

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, i64
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.arithmetic import MultiplyAdd
from tensorwright.kernels.cpu.function import signature
from tensorwright.kernels.cpu.matmul.grid import Grid, Place
from tensorwright.kernels.cpu.matmul.loops import LeftMatrix, TileLoop, panel_masks
from tensorwright.kernels.cpu.matmul.pack import PanelPacker
from tensorwright.kernels.cpu.matmul.tile import Factor
from tensorwright.kernels.cpu.matmul.tiling import Panel, Panels, RowTiles
from tensorwright.kernels.cpu.rows.epilogue import RowEpilogue
from tensorwright.kernels.matmul.problem import Operand, Problem
from tensorwright.kernels.tactic import AnyConfig, Kernel
from tensorwright.tensor.dim import Dim, expression, upper_bound

UNROLL = 4


def batched_grid(problem: Problem, target: Target, rows: int, vectors: int, groups: int) -> Grid:
    """The grid of a product; batches that share b are the rows of one."""
    panels = Panels(problem.columns, target.lanes(problem.numerics.total), vectors)
    if problem.shares_right:
        return Grid(1, RowTiles(*problem.all_rows(rows), rows), panels, groups)
    return Grid(problem.batches, RowTiles(1, problem.rows, rows), panels, groups)


def packed_bytes(problem: Problem, grid: Grid) -> int:
    """Workspace for a packed panel."""
    return upper_bound(problem.depth) * grid.panels.most * grid.panels.lanes * problem.numerics.total.size


def batched_kernel(region: Region, config: AnyConfig, emitter: ScalarEmitter, grid: Grid, workspace: int) -> Kernel:
    """The kernel whose body an emitter has; nothing of it is packed beforehand."""
    inputs, symbols = len(region.inputs), region.symbols
    return Kernel(
        text=emitter.builder.module(signature(inputs, len(symbols)), FUNCTION_ATTRIBUTES),
        inputs=config.inputs,
        output=config.output,
        tasks=grid.tasks,
        writes=grid.writes,
        packings=(None,) * inputs,
        symbols=symbols,
        workspace=workspace,
    )


def matrix_of_batch(problem: Problem, operand: Operand, emitter: ScalarEmitter, batch: Dim) -> Pointer:
    """Where the matrix of one batch starts."""
    index: list[Dim] = []
    for extent in reversed(problem.batch):
        index.insert(0, batch % extent if len(index) < len(problem.batch) - 1 else batch)
        batch = batch // extent
    start = emitter.integer(operand.offset(tuple(index)))
    return emitter.builder.offset(emitter.operands[operand.number], start, operand.value.type.dtype)


def write_panel(
    problem: Problem, grid: Grid, emitter: ScalarEmitter, epilogue: RowEpilogue, pack: bool, place: Place
) -> None:
    """The tiles of a panel of b, which is read in place or packed into workspace before."""
    builder, lanes = emitter.builder, grid.panels.lanes
    column = grid.panels.first_vector(place.panel) * lanes
    emitter.values[epilogue.column] = emitter.integer(column)
    source = matrix_of_batch(problem, problem.b, emitter, place.batch)
    numerics = problem.numerics
    source = builder.offset(source, emitter.integer(column * problem.b.column_step), numerics.right)
    right = Factor(source, emitter.integer(problem.b.shape[-1]))
    if pack:
        right = _packed(problem, emitter, epilogue, source, place.kind)
        numerics = replace(numerics, right=numerics.total)
    start = matrix_of_batch(problem, problem.a, emitter, place.batch)
    left = LeftMatrix(start, problem.a.row_step, problem.a.column_step)
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
        problem.numerics.total,
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
    return Factor(workspace, i64(packer.width), is_padded=True)
