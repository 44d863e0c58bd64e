"""Direct convolution into the blocked layout, from the blocked or the row-major one."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES, FunctionBuilder, Pointer, Register
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.cuts import cuts_of
from tensorwright.kernels.convolution.direct import DirectEmitter
from tensorwright.kernels.convolution.packing import pack_bias, pack_outputs, pack_spanning
from tensorwright.kernels.convolution.plan import Plan, cut_of
from tensorwright.kernels.convolution.problem import layouts, merged, packings, problem_of
from tensorwright.kernels.convolution.tile import input_memory
from tensorwright.kernels.generic import region_symbols
from tensorwright.kernels.tactic import Config, Kernel, signature
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.layout import PLAIN, Layout

PLAIN_CHANNELS = 16
"""Up to so many channels of row-major input are read in place; more are better converted to blocks."""


class DirectConvolution:
    """Tiles of pixels × blocks of output channels in registers, summed over taps and input channels.

    Input elements are broadcast from memory; weights lie in the order in which they are used. Padding is never read:
    at the borders the code leaves out what would be multiplied by zero.
    """

    name = "direct convolution"

    def configs(self, region: Region, target: Target) -> Sequence[Config]:
        problem = problem_of(region)
        if problem is None or problem.is_depthwise:
            return ()
        blocked = Layout(target.float_lanes)
        sources = [blocked] if problem.all_channels > 4 else []
        if problem.all_channels <= PLAIN_CHANNELS and problem.groups == 1:
            sources.append(PLAIN)
        return [
            Config(layouts(region, problem, source, blocked), blocked, cut.options)
            for source in sources
            for cut in cuts_of(merged(problem, region), target)
        ]

    def emit(self, region: Region, config: Config, target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        problem = merged(problem, region)
        plan = Plan(problem, cut_of(config), target.float_lanes)
        builder = FunctionBuilder(target=target)
        symbols = region_symbols(region)
        operands = [Pointer(f"%in{number}") for number in range(len(region.inputs))]
        values = {symbol.name: Register(f"%s{number}", INT64) for number, symbol in enumerate(symbols)}
        DirectEmitter(
            plan=plan,
            memory=input_memory(problem.axes, problem.all_channels, config.inputs[problem.x].block),
            emitter=ScalarEmitter(builder, target, operands, values),
            epilogue=epilogue_of(region, config.inputs, config.output),
            output=Pointer("%out"),
            x=operands[problem.x],
            weights=operands[problem.weights],
            bias=None if problem.bias is None else operands[problem.bias],
        ).run(Register("%begin", INT64), Register("%end", INT64))
        weights = pack_spanning(plan) if plan.spans else pack_outputs(plan)
        return Kernel(
            text=builder.module(signature(len(operands), len(symbols)), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=plan.tasks,
            packings=packings(region, problem, config, weights, pack_bias(plan.lanes)),
            symbols=symbols,
        )


TACTICS = (DirectConvolution(),)
