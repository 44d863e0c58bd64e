"""Maxima and means under sliding windows, in the blocked layout and row-major."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.convolution.kernel import in_place_inputs
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.pooling.plan import LinePlan, PoolingPlan
from tensorwright.kernels.cpu.pooling.tasks import BlockedTasks, LineTasks
from tensorwright.kernels.cpu.spatial.operands import dealt, layouts, packings, row_cut
from tensorwright.kernels.cpu.spatial.plan import Cut
from tensorwright.kernels.cpu.spatial.tasks import written
from tensorwright.kernels.cpu.spatial.tile import input_memory
from tensorwright.kernels.cpu.spatial.tiling import even_size
from tensorwright.kernels.pooling.problem import Pooling, pooling_of
from tensorwright.kernels.tactic import Config, Kernel, Tactic
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.layout import PLAIN, Layout

WIDEST_WINDOW = 16
"""Windows of at most so many elements along the last axis: code is written out for each of them."""
STEEPEST_STRIDE = 4
"""Row-major, the lanes of a vector of outputs come from at most so many vectors of inputs."""


class PoolingTactic(Tactic[Target, Cut]):
    """Several outputs of a row at once, without a test for padding where there is none."""

    name = "pooling"

    def configs(self, region: Region, target: Target) -> Sequence[Config[Cut]]:
        pooling = pooling_of(region)
        if pooling is None or pooling.problem.axes[-1].kernel > WIDEST_WINDOW:
            return ()
        blocked = Layout(target.float_lanes)
        found = [
            Config(layouts(region, {pooling.problem.x}, blocked), blocked, cut)
            for cut in dict.fromkeys(_blocked_cuts(pooling, target))
        ]
        if pooling.problem.axes[-1].stride <= STEEPEST_STRIDE and pooling.problem.axes[-1].output > 1:
            found.append(Config((PLAIN,) * len(region.inputs), PLAIN, _line_cut(pooling, target)))
        return found

    def emit(self, region: Region, config: Config[Cut], target: Target) -> Kernel:
        pooling = pooling_of(region)
        assert pooling is not None
        problem, symbols = pooling.problem, region.symbols
        plan = _plan(pooling, config.options, config.output, target)
        emitter = argument_emitter(len(region.inputs), symbols, target)
        builder, operands = emitter.builder, emitter.operands
        epilogue = epilogue_of(region, config.inputs, config.output)
        in_place = in_place_inputs(region, config, problem, epilogue)
        tasks = LineTasks if config.output.is_plain else BlockedTasks
        tasks(
            plan=plan,
            memory=input_memory(problem.axes, problem.all_channels, config.output.block),
            emitter=emitter,
            epilogue=epilogue,
            output=Pointer("%out"),
            x=operands[problem.x],
            weights=operands[problem.x],
            bias=None,
        ).run(Register("%begin", INT64), Register("%end", INT64))
        return Kernel(
            text=builder.module(signature(len(operands), len(symbols), in_place), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=plan.tasks,
            packings=packings(region, config),
            symbols=symbols,
            in_place=in_place,
            writes=written(plan),
        )


TACTICS = (PoolingTactic(),)


def _plan(pooling: Pooling, cut: Cut, layout: Layout, target: Target) -> PoolingPlan:
    if layout.is_plain:
        return LinePlan(pooling.problem, cut, 1, pooling)
    return PoolingPlan(pooling.problem, cut, target.float_lanes, pooling)


def _blocked_cuts(pooling: Pooling, target: Target) -> Iterator[Cut]:
    """Outputs of a row at once: few, as no weights are shared."""
    width = pooling.problem.axes[-1].output
    for limit in (target.registers // 4, target.registers // 2):
        columns = even_size(width, limit)
        yield dealt(_plan(pooling, row_cut(columns), Layout(target.float_lanes), target))


def _line_cut(pooling: Pooling, target: Target) -> Cut:
    return dealt(_plan(pooling, row_cut(target.float_lanes), PLAIN, target))
