"""How a concatenation of channels in blocked layout is split: which vectors the blocks of the output come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from tensorwright.kernels.cpu.spatial.tiling import OutputRun, Tiling


@dataclass(frozen=True)
class Source:
    """A block of channels of an operand; in the next block of a run, its next one."""

    operand: int
    block: int


@dataclass(frozen=True)
class Blocks:
    """Neighbouring blocks of the output that come alike from their sources.

    first, count: which blocks they are. lanes: for each lane of a block, the number of its source and its lane there.
    """

    first: int
    count: int
    sources: tuple[Source, ...]
    lanes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ConcatenationTiling(Tiling):
    """A concatenation of operands with so many channels, as a convolution that computes nothing."""

    channels: tuple[int, ...]

    @cached_property
    def runs(self) -> tuple[Blocks, ...]:
        """The blocks of the output, those that share code taken together."""
        found: list[Blocks] = []
        for _, group in groupby(self._blocks(), key=_kind):
            first, *others = group
            found.append(Blocks(first.first, 1 + len(others), first.sources, first.lanes))
        return tuple(found)

    @cached_property
    def output_runs(self) -> tuple[OutputRun, ...]:
        return tuple(OutputRun(run.first, run.count, run.first, (self.lanes,)) for run in self.runs)

    def _blocks(self) -> Iterator[Blocks]:
        places = [(n, channel) for n, count in enumerate(self.channels) for channel in range(count)]
        for number in range(self.output_blocks):
            inside = places[number * self.lanes : (number + 1) * self.lanes]
            taken = [(operand, channel // self.lanes, channel % self.lanes) for operand, channel in inside]
            sources = list(dict.fromkeys(Source(operand, block) for operand, block, _ in taken))
            lanes = [(sources.index(Source(operand, block)), lane) for operand, block, lane in taken]
            lanes += lanes[-1:] * (self.lanes - len(lanes))
            yield Blocks(number, 1, tuple(sources), tuple(lanes))


def _kind(blocks: Blocks) -> Sequence[object]:
    """Equal for neighbours of which the later one comes from the next blocks of the same operands."""
    return [(source.operand, source.block - blocks.first) for source in blocks.sources], blocks.lanes
