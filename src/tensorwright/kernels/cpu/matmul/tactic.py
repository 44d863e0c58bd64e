"""Products with a constant right factor, packed at build time: linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, i64
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.arithmetic import Arithmetic, arithmetic_of, arithmetics, half_arithmetics
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.matmul.grid import Grid, GridOptions, Place, grid_at, grid_options
from tensorwright.kernels.cpu.matmul.loops import LeftMatrix, TileLoop
from tensorwright.kernels.cpu.matmul.panels import panel_packing
from tensorwright.kernels.cpu.matmul.tile import Factor
from tensorwright.kernels.cpu.matmul.tiling import Panels, RowTiles
from tensorwright.kernels.cpu.rows.epilogue import RowEpilogue, row_epilogue
from tensorwright.kernels.matmul.problem import Problem, problem_of
from tensorwright.kernels.numerics import Numerics
from tensorwright.kernels.tactic import TUNED, Config, Kernel, Packing, Tactic, plain_inputs
from tensorwright.tensor.dim import is_static, tuning_value
from tensorwright.tensor.layout import PLAIN

UNROLL = 4


@dataclass(frozen=True)
class PackedOptions(GridOptions):
    """group: neighbours along the depth that one step of the arithmetic consumes."""

    group: int = 1


class PackedMatMul(Tactic[Target, PackedOptions]):
    """Panels of b, [depth][columns of the panel], pass through the second-level cache; tiles of rows go past them."""

    name = "matmul_packed"

    def configs(self, region: Region, target: Target) -> Sequence[Config[PackedOptions]]:
        problem = problem_of(region)
        if problem is None or not problem.is_linear or not is_static(problem.depth):
            return []
        if not isinstance(problem.columns, int) or problem.columns == 1:
            return []
        plain, make = plain_inputs(region), partial(_grid, problem, problem.columns, target)
        return [
            Config(plain, PLAIN, PackedOptions(each.rows, each.vectors, each.groups, arithmetic.group))
            for arithmetic in self.arithmetics(problem.numerics, target)
            if _fits(arithmetic, problem)
            for each in grid_options(make, problem.columns, target, arithmetic.tile_sums)
        ]

    def arithmetics(self, numerics: Numerics, target: Target) -> Sequence[Arithmetic]:
        return arithmetics(numerics, target)

    def efficiency(self, region: Region, config: Config[PackedOptions]) -> float:
        return TUNED * config.options.group

    def emit(self, region: Region, config: Config[PackedOptions], target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        assert isinstance(problem.columns, int)
        grid = grid_at(partial(_grid, problem, problem.columns, target), config.options)
        symbols = region.symbols
        emitter = argument_emitter(len(region.inputs), symbols, target)
        builder, inputs = emitter.builder, emitter.operands
        arithmetic = arithmetic_of(problem.numerics, target, config.options.group)
        epilogue = row_epilogue(region, arithmetic.lanes)
        grid.write(emitter, partial(_write_panel, problem, grid, emitter, epilogue, arithmetic))
        packings: list[Packing | None] = [None] * len(inputs)
        packings[problem.b.number] = panel_packing(grid.panels, arithmetic, transposed=problem.b.transposed)
        return Kernel(
            text=builder.module(signature(len(inputs), len(symbols)), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=grid.tasks,
            writes=grid.writes,
            packings=tuple(packings),
            symbols=symbols,
        )


class HalfMatMul(PackedMatMul):
    """The same in partial sums of float16."""

    name = "matmul_halves"
    exact = False

    def configs(self, region: Region, target: Target) -> Sequence[Config[PackedOptions]]:
        """Narrow tiles first, which read the least of b."""
        return sorted(super().configs(region, target), key=lambda config: config.options.vectors)

    def arithmetics(self, numerics: Numerics, target: Target) -> Sequence[Arithmetic]:
        return half_arithmetics(numerics, target)


TACTICS = (PackedMatMul(), HalfMatMul())


def _grid(problem: Problem, columns: int, target: Target, rows: int, vectors: int, groups: int) -> Grid:
    tiles = RowTiles(*problem.all_rows(rows), rows)
    return Grid(1, tiles, Panels(columns, target.lanes(problem.numerics.total), vectors), groups)


def _fits(arithmetic: Arithmetic, problem: Problem) -> bool:
    """Whether groups of elements do not cross from row to row of a."""
    depth, group = problem.depth, arithmetic.group
    return group == 1 or (problem.a.column_step == 1 and isinstance(depth, int) and depth % group == 0)


def _write_panel(
    problem: Problem,
    grid: Grid,
    emitter: ScalarEmitter,
    epilogue: RowEpilogue,
    arithmetic: Arithmetic,
    place: Place,
) -> None:
    builder, lanes, width = emitter.builder, grid.panels.lanes, place.kind.vectors * grid.panels.lanes
    column = grid.panels.first_vector(place.panel) * lanes
    emitter.values[epilogue.column] = emitter.integer(column)
    dtype = arithmetic.right
    packed = builder.offset(emitter.operands[problem.b.number], emitter.integer(column * problem.depth), dtype)
    following = builder.offset(packed, emitter.integer(problem.depth * width), dtype)
    left = LeftMatrix(emitter.operands[problem.a.number], problem.a.row_step, problem.a.column_step)
    right = Factor(packed, i64(width * arithmetic.group), is_padded=True)
    loop = TileLoop(
        emitter,
        epilogue,
        Pointer("%out"),
        arithmetic,
        problem.depth,
        UNROLL,
        grid.panels.widest,
        following,
        tuning_value(grid.blocks) > 1,
    )
    loop.run(grid.tiles, place.piece, left, right, place.kind)
