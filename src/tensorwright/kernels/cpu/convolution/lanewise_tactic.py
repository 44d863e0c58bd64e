"""Depthwise convolution, and grouped convolution with few channels in a group, in the blocked layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import Problem, layouts, problem_of
from tensorwright.kernels.cpu.blocks import blocked_layout
from tensorwright.kernels.cpu.convolution.kernel import kernel_of
from tensorwright.kernels.cpu.convolution.lanewise import LanewisePlan, LanewiseTasks, pack_lanewise
from tensorwright.kernels.cpu.spatial.operands import row_cut
from tensorwright.kernels.cpu.spatial.plan import PARALLEL_TASKS, Cut
from tensorwright.kernels.cpu.spatial.tiling import even_size
from tensorwright.kernels.tactic import Config, Kernel, Tactic


class LanewiseConvolution(Tactic[Target, Cut]):
    """Vectors of neighbouring channels times vectors of weights: several outputs of a row at once in registers."""

    name = "lanewise convolution"

    def configs(self, region: Region, target: Target) -> Sequence[Config[Cut]]:
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
        return [Config(inputs, blocked, cut) for cut in dict.fromkeys(_cuts(problem, target))]

    def emit(self, region: Region, config: Config[Cut], target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        plan = LanewisePlan(problem, config.options, target.lanes(problem.numerics.total))
        return kernel_of(region, config, target, plan, LanewiseTasks, pack_lanewise(plan))


TACTICS = (LanewiseConvolution(),)


def _cuts(problem: Problem, target: Target) -> Iterator[Cut]:
    """Outputs of a row at once: as many as there are registers for beside the weights, or fewer."""
    weights = problem.axes[-1].kernel * problem.channels
    most = max(4, target.registers - weights - (3 if target.has_fma else 4))
    width = problem.axes[-1].output
    for limit in (most, most * 2 // 3, most // 2):
        cut = row_cut(even_size(width, max(2, limit)))
        plan = LanewisePlan(problem, cut, target.lanes(problem.numerics.total))
        chunks = max(1, min(plan.units, -(-PARALLEL_TASKS // (plan.group_count * plan.outer_positions))))
        yield replace(cut, pixels=-(-plan.units // chunks))
