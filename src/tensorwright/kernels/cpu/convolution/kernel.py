"""From a tiling to a kernel."""

from __future__ import annotations

from tensorwright.codegen.epilogue import Epilogue, epilogue_of
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.expression import Load, walk
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import Problem, packings
from tensorwright.kernels.cpu.convolution.packing import pack_bias
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.spatial.tasks import TaskEmitter, written
from tensorwright.kernels.cpu.spatial.tile import input_memory
from tensorwright.kernels.cpu.spatial.tiling import Tiling
from tensorwright.kernels.tactic import AnyConfig, Kernel, Packing
from tensorwright.tensor.dtype import INT64


def kernel_of(
    region: Region,
    config: AnyConfig,
    target: Target,
    tiling: Tiling,
    tasks: type[TaskEmitter],
    weights: Packing,
    workspace: int = 0,
) -> Kernel:
    """The kernel of a convolution region whose tiles are summed by the given kind of emitter."""
    problem, symbols = tiling.problem, region.symbols
    emitter = argument_emitter(len(region.inputs), symbols, target)
    builder, operands = emitter.builder, emitter.operands
    epilogue = epilogue_of(region, config.inputs, config.output)
    in_place = in_place_inputs(region, config, tiling.problem, epilogue)
    tasks(
        tiling=tiling,
        memory=input_memory(problem.axes, problem.all_channels, config.inputs[problem.x].block),
        emitter=emitter,
        epilogue=epilogue,
        output=Pointer("%out"),
        x=operands[problem.x],
        weights=operands[problem.weights],
        bias=None if problem.bias is None else operands[problem.bias],
    ).run(Register("%begin", INT64), Register("%end", INT64))
    return Kernel(
        text=builder.module(signature(len(operands), len(symbols), in_place), FUNCTION_ATTRIBUTES),
        inputs=config.inputs,
        output=config.output,
        tasks=tiling.tasks,
        packings=packings(region, problem, config, weights, pack_bias(tiling.lanes)),
        symbols=symbols,
        workspace=workspace,
        in_place=in_place,
        writes=None if tiling.spans else written(tiling),
    )


def in_place_inputs(region: Region, config: AnyConfig, problem: Problem, epilogue: Epilogue) -> tuple[int, ...]:
    """Inputs that the epilogue alone reads, every element just before the output's at the same place is written."""
    reads: dict[int, bool] = {}
    for node in walk(epilogue.flat.body):
        if isinstance(node, Load) and node.operand != epilogue.anchor:
            same = node.index == (epilogue.flat.address,) and node.guard is None
            reads[node.operand] = reads.get(node.operand, True) and same
    return tuple(
        number
        for number, same in sorted(reads.items())
        if same
        and number != problem.x
        and not is_constant(region.inputs[number])
        and region.input_types[number] == region.output.type
        and config.inputs[number] == config.output
    )
