"""Concatenations of channels in the blocked layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import NO_WEIGHTS, Axis, Problem, merged
from tensorwright.kernels.cpu.blocks import blocked_layout
from tensorwright.kernels.cpu.concatenation.tasks import ConcatenationTasks
from tensorwright.kernels.cpu.concatenation.tiling import ConcatenationTiling
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.generic import blockable
from tensorwright.kernels.cpu.spatial.operands import dealt, layouts, packings, row_options
from tensorwright.kernels.cpu.spatial.runs import even_size
from tensorwright.kernels.cpu.spatial.tasks import written
from tensorwright.kernels.cpu.spatial.tile import input_memory
from tensorwright.kernels.cpu.spatial.tiling import TilingOptions
from tensorwright.kernels.numerics import FLOAT_TOTAL, FLOATS, Numerics
from tensorwright.kernels.tactic import Config, Kernel, Tactic
from tensorwright.ops.shape import Concatenation
from tensorwright.tensor.dtype import INT64

COLUMNS = 8
"""Positions of a row at once."""
MOST_CHANNELS = 1 << 16
"""Where each comes from is listed."""
MOST_RUNS = 24
"""Each run of blocks that are put together alike has code of its own."""


@dataclass(frozen=True)
class _Joined:
    """region: anchored at the concatenation. operands: which inputs of the region are concatenated, in order."""

    region: Region
    problem: Problem
    operands: tuple[int, ...]
    channels: tuple[int, ...]

    def tiling(self, options: TilingOptions, target: Target) -> ConcatenationTiling:
        return ConcatenationTiling(self.problem, options, target.lanes(self.problem.numerics.total), self.channels)


class ConcatenationTactic(Tactic[Target, TilingOptions]):
    """Every block of the output is copied from one block of an operand, or put together from the lanes of a few."""

    name = "concatenation"

    def configs(self, region: Region, target: Target) -> Sequence[Config[TilingOptions]]:
        joined = _joined(region)
        if joined is None or sum(joined.channels) > MOST_CHANNELS:
            return ()
        columns = even_size(joined.problem.axes[-1].output, COLUMNS)
        tiling = joined.tiling(row_options(columns), target)
        if len(tiling.runs) > MOST_RUNS:
            return ()
        blocked = blocked_layout(target)
        return [Config(layouts(region, set(joined.operands), blocked), blocked, dealt(tiling, target))]

    def emit(self, region: Region, config: Config[TilingOptions], target: Target) -> Kernel:
        joined = _joined(region)
        assert joined is not None
        symbols, axes = region.symbols, joined.problem.axes
        tiling = joined.tiling(config.options, target)
        emitter = argument_emitter(len(region.inputs), symbols, target)
        builder, inputs = emitter.builder, emitter.operands
        memories = tuple(input_memory(axes, channels, config.output.block) for channels in joined.channels)
        ConcatenationTasks(
            tiling=tiling,
            memory=memories[0],
            emitter=emitter,
            epilogue=epilogue_of(joined.region, config.inputs, config.output),
            output=Pointer("%out"),
            x=inputs[joined.operands[0]],
            weights=inputs[joined.operands[0]],
            bias=None,
            operands=tuple(inputs[number] for number in joined.operands),
            memories=memories,
        ).run(Register("%begin", INT64), Register("%end", INT64))
        return Kernel(
            text=builder.module(signature(len(inputs), len(symbols)), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=tiling.tasks,
            packings=packings(region, config),
            symbols=symbols,
            writes=written(tiling),
        )


TACTICS = (ConcatenationTactic(),)


def _joined(region: Region) -> _Joined | None:
    """The concatenation that all other operators of an elementwise region follow; None if it is none of channels."""
    if region.anchor is not None:
        return None
    for value in region.values:
        if not isinstance(value.op, Concatenation) or value.op.axis != 1 or len(value.inputs) < 2:
            continue
        around = replace(region, anchor=value)
        types = [operand.type for operand in value.inputs]
        if (
            all(operand in region.inputs and not is_constant(operand) for operand in value.inputs)
            and all(blockable(type) and 0 not in type.shape for type in (value.type, region.output.type, *types))
            and all(isinstance(dim, int) for dim in value.type.shape[1:])
            and value.type.dtype in FLOATS
            and around.is_elementwise_around_anchor
        ):
            channels, *extents = _integers(value.type.shape[1:])
            axes = [Axis(extent, extent, 1) for extent in extents]
            rank = len(axes)
            spatial = tuple(axes) if rank > 1 else (Axis(1, 1, 1), *axes)
            operands = tuple(region.input_number(operand) for operand in value.inputs)
            numerics = Numerics(value.type.dtype, value.type.dtype, FLOAT_TOTAL, value.type.dtype)
            problem = Problem(
                value.type.shape[0],
                1,
                channels,
                channels,
                spatial,
                operands[0],
                NO_WEIGHTS,
                None,
                rank,
                numerics=numerics,
            )
            counts = tuple(count for type in types for count in _integers(type.shape[1:2]))
            return _Joined(around, merged(problem, around), operands, counts)
    return None


def _integers(dims: Sequence[object]) -> Iterator[int]:
    for dim in dims:
        assert isinstance(dim, int)
        yield dim
