"""Convolution of images whose extents are known only at run time, into the blocked layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf

from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import OpenProblem, Problem, layouts, open_problem_of, packings
from tensorwright.kernels.cpu.arithmetic import arithmetic_of
from tensorwright.kernels.cpu.blocks import blocked_layout
from tensorwright.kernels.cpu.convolution.candidates import TapTile, options_for, step_cost
from tensorwright.kernels.cpu.convolution.lanewise import LanewiseTiling, is_lanewise, pack_lanewise
from tensorwright.kernels.cpu.convolution.open import OpenTasks
from tensorwright.kernels.cpu.convolution.open_deep import DeepOpenTasks
from tensorwright.kernels.cpu.convolution.packing import pack_bias, pack_outputs, pack_spanning
from tensorwright.kernels.cpu.convolution.tactic import FEW_CHANNELS, PLAIN_CHANNELS
from tensorwright.kernels.cpu.dealing import many_tasks
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.spatial.operands import row_options
from tensorwright.kernels.cpu.spatial.runs import even_size, even_sizes
from tensorwright.kernels.cpu.spatial.tiling import Tiling, TilingOptions
from tensorwright.kernels.tactic import TUNED, Config, Kernel, Tactic
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.layout import PLAIN

WIDEST = 14
"""Positions in a tile whose lanes stay apart, at most."""


class OpenConvolution(Tactic[Target, TilingOptions]):
    """Tiles of positions of a row × blocks of output channels in registers, as the direct convolution has them, with
    loops instead of code for every place where taps leave the image; vectors of channels where lanes may stay apart.
    """

    name = "open convolution"

    def configs(self, region: Region, target: Target) -> Sequence[Config[TilingOptions]]:
        problem = open_problem_of(region)
        if problem is None or problem.usual.numerics.is_integer:
            return ()
        usual, blocked = problem.usual, blocked_layout(target)
        sources = [blocked] if usual.all_channels > FEW_CHANNELS or usual.groups > 1 else []
        if usual.groups == 1 and usual.channels <= PLAIN_CHANNELS:
            sources.append(PLAIN)
        return [
            Config(layouts(region, usual, source, blocked), blocked, options)
            for source in sources
            for options in dict.fromkeys(_options(problem, target))
            if not options.depth or (source != PLAIN and usual.channels % source.block == 0)
        ]

    def efficiency(self, region: Region, config: Config[TilingOptions]) -> float:
        return TUNED

    def emit(self, region: Region, config: Config[TilingOptions], target: Target) -> Kernel:
        problem = open_problem_of(region)
        assert problem is not None
        usual, symbols = problem.usual, region.symbols
        lanes = target.lanes(usual.numerics.total)
        lanewise = is_lanewise(usual, lanes)
        tiling = (LanewiseTiling if lanewise else Tiling)(usual, config.options, lanes)
        emitter = argument_emitter(len(region.inputs), symbols, target)
        operands = emitter.operands
        kind = DeepOpenTasks if tiling.options.depth else OpenTasks
        tasks = kind(
            problem=problem,
            tiling=tiling,
            arithmetic=arithmetic_of(usual.numerics, target, 1),
            block=config.inputs[usual.x].block,
            lanewise=lanewise,
            emitter=emitter,
            epilogue=epilogue_of(region, config.inputs, config.output),
            output=Pointer("%out"),
            x=operands[usual.x],
            weights=operands[usual.weights],
            bias=None if usual.bias is None else operands[usual.bias],
        )
        tasks.run(Register("%begin", INT64), Register("%end", INT64))
        whole = pack_spanning if tiling.spans else pack_outputs
        weights = pack_lanewise(tiling) if lanewise else whole(tiling)
        return Kernel(
            text=emitter.builder.module(signature(len(operands), len(symbols)), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=tasks.tasks,
            packings=packings(region, usual, config, weights, pack_bias(tiling.lanes)),
            symbols=symbols,
            workspace=tasks.workspace,
        )


TACTICS = (OpenConvolution(),)


def _options(problem: OpenProblem, target: Target) -> Iterator[TilingOptions]:
    """Tiles of one row, all taps around the loop over channels; pixels: rows of a task, or tiles of the only row.

    Tasks that share pixels have as many as stay in a cache while weights pass, but leave enough tasks.
    """
    usual, lanes = problem.usual, target.lanes(problem.usual.numerics.total)
    for options in _tiles(usual, target):
        if options.depth:
            yield options
            continue
        units = usual.axes[0].output if problem.axes[0].output != 1 else -(-usual.axes[1].output // options.columns)
        dealt = max(1, units * Tiling(usual, options, lanes).group_count // many_tasks(target))
        yield replace(options, pixels=min(options.pixels, dealt) if options.pixels_first else dealt)


def _tiles(usual: Problem, target: Target) -> Iterator[TilingOptions]:
    if is_lanewise(usual, target.lanes(usual.numerics.total)):
        most = min(WIDEST, target.registers - usual.channels * usual.axes[1].kernel - 1)
        for limit in dict.fromkeys((max(most, 1), max(most // 2, 1))):
            yield row_options(even_size(usual.axes[1].output, limit))
        return
    for options in options_for(usual, target, cost=_cost):
        if options.rows == 1 and (not options.taps_inside or usual.axes[-1].kernel == 1):
            yield replace(options, outputs=1, taps_inside=False, prefetch=False)


def _cost(usual: Problem, target: Target, tile: TapTile) -> float:
    """Cycles, more or less, for one channel of all pixels of a row and all outputs; what has more rows, or taps inside,
    comes last.
    """
    rows, columns, blocks, inside = tile
    axis, vectors = usual.axes[1], -(-usual.all_outputs // target.lanes(usual.numerics.total))
    if rows > 1 or (inside and axis.kernel > 1):
        return inf
    starts = [max(0, min(start, axis.output - columns)) for start in range(0, axis.output, columns)]
    steps = sum(
        any(axis.reads(start + column, tap) for column in range(columns))
        for start in starts
        for tap in range(axis.kernel)
    )
    return steps * sum(step_cost(usual, columns, size) * count for size, count in even_sizes(vectors, blocks))
