"""Depthwise convolution, and grouped convolution with few channels in a group, in the blocked layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import Problem, layouts, problem_of
from tensorwright.kernels.cpu.arithmetic import arithmetics
from tensorwright.kernels.cpu.blocks import blocked_layout
from tensorwright.kernels.cpu.convolution.kernel import kernel_of
from tensorwright.kernels.cpu.convolution.lanewise import LanewiseTasks, LanewiseTiling, is_lanewise, pack_lanewise
from tensorwright.kernels.cpu.convolution.tapwise import TapwiseTasks, TapwiseTiling, pack_tapwise
from tensorwright.kernels.cpu.spatial.operands import dealt, row_options
from tensorwright.kernels.cpu.spatial.runs import even_size
from tensorwright.kernels.cpu.spatial.tiling import TilingOptions
from tensorwright.kernels.tactic import Config, Kernel, Tactic


class LanewiseConvolution(Tactic[Target, TilingOptions]):
    """Vectors of neighbouring channels times vectors of weights: several outputs of a row at once in registers."""

    name = "lanewise convolution"

    def configs(self, region: Region, target: Target) -> Sequence[Config[TilingOptions]]:
        problem, blocked = problem_of(region), blocked_layout(target)
        if problem is None or problem.numerics.is_integer or not is_lanewise(problem, blocked.block):
            return ()
        inputs = layouts(region, problem, blocked, blocked)
        return [Config(inputs, blocked, options) for options in dict.fromkeys(_candidates(problem, target))]

    def emit(self, region: Region, config: Config[TilingOptions], target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        tiling = LanewiseTiling(problem, config.options, target.lanes(problem.numerics.total))
        return kernel_of(region, config, target, tiling, LanewiseTasks, pack_lanewise(tiling))


class TapwiseConvolution(Tactic[Target, TilingOptions]):
    """Depthwise convolution of bytes, four taps at once in every lane."""

    name = "tapwise convolution"

    def configs(self, region: Region, target: Target) -> Sequence[Config[TilingOptions]]:
        problem, blocked = problem_of(region), blocked_layout(target)
        if problem is None or not problem.is_depthwise or not problem.numerics.is_integer:
            return ()
        if not arithmetics(problem.numerics, target):
            return ()
        inputs, width = layouts(region, problem, blocked, blocked), problem.axes[-1].output
        limits = (target.registers // 2, target.registers * 3 // 4, target.registers // 4)
        found = [_dealt(problem, row_options(even_size(width, limit)), target) for limit in limits]
        return [Config(inputs, blocked, options) for options in dict.fromkeys(found)]

    def emit(self, region: Region, config: Config[TilingOptions], target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        tiling = TapwiseTiling(problem, config.options, target.lanes(problem.numerics.total))
        return kernel_of(region, config, target, tiling, TapwiseTasks, pack_tapwise(tiling))


TACTICS = (LanewiseConvolution(), TapwiseConvolution())


def _candidates(problem: Problem, target: Target) -> Iterator[TilingOptions]:
    """Outputs of a row at once: as many as there are registers for beside the weights, or fewer."""
    weights = problem.axes[-1].kernel * problem.channels
    most = max(4, target.registers - weights - (3 if target.has_fma else 4))
    width = problem.axes[-1].output
    for limit in (most, most * 2 // 3, most // 2):
        yield _dealt(problem, row_options(even_size(width, max(2, limit))), target)


def _dealt(problem: Problem, options: TilingOptions, target: Target) -> TilingOptions:
    """The options with so many tiles in a task that there are enough tasks."""
    return dealt(LanewiseTiling(problem, options, target.lanes(problem.numerics.total)), target)
