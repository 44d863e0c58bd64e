"""A depthwise convolution with what comes before and after it, computed strip by strip: shapes and workspace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from tensorwright.graph.graph import is_constant, weights_in
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import Axis, Problem, merged, problem_of
from tensorwright.kernels.cpu.convolution.lanewise import LanewiseTiling
from tensorwright.kernels.cpu.spatial.runs import tile_count
from tensorwright.kernels.cpu.spatial.tile import Memory
from tensorwright.kernels.cpu.spatial.tiling import Tiling, TilingOptions
from tensorwright.kernels.numerics import FLOATS
from tensorwright.kernels.tactic import TacticOptions
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import DType

CACHE_SETS_BYTES = 4096
"""Addresses that differ by a multiple of this share their set of the first cache on common processors."""


@dataclass(frozen=True)
class Strips:
    """height: rows of the depthwise result in a strip; count: neighbouring strips in one task; parts: tasks among which
    the channels of one strip are divided.
    """

    height: int
    count: int
    parts: int = 1


@dataclass(frozen=True)
class ChainOptions(TacticOptions):
    """The strips, and how every member is split."""

    strips: Strips
    members: tuple[TilingOptions, ...]

    def items(self) -> Iterator[tuple[str, int]]:
        """Those of the strips, then those of every member behind its number."""
        yield from (("height", self.strips.height), ("count", self.strips.count), ("parts", self.strips.parts))
        for number, options in enumerate(self.members):
            yield from ((f"{number}.{name}", value) for name, value in options.items())


@dataclass(frozen=True)
class Members:
    """The convolutions of a joined region, as they follow each other: any but the depthwise one may be missing."""

    before: Problem | None
    depthwise: Problem
    after: Problem | None

    @property
    def all(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in (self.before, self.depthwise, self.after) if problem is not None)


def members_of(region: Region) -> Members | None:
    """The members of a joined region; None if it is no such chain.

    Before the depthwise convolution comes any dense one, after it a pointwise one, each in two spatial dimensions.
    """
    problems = [problem for stage in region.stages if (problem := problem_of(stage)) is not None]
    if not 2 <= len(problems) == len(region.stages) <= 3 or not _is_chain(region):
        return None
    place = next((number for number, problem in enumerate(problems) if problem.is_depthwise), None)
    if place is None or place > 1 or any(problem.rank != 2 for problem in problems):
        return None
    if any(problem.numerics.left not in FLOATS for problem in problems):
        return None
    problems = [problems[0], *map(_handed_on, problems[1:])]
    before = problems[0] if place else None
    after = problems[place + 1] if place + 1 < len(problems) else None
    if len(problems) > place + 2 or (before and before.groups > 1):
        return None
    if after and (after.groups > 1 or not all(axis.is_pointwise for axis in after.axes)):
        return None
    return Members(before, problems[place], after)


def _handed_on(problem: Problem) -> Problem:
    """A member whose input is the workspace, in the type of the sum."""
    return replace(problem, numerics=replace(problem.numerics, left=problem.numerics.total))


def merged_members(members: Members, region: Region) -> Members:
    """The members with all pixels along one axis where they are pointwise, for strips of whole images."""
    before, after = members.before, members.after
    return Members(
        before and merged(before, region.stages[0]), members.depthwise, after and merged(after, region.stages[-1])
    )


def _is_chain(region: Region) -> bool:
    """Whether every stage reads the one before as its convolution's input alone, and no two share their constants."""
    for previous, stage in zip(region.stages, region.stages[1:], strict=False):
        assert stage.anchor is not None
        reads = sum(value.inputs.count(previous.output) for value in stage.values)
        if reads != 1 or stage.anchor.inputs[0] is not previous.output:
            return False
    packed = [value for stage in region.stages for value in stage.inputs if is_constant(value)]
    large = [value for value in packed if not weights_in(value).is_scalar]
    return len(set(large)) == len(large)


