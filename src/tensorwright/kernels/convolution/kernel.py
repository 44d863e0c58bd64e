"""From a plan to a kernel."""

from __future__ import annotations

from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES, FunctionBuilder, Pointer, Register
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.packing import pack_bias
from tensorwright.kernels.convolution.plan import Plan
from tensorwright.kernels.convolution.problem import packings
from tensorwright.kernels.convolution.tasks import TaskEmitter
from tensorwright.kernels.convolution.tile import input_memory
from tensorwright.kernels.generic import region_symbols
from tensorwright.kernels.tactic import Config, Kernel, Packing, signature
from tensorwright.tensor.dtype import INT64


def kernel_of(
    region: Region, config: Config, target: Target, plan: Plan, tasks: type[TaskEmitter], weights: Packing
) -> Kernel:
    """The kernel of a convolution region whose tiles are summed by the given kind of emitter."""
    problem, symbols = plan.problem, region_symbols(region)
    builder = FunctionBuilder(target=target)
    operands = [Pointer(f"%in{number}") for number in range(len(region.inputs))]
    values = {symbol.name: Register(f"%s{number}", INT64) for number, symbol in enumerate(symbols)}
    tasks(
        plan=plan,
        memory=input_memory(problem.axes, problem.all_channels, config.inputs[problem.x].block),
        emitter=ScalarEmitter(builder, target, operands, values),
        epilogue=epilogue_of(region, config.inputs, config.output),
        output=Pointer("%out"),
        x=operands[problem.x],
        weights=operands[problem.weights],
        bias=None if problem.bias is None else operands[problem.bias],
    ).run(Register("%begin", INT64), Register("%end", INT64))
    return Kernel(
        text=builder.module(signature(len(operands), len(symbols)), FUNCTION_ATTRIBUTES),
        inputs=config.inputs,
        output=config.output,
        tasks=plan.tasks,
        packings=packings(region, problem, config, weights, pack_bias(plan.lanes)),
        symbols=symbols,
    )
