"""Direct convolution into the blocked layout, from the blocked or the row-major one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import Problem, layouts, merged, problem_of
from tensorwright.kernels.cpu.arithmetic import Arithmetic, HalfPairs, arithmetics, half_arithmetics
from tensorwright.kernels.cpu.blocks import blocked_layout
from tensorwright.kernels.cpu.convolution.broadcast import BroadcastTasks, widened_bytes
from tensorwright.kernels.cpu.convolution.candidates import options_for
from tensorwright.kernels.cpu.convolution.deep import DeepTasks, deep_bytes
from tensorwright.kernels.cpu.convolution.kernel import kernel_of
from tensorwright.kernels.cpu.convolution.packing import pack_outputs, pack_spanning
from tensorwright.kernels.cpu.spatial.tiling import Tiling, TilingOptions
from tensorwright.kernels.numerics import Numerics
from tensorwright.kernels.tactic import TUNED, Config, Kernel, Tactic
from tensorwright.tensor.layout import PLAIN, Layout

PLAIN_CHANNELS = 16
"""Up to so many channels of row-major input are read in place; more are better converted to blocks."""

FEW_CHANNELS = 4
"""Up to so many channels are not worth a block of their own."""


class DirectConvolution(Tactic[Target, TilingOptions]):
    """Tiles of pixels × blocks of output channels in registers, summed over taps and input channels.

    Input elements are broadcast from memory; weights lie in the order in which they are used. Padding is never read:
    at the borders the code leaves out what would be multiplied by zero.
    """

    name = "direct convolution"

    def configs(self, region: Region, target: Target) -> Sequence[Config[TilingOptions]]:
        problem = problem_of(region)
        if problem is None or problem.is_depthwise:
            return ()
        blocked = blocked_layout(target)
        sources = [blocked] if problem.all_channels > FEW_CHANNELS or problem.numerics.is_integer else []
        if problem.all_channels <= PLAIN_CHANNELS and problem.groups == 1:
            sources.append(PLAIN)
        return [
            Config(layouts(region, problem, source, blocked), blocked, _grouped(options, arithmetic.group))
            for arithmetic in self.arithmetics(problem.numerics, target)
            for source in sources
            if _fits(arithmetic, problem, source)
            for options in options_for(merged(problem, region), target, arithmetic.tile_sums)
            if not options.depth or (source != PLAIN and not isinstance(arithmetic, HalfPairs))
        ]

    def arithmetics(self, numerics: Numerics, target: Target) -> Sequence[Arithmetic]:
        return arithmetics(numerics, target)

    def efficiency(self, region: Region, config: Config[TilingOptions]) -> float:
        return TUNED * config.options.group

    def emit(self, region: Region, config: Config[TilingOptions], target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        tiling = Tiling(merged(problem, region), config.options, target.lanes(problem.numerics.total))
        weights = pack_spanning(tiling) if tiling.spans else pack_outputs(tiling)
        if tiling.options.depth:
            return kernel_of(region, config, target, tiling, DeepTasks, weights, deep_bytes(tiling, target))
        return kernel_of(region, config, target, tiling, BroadcastTasks, weights, widened_bytes(tiling, target))


class HalfConvolution(DirectConvolution):
    """The same in partial sums of float16."""

    name = "convolution_halves"
    exact = False

    def arithmetics(self, numerics: Numerics, target: Target) -> Sequence[Arithmetic]:
        return half_arithmetics(numerics, target)


TACTICS = (DirectConvolution(), HalfConvolution())


def _fits(arithmetic: Arithmetic, problem: Problem, source: Layout) -> bool:
    """Whether the channels that are consumed together lie side by side, and none of them is padding that might not be
    a number.
    """
    group, harmless = arithmetic.group, arithmetic.numerics.is_integer
    whole = problem.channels % group == 0 or harmless
    return group == 1 or (problem.groups == 1 and whole and source.block % group == 0)


def _grouped(options: TilingOptions, group: int) -> TilingOptions:
    return replace(options, unroll=-(-options.unroll // group) * group, group=group)
