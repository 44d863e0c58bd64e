"""How a direct convolution is split: register tiles, the order in which they come, parallel tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import gcd, prod

from tensorwright.kernels.convolution.problem import Axis, Problem
from tensorwright.kernels.cpu.spatial.runs import Run, even_sizes, runs_of, tile_count
from tensorwright.kernels.tactic import TacticOptions
from tensorwright.tensor.dim import Dim

HALVED_LANES = 16
"""Vectors of so many lanes may be halved: on some processors half a vector takes half the time."""


@dataclass(frozen=True)
class TilingOptions(TacticOptions):
    """The options of a direct convolution.

    rows, columns, blocks: the largest register tile: positions along the last two axes, blocks of output channels.
    unroll: input channels in one round of the innermost loop. taps_inside: whether the taps of the last axis are all in
    that round; otherwise each has a loop over the channels. pixels, outputs: tiles of pixels and groups of output
    blocks in one task. pixels_first: whether tasks that share pixels follow each other, rather than tasks that share
    weights. prefetch: whether weights are asked for some time before they are used, as they come from memory. group:
    neighbouring channels that one step of the arithmetic consumes. depth: input channels that are summed for all tiles
    of a task before the next ones are; 0: all of them.
    """

    rows: int
    columns: int
    blocks: int
    unroll: int
    taps_inside: bool
    pixels: int
    outputs: int
    pixels_first: bool
    prefetch: bool
    group: int = 1
    depth: int = 0


@dataclass(frozen=True)
class OutputRun:
    """Groups of output blocks that share code: first and count say which, `block` is the first block of the first.

    lanes: outputs computed in each block of a group.
    """

    first: int
    count: int
    block: int
    lanes: tuple[int, ...]


@dataclass(frozen=True)
class Tiling:
    """A problem and its options, and what follows from both.

    A group of a grouped convolution is computed by whole blocks of outputs if they divide evenly; otherwise a block
    may *span* groups, and sums over the channels of all groups that it touches, with zero weights where they do not
    belong together.
    """

    problem: Problem
    options: TilingOptions
    lanes: int

    @cached_property
    def columns(self) -> tuple[Run, ...]:
        axis = self.problem.axes[-1]
        return runs_of(axis, even_sizes(axis.output, self.options.columns))

    @cached_property
    def rows(self) -> tuple[Run, ...]:
        axis = self.problem.axes[-2]
        return runs_of(
            axis, even_sizes(axis.output, self.options.rows), walked=self.options.rows == 1 or not axis.clips
        )

    @property
    def outer(self) -> tuple[Axis, ...]:
        return self.problem.axes[:-2]

    @property
    def outer_positions(self) -> int:
        return prod(axis.output for axis in self.outer)

    @property
    def output_blocks(self) -> int:
        return -(-self.problem.all_outputs // self.lanes)

    @cached_property
    def output_runs(self) -> tuple[OutputRun, ...]:
        """Groups of output blocks, as even as possible; a last block that is at most half full has half the lanes."""
        runs: list[OutputRun] = []
        block = 0
        for size, count in even_sizes(self.output_blocks, self.options.blocks):
            runs.append(OutputRun(sum(run.count for run in runs), count, block, (self.lanes,) * size))
            block += size * count
        return tuple(_last_halved(runs) if self._last_is_half else runs)

    @property
    def _last_is_half(self) -> bool:
        rest = self.problem.all_outputs % self.lanes
        return self.problem.groups == 1 and self.lanes >= HALVED_LANES and 0 < rest <= self.lanes // 2

    @property
    def group_count(self) -> int:
        return sum(run.count for run in self.output_runs)

    @property
    def rows_are_units(self) -> bool:
        """Whether a unit of pixels, of which tasks take several, is a tile of rows; else it is a tile of columns."""
        return tile_count(self.rows) > 1

    @property
    def units(self) -> int:
        return tile_count(self.rows if self.rows_are_units else self.columns)

    @property
    def pixel_tasks(self) -> int:
        return -(-self.units // self.options.pixels)

    @property
    def output_tasks(self) -> int:
        return -(-self.group_count // self.options.outputs)

    @property
    def tasks(self) -> Dim:
        return self.problem.batch * (self.outer_positions * self.pixel_tasks * self.output_tasks)

    @property
    def weight_taps(self) -> tuple[int, int]:
        """Taps around the loop over channels and taps inside it."""
        inside = self.problem.axes[-1].kernel if self.options.taps_inside else 1
        return self.problem.taps // inside, inside

    # ---- channels

    @property
    def weights_per_output(self) -> int:
        return self.problem.taps * self.weight_channels

    @property
    def spans(self) -> bool:
        """Whether blocks of outputs span groups."""
        return self.problem.groups > 1 and self.problem.outputs % (self.options.blocks * self.lanes) != 0

    @property
    def weight_channels(self) -> int:
        """Input channels for which there are weights, in every block of outputs: whole groups of them."""
        count = max(count for _, count in self.channel_ranges) if self.spans else self.problem.channels
        return -(-count // self.options.group) * self.options.group

    @property
    def channel_ranges(self) -> tuple[tuple[int, int], ...]:
        """For every block of outputs of a spanning convolution, the first channel that it reads and how many."""
        problem, lanes = self.problem, self.lanes
        ranges = []
        for block in range(self.output_blocks):
            first = block * lanes // problem.outputs
            last = (min((block + 1) * lanes, problem.all_outputs) - 1) // problem.outputs
            ranges.append((first * problem.channels, (last - first + 1) * problem.channels))
        return tuple(ranges)

    def unroll(self, block: int) -> int:
        """Input channels in one round, so that no round crosses a block of the input."""
        problem, wanted = self.problem, self.options.unroll
        if self.spans or (problem.groups > 1 and block > 1):
            return gcd(wanted, problem.channels)
        return min(wanted, block) if block > 1 else wanted


def _last_halved(runs: Sequence[OutputRun]) -> Iterator[OutputRun]:
    """The runs of which the very last block has half the lanes."""
    *others, last = runs
    yield from others
    if last.count > 1:
        yield replace(last, count=last.count - 1)
    before = last.count - 1
    yield OutputRun(
        last.first + before, 1, last.block + before * len(last.lanes), (*last.lanes[1:], last.lanes[0] // 2)
    )
