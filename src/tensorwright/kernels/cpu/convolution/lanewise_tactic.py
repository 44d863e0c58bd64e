"""Depthwise convolution, and grouped convolution with few channels in a group, in the blocked layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import Problem, layouts, problem_of
from tensorwright.kernels.cpu.blocks import blocked_layout
from tensorwright.kernels.cpu.convolution.kernel import kernel_of
from tensorwright.kernels.cpu.convolution.lanewise import LanewiseTasks, LanewiseTiling, pack_lanewise
from tensorwright.kernels.cpu.spatial.operands import row_options
from tensorwright.kernels.cpu.spatial.runs import even_size
from tensorwright.kernels.cpu.spatial.tiling import PARALLEL_TASKS, TilingOptions
from tensorwright.kernels.tactic import Config, Kernel, Tactic


class LanewiseConvolution(Tactic[Target, TilingOptions]):
    """Vectors of neighbouring channels times vectors of weights: several outputs of a row at once in registers."""

    name = "lanewise convolution"

    def configs(self, region: Region, target: Target) -> Sequence[Config[TilingOptions]]:
        problem, blocked = problem_of(region), blocked_layout(target)
        lanes = blocked.block
        if (
            problem is None
            or problem.numerics.is_integer
            or problem.groups == 1
            or problem.channels != problem.outputs
            or lanes % problem.channels
            or problem.channels == lanes
        ):
            return ()
        inputs = layouts(region, problem, blocked, blocked)
        return [Config(inputs, blocked, options) for options in dict.fromkeys(_candidates(problem, target))]

    def emit(self, region: Region, config: Config[TilingOptions], target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        tiling = LanewiseTiling(problem, config.options, target.lanes(problem.numerics.total))
        return kernel_of(region, config, target, tiling, LanewiseTasks, pack_lanewise(tiling))


TACTICS = (LanewiseConvolution(),)


def _candidates(problem: Problem, target: Target) -> Iterator[TilingOptions]:
    """Outputs of a row at once: as many as there are registers for beside the weights, or fewer."""
    weights = problem.axes[-1].kernel * problem.channels
    most = max(4, target.registers - weights - (3 if target.has_fma else 4))
    width = problem.axes[-1].output
    for limit in (most, most * 2 // 3, most // 2):
        options = row_options(even_size(width, max(2, limit)))
        tiling = LanewiseTiling(problem, options, target.lanes(problem.numerics.total))
        chunks = max(1, min(tiling.units, -(-PARALLEL_TASKS // (tiling.group_count * tiling.outer_positions))))
        yield replace(options, pixels=-(-tiling.units // chunks))
