"""Depthwise convolution in one kernel with the dense convolution before it and the pointwise one behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from operator import itemgetter

from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import Problem, layouts, problem_of
from tensorwright.kernels.cpu.blocks import blocked_layout
from tensorwright.kernels.cpu.convolution.candidates import options_for
from tensorwright.kernels.cpu.convolution.chain_kernel import chain_kernel
from tensorwright.kernels.cpu.convolution.chain_tiling import (
    ChainOptions,
    ChainTiling,
    Members,
    Strips,
    chain_tiling_of,
    heights_of,
    members_of,
    merged_members,
)
from tensorwright.kernels.cpu.convolution.tactic import FEW_CHANNELS, PLAIN_CHANNELS
from tensorwright.kernels.cpu.dealing import sharers
from tensorwright.kernels.cpu.spatial.operands import row_options
from tensorwright.kernels.cpu.spatial.runs import even_size
from tensorwright.kernels.cpu.spatial.tiling import TilingOptions
from tensorwright.kernels.tactic import Config, Kernel, Tactic
from tensorwright.tensor.layout import PLAIN, Layout

FEW_TASKS = (1, 2)
"""Into so many tasks the strips of an image are divided, where that makes work."""

MOST_CANDIDATES = 3
"""Cuts of one dense member that are tried, the most promising of all."""

PREFERRED = 0.4
"""The share of what workspace a kernel may have that strips should use."""


class ConvolutionChain(Tactic[Target, ChainOptions]):
    """Strips of rows: the tensors between the convolutions are never in memory as a whole, only in the caches."""

    name = "convolution chain"
    joins = True

    def configs(self, region: Region, target: Target) -> Sequence[Config[ChainOptions]]:
        members = members_of(region)
        if members is None:
            return ()
        blocked = blocked_layout(target)
        tilings = _tilings(members, region, target)
        found = []
        for source in _sources(members, blocked):
            inputs = _layouts(region, source, blocked)
            if inputs is not None:
                found += [Config(inputs, blocked, tiling.options) for tiling in tilings]
        return found

    def emit(self, region: Region, config: Config[ChainOptions], target: Target) -> Kernel:
        members = members_of(region)
        assert members is not None
        tiling = chain_tiling_of(members, region, config.options, _lanes(members, target))
        return chain_kernel(region, config, target, tiling)


TACTICS = (ConvolutionChain(),)


# ---- configs


def _lanes(members: Members, target: Target) -> int:
    return target.lanes(members.depthwise.numerics.total)


def _sources(members: Members, blocked: Layout) -> Iterator[Layout]:
    """Layouts of the input, as the first member's own tactic reads it."""
    if members.before is None or members.before.channels > FEW_CHANNELS:
        yield blocked
    if members.before is not None and members.before.channels <= PLAIN_CHANNELS:
        yield PLAIN


def _layouts(region: Region, source: Layout, blocked: Layout) -> tuple[Layout, ...] | None:
    """The layouts of all inputs; None if two members would read one input in different layouts."""
    found: dict[int, Layout] = {}
    for stage in region.stages:
        problem = problem_of(stage)
        assert problem is not None
        x = source if stage is region.stages[0] else blocked
        for value, layout in zip(stage.inputs, layouts(stage, problem, x, blocked), strict=True):
            if value in region.inputs and found.setdefault(region.input_number(value), layout) != layout:
                return None
    return tuple(found[number] for number in range(len(region.inputs)))


def _tilings(members: Members, region: Region, target: Target) -> list[ChainTiling]:
    """Strips of every height that fits, with some tilings of its members and in some numbers of tasks; those first that
    are the first choice, or nearly, in all respects.
    """
    limit, output = target.l2_bytes // 2, members.depthwise.axes[0].output
    by_height: list[list[tuple[int, ChainTiling]]] = []
    for height in heights_of(output):
        own = members if height < output else merged_members(members, region)
        ranked = [
            (rank + number, ChainTiling(own, candidates, strips, _lanes(members, target)))
            for rank, candidates in _candidates(own, target, by_rows=height < output)
            for number, strips in enumerate(_strips(own, height, candidates, target))
        ]
        by_height.append([(rank, tiling) for rank, tiling in ranked if tiling.is_sound and tiling.workspace <= limit])
    by_height = sorted(filter(None, by_height), key=lambda tilings: _distance(tilings[0][1], limit))
    every = [(rank + place, tiling) for place, tilings in enumerate(by_height) for rank, tiling in tilings]
    return [tiling for _, tiling in sorted(every, key=itemgetter(0))]


def _distance(tiling: ChainTiling, limit: int) -> float:
    """How far a tiling is from the best: whole images, then strips that need the preferred workspace."""
    return -1.0 if tiling.is_whole else abs(tiling.workspace - limit * PREFERRED)


def _strips(members: Members, height: int, candidates: Sequence[TilingOptions], target: Target) -> list[Strips]:
    """Few tasks, between which few rows are computed twice, and more of them; one for every strip where nothing is, or
    for every part of the channels, if these are enough.
    """
    one = ChainTiling(members, tuple(candidates), Strips(height, 1), _lanes(members, target))
    if members.before is None:
        return [Strips(height, 1)]
    if members.after is None:
        parts = one.tilings[0].group_count
        return [Strips(height, -(-one.strip_count // -(-sharers(target) // parts)), parts)]
    return list(dict.fromkeys(Strips(height, -(-one.strip_count // tasks)) for tasks in (*FEW_TASKS, sharers(target))))


def _candidates(members: Members, target: Target, *, by_rows: bool) -> Iterator[tuple[int, tuple[TilingOptions, ...]]]:
    """The candidates of all members, behind the sum of their ranks."""
    depthwise = _depthwise_options(members.depthwise, target)
    before = _dense_candidates(members.before, target, by_rows)
    if members.before is not None and members.before.taps == 1:
        before = sorted(
            before, key=lambda options: -options.blocks if options else 0
        )  # Few channels: pass over them once.
    after = _dense_candidates(members.after, target, by_rows)
    for (rank, first), (place, last) in product(enumerate(before), enumerate(after)):
        yield rank + place, tuple(options for options in (first, depthwise, last) if options is not None)


def _dense_candidates(problem: Problem | None, target: Target, by_rows: bool) -> Sequence[TilingOptions | None]:
    if problem is None:
        return [None]
    candidates = dict.fromkeys(
        replace(options, pixels=1, outputs=1, pixels_first=False, depth=0) for options in options_for(problem, target)
    )
    return [options for options in candidates if options.rows == 1 or not by_rows][:MOST_CANDIDATES]


def _depthwise_options(problem: Problem, target: Target) -> TilingOptions:
    most = max(4, target.registers - problem.axes[-1].kernel - (3 if target.has_fma else 4))
    return row_options(even_size(problem.axes[-1].output, most))