@dataclass(frozen=True)
class ChainTiling:
    """The members, how each is split, and what follows from both."""

    members: Members
    candidates: tuple[TilingOptions, ...]
    strips: Strips
    lanes: int

    @property
    def total(self) -> DType:
        """The type of sums, in which results are handed on."""
        return self.members.depthwise.numerics.total

    @property
    def options(self) -> ChainOptions:
        return ChainOptions(self.strips, self.candidates)

    @cached_property
    def depthwise(self) -> LanewiseTiling:
        return LanewiseTiling(self.members.depthwise, self.candidates[int(self.members.before is not None)], self.lanes)

    @cached_property
    def before(self) -> Tiling | None:
        return None if self.members.before is None else Tiling(self.members.before, self.candidates[0], self.lanes)

    @cached_property
    def after(self) -> Tiling | None:
        return None if self.members.after is None else Tiling(self.members.after, self.candidates[-1], self.lanes)

    @property
    def tilings(self) -> tuple[Tiling, ...]:
        return tuple(tiling for tiling in (self.before, self.depthwise, self.after) if tiling is not None)

    @property
    def rows(self) -> Axis:
        return self.members.depthwise.axes[0]

    @property
    def strip_count(self) -> int:
        """Strips in an image."""
        return -(-self.rows.output // self.strips.height)

    @property
    def is_whole(self) -> bool:
        """Whether there is but one strip."""
        return self.strip_count == 1

    @property
    def strip_tasks(self) -> int:
        """Tasks among which the strips of an image are divided."""
        return -(-self.strip_count // self.strips.count)

    @property
    def part_groups(self) -> int:
        """Groups of output blocks of the first member in one task."""
        return -(-self.tilings[0].group_count // self.strips.parts)

    @property
    def tasks(self) -> Dim:
        return self.members.depthwise.batch * (self.strip_tasks * self.strips.parts)

    @property
    def is_sound(self) -> bool:
        """Whether tiles of rows do not cross the borders of strips."""
        return self.is_whole or all(tiling.options.rows == 1 and tile_count(tiling.rows) > 1 for tiling in self.tilings)

    # ---- workspace

    @property
    def reach(self) -> int:
        """Rows of input from the first that one row of the result reads to the last."""
        return (self.rows.kernel - 1) * self.rows.dilation + 1

    @property
    def has_ring(self) -> bool:
        """Whether rows of the depthwise input stay for the next strip of a task."""
        return self.strips.count > 1

    @property
    def input_memory(self) -> Memory:
        """The depthwise input: the rows that one strip reads."""
        height = min((self.strips.height - 1) * self.rows.stride + self.reach, self.rows.input)
        memory = _memory(height, self.members.depthwise.axes[1].input, self.lanes, self.total)
        return replace(memory, ring=height) if self.has_ring else memory

    @property
    def result_memory(self) -> Memory:
        """The depthwise result: the rows of one strip, all channels."""
        return _memory(self.strips.height, self.members.depthwise.axes[1].output, self.lanes, self.total)

    @property
    def input_elements(self) -> int:
        """Those of all blocks if they stay for another strip, else of as many as are computed at once."""
        if self.before is None:
            return 0
        largest = max(len(run.lanes) for run in self.before.output_runs)
        return self.input_memory.channel * (self.depthwise.output_blocks if self.has_ring else largest)

    @property
    def result_elements(self) -> int:
        return 0 if self.after is None else self.result_memory.channel * self.depthwise.output_blocks

    @property
    def workspace(self) -> int:
        """Bytes."""
        return (self.input_elements + self.result_elements) * self.total.size


def _memory(height: int, width: int, lanes: int, total: DType) -> Memory:
    channel = height * width * lanes
    if channel * total.size % CACHE_SETS_BYTES == 0:
        channel += lanes
    return Memory(0, (width * lanes, lanes), channel, lanes)


# ---- configs


def chain_tiling_of(members: Members, region: Region, options: ChainOptions, lanes: int) -> ChainTiling:
    """The tiling for a options."""
    if options.strips.height >= members.depthwise.axes[0].output:
        members = merged_members(members, region)
    return ChainTiling(members, options.members, options.strips, lanes)


def heights_of(extent: int) -> Sequence[int]:
    """Heights of strips that divide an extent evenly, more or less, into 1, 2, 4, ... strips."""
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64, 128) if count < 2 * extent]
    return list(dict.fromkeys(-(-extent // count) for count in counts))
