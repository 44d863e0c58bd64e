"""Maxima and means under sliding windows, in the blocked layout and row-major."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import Axis
from tensorwright.kernels.cpu.blocks import blocked_layout
from tensorwright.kernels.cpu.convolution.kernel import in_place_inputs
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.pooling.tasks import BlockedTasks, LineTasks
from tensorwright.kernels.cpu.pooling.tiling import LineTiling, PoolingTiling
from tensorwright.kernels.cpu.spatial.operands import dealt, layouts, packings, row_options
from tensorwright.kernels.cpu.spatial.runs import even_size
from tensorwright.kernels.cpu.spatial.tasks import written
from tensorwright.kernels.cpu.spatial.tile import input_memory
from tensorwright.kernels.cpu.spatial.tiling import TilingOptions
from tensorwright.kernels.pooling.problem import Pooling, pooling_of
from tensorwright.kernels.tactic import Config, Kernel, Tactic
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.layout import PLAIN, Layout

WIDEST_WINDOW = 16
"""Windows of at most so many elements along the last axis: code is written out for each of them."""
HIGHEST_WINDOW = 512
"""Windows of at most so many elements along the other axes: every one of them is looked at for each kind of tile."""
STEEPEST_STRIDE = 4
"""Row-major, the lanes of a vector of outputs come from at most so many vectors of inputs."""
MOST_KINDS = 256
"""Kinds of tiles, each of which has code of its own."""


class PoolingTactic(Tactic[Target, TilingOptions]):
    """Several outputs of a row at once, without a test for padding where there is none."""

    name = "pooling"

    def configs(self, region: Region, target: Target) -> Sequence[Config[TilingOptions]]:
        pooling = pooling_of(region)
        if pooling is None or not _is_small(pooling.problem.axes):
            return ()
        blocked, last = blocked_layout(target), pooling.problem.axes[-1]
        candidates = [(blocked, options) for options in dict.fromkeys(_blocked_candidates(pooling, target))]
        if last.stride <= STEEPEST_STRIDE and last.output > 1:
            candidates.append((PLAIN, _line_options(pooling, target)))
        return [
            Config(layouts(region, {pooling.problem.x}, layout), layout, options)
            for layout, options in candidates
            if _tiling(pooling, options, layout, target).kinds <= MOST_KINDS
        ]

    def emit(self, region: Region, config: Config[TilingOptions], target: Target) -> Kernel:
        pooling = pooling_of(region)
        assert pooling is not None
        problem, symbols = pooling.problem, region.symbols
        tiling = _tiling(pooling, config.options, config.output, target)
        emitter = argument_emitter(len(region.inputs), symbols, target)
        builder, operands = emitter.builder, emitter.operands
        epilogue = epilogue_of(region, config.inputs, config.output)
        in_place = in_place_inputs(region, config, problem, epilogue)
        tasks = LineTasks if config.output.is_plain else BlockedTasks
        tasks(
            tiling=tiling,
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
            tasks=tiling.tasks,
            packings=packings(region, config),
            symbols=symbols,
            in_place=in_place,
            writes=written(tiling),
        )


TACTICS = (PoolingTactic(),)


def _is_small(axes: Sequence[Axis]) -> bool:
    return axes[-1].kernel <= WIDEST_WINDOW and all(axis.kernel <= HIGHEST_WINDOW for axis in axes)


def _tiling(pooling: Pooling, options: TilingOptions, layout: Layout, target: Target) -> PoolingTiling:
    if layout.is_plain:
        return LineTiling(pooling.problem, options, 1, pooling)
    return PoolingTiling(pooling.problem, options, blocked_layout(target).block, pooling)


def _blocked_candidates(pooling: Pooling, target: Target) -> Iterator[TilingOptions]:
    """Outputs of a row at once: few, as no weights are shared."""
    width = pooling.problem.axes[-1].output
    for limit in (target.registers // 4, target.registers // 2):
        columns = even_size(width, limit)
        yield dealt(_tiling(pooling, row_options(columns), blocked_layout(target), target), target)


def _line_options(pooling: Pooling, target: Target) -> TilingOptions:
    return dealt(_tiling(pooling, row_options(blocked_layout(target).block), PLAIN, target), target)
