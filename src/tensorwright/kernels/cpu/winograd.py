"""Winograd convolution of kernels of 3 or 5 taps along each axis at stride 1, in the blocked layout."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES, FunctionBuilder, Pointer, Register
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.kernel import in_place_inputs
from tensorwright.kernels.convolution.packing import pack_bias
from tensorwright.kernels.convolution.problem import Problem, layouts, packings, problem_of
from tensorwright.kernels.convolution.tile import input_memory
from tensorwright.kernels.convolution.winograd import WinogradEmitter
from tensorwright.kernels.convolution.winograd_plan import (
    WinogradPlan,
    pack_winograd,
    plan_cost,
    winograd_cut_of,
    winograd_plans,
)
from tensorwright.kernels.generic import region_symbols
from tensorwright.kernels.tactic import Config, Kernel, signature
from tensorwright.kernels.work import Work, work
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.layout import Layout

KERNELS = (3, 5)
"""Taps along an axis for which there are transforms."""

FEWEST_CHANNELS = 16
"""With fewer channels, the transforms cost more than the products save."""


ATTRIBUTES = FUNCTION_ATTRIBUTES + ' "frame-pointer"="all"'
"""With a frame pointer the stack can be aligned, so that vectors of the transforms kept there lie in one cache line."""


class WinogradConvolution:
    """Tiles of 4×4, 4×2 and 2×2 outputs: 4, 3 and 2.25 times fewer multiplications than direct convolution for 3×3
    kernels; 6.25, 4.2 and 2.8 times fewer for 5×5 kernels.

    Rounds differently: for normally distributed input and weights the largest error, relative to the largest output,
    is about 2e-5 at most with tiles of 4; with tiles of 2, 2e-6 for 3×3 and 1e-5 for 5×5 kernels.
    """

    name = "winograd convolution"
    exact = False

    def configs(self, region: Region, target: Target) -> Sequence[Config]:
        problem = problem_of(region)
        if problem is None or not _applies(problem):
            return ()
        blocked = Layout(target.float_lanes)
        inputs = layouts(region, problem, blocked, blocked)
        return [Config(inputs, blocked, plan.cut.options) for plan in winograd_plans(problem, target)]

    def work(self, region: Region, config: Config, target: Target) -> Work:
        """Floating-point operations with the transforms and those that the wait for weights leaves undone."""
        plan, direct = _plan(region, config, target), work(region)
        weights = region.input_types[plan.problem.weights].max_bytes
        operations = 2 * plan.lanes * int(plan_cost(plan, target))
        return Work(plan.problem.batch * operations, direct.bytes - weights)

    def emit(self, region: Region, config: Config, target: Target) -> Kernel:
        plan, symbols = _plan(region, config, target), region_symbols(region)
        problem = plan.problem
        builder = FunctionBuilder(target=target)
        operands = [Pointer(f"%in{number}") for number in range(len(region.inputs))]
        values = {symbol.name: Register(f"%s{number}", INT64) for number, symbol in enumerate(symbols)}
        epilogue = epilogue_of(region, config.inputs, config.output)
        in_place = in_place_inputs(region, config, problem, epilogue)
        WinogradEmitter(
            plan=plan,
            memory=input_memory(problem.axes, problem.channels, plan.lanes),
            emitter=ScalarEmitter(builder, target, operands, values),
            epilogue=epilogue,
            output=Pointer("%out"),
            x=operands[problem.x],
            weights=operands[problem.weights],
            bias=None if problem.bias is None else operands[problem.bias],
            workspace=Pointer("%workspace"),
        ).run(Register("%begin", INT64), Register("%end", INT64))
        return Kernel(
            text=builder.module(signature(len(operands), len(symbols), in_place), ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=plan.tasks,
            packings=packings(region, problem, config, pack_winograd(plan), pack_bias(plan.lanes)),
            symbols=symbols,
            workspace=plan.workspace,
            in_place=in_place,
        )


TACTICS = (WinogradConvolution(),)


def _plan(region: Region, config: Config, target: Target) -> WinogradPlan:
    problem = problem_of(region)
    assert problem is not None
    return WinogradPlan(problem, winograd_cut_of(config), target.float_lanes)


def _applies(problem: Problem) -> bool:
    return (
        problem.groups == 1
        and problem.rank == 2
        and min(problem.channels, problem.outputs) >= FEWEST_CHANNELS
        and all(axis.kernel in KERNELS and axis.stride == axis.dilation == 1 for axis in problem.axes)
    )
