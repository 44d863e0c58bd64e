"""Products of two variables, one for every batch: attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.function import argument_emitter
from tensorwright.kernels.cpu.matmul.batches import batched_grid, batched_kernel, packed_bytes, write_panel
from tensorwright.kernels.cpu.matmul.grid import GridOptions, grid_at, grid_options
from tensorwright.kernels.cpu.rows.epilogue import row_epilogue
from tensorwright.kernels.matmul.problem import Problem, problem_of
from tensorwright.kernels.tactic import Config, Kernel, Tactic, plain_inputs
from tensorwright.tensor.dim import is_static
from tensorwright.tensor.dtype import INT32
from tensorwright.tensor.layout import PLAIN


@dataclass(frozen=True)
class BatchedOptions(GridOptions):
    """pack: whether panels of b are packed, rather than read in place."""

    pack: bool


class BatchedMatMul(Tactic[Target, BatchedOptions]):
    """Like packed products, but a panel of b is read in place, or packed into workspace before its tiles run."""

    name = "matmul_batched"

    def configs(self, region: Region, target: Target) -> Sequence[Config[BatchedOptions]]:
        problem = problem_of(region)
        if problem is None or problem.is_linear or problem.columns == 1 or problem.numerics.total == INT32:
            return []
        plain, make = plain_inputs(region), partial(batched_grid, problem, target)
        return [
            Config(plain, PLAIN, BatchedOptions(each.rows, each.vectors, each.groups, pack))
            for each in grid_options(make, problem.columns, target)
            for pack in _packs(problem, target)
        ]

    def emit(self, region: Region, config: Config[BatchedOptions], target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        grid = grid_at(partial(batched_grid, problem, target), config.options)
        emitter = argument_emitter(len(region.inputs), region.symbols, target)
        epilogue, pack = row_epilogue(region, target.lanes(problem.numerics.total)), config.options.pack
        grid.write(emitter, partial(write_panel, problem, grid, emitter, epilogue, pack))
        return batched_kernel(region, config, emitter, grid, packed_bytes(problem, grid) if pack else 0)


TACTICS = (BatchedMatMul(),)


def _packs(problem: Problem, target: Target) -> Sequence[bool]:
    """Whether to pack b, rather than to read it in place; nothing if neither is possible."""
    packable = (True,) if is_static(problem.depth) else ()
    if problem.b.transposed:
        return packable
    columns = problem.columns
    has_masks = target.vector_bytes > 16
    whole = isinstance(columns, int) and columns % target.lanes(problem.numerics.total) == 0
    return (False, *packable) if has_masks or whole else packable
