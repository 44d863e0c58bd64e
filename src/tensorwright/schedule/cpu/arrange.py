"""Where the tensors of a network lie, so that the arena is small and threads wait rarely for each other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from tensorwright.schedule.arena import Block, Placement, place
from tensorwright.schedule.cpu.barriers import Access, Accesses, Apart, barriers
from tensorwright.schedule.cpu.boxes import Boxes, Touched, touched
from tensorwright.schedule.placement import Arrange, Arrangement, Operand, Stage

MOST_ATTEMPTS = 32
MOST_PLACED = 1 << 13
"""Bounds on the placements that are tried for fewer waits, and on the blocks in all of them together."""


@dataclass(frozen=True, eq=False)
class TeamStage:
    """A stage whose tasks are dealt out to threads.

    tasks: how many, None if that is known only at run time. uses: what they touch of every operand that may change
    while the network runs, once for each way in which they touch it; None: perhaps all of it. has_waves: whether all
    threads wait inside it.
    """

    tasks: int | None
    uses: tuple[tuple[Operand, Boxes | None], ...]
    time: int
    has_waves: bool = False

    @classmethod
    def of(cls, stage: Stage, known: Touched | None) -> TeamStage:
        """known: what the tasks of the stage's kernel touch."""
        kernel = stage.choice.kernel
        output, *inputs = stage.operands
        uses: list[tuple[Operand, Boxes | None]] = [(output, None if known is None else known.output)]
        for number, operand in enumerate(inputs):
            if operand.address.base != "weights":
                read = None if known is None else known.inputs[number]
                uses += [(operand, boxes) for boxes in read or (None,)]
        tasks = kernel.tasks if isinstance(kernel.tasks, int) else None
        return cls(tasks, tuple(uses), stage.time, kernel.waves != 1)

    def placed(self, offsets: Sequence[int]) -> Accesses:
        return Accesses(
            self.tasks,
            tuple(Access(o.placed(offsets), o.size, o.width, o.writes, boxes) for o, boxes in self.uses),
            self.has_waves,
        )


def arrange_for(threads: int) -> Arrange:
    """What lays out memory so that so many threads wait rarely."""
    return lambda stages, blocks: arrange(team_stages(stages), blocks, threads)


def team_stages(stages: Sequence[Stage]) -> list[TeamStage]:
    """Stages with what their tasks touch; those with one kernel and one definition share it."""
    known: dict[tuple[int, str], Touched | None] = {}
    found = []
    for stage in stages:
        region, kernel = stage.choice.region, stage.choice.kernel
        key = (id(kernel), region.signature)
        if key not in known:
            known[key] = touched(region, kernel)
        found.append(TeamStage.of(stage, known[key]))
    return found


def arrange(stages: Sequence[TeamStage], blocks: Sequence[Block], threads: int) -> Arrangement:
    """The smallest arena; among arenas of that size, one with which so many threads wait rarely.

    Memory that is used again has to wait for all who used it before. Steps between which nobody waits therefore count
    as one time for blocks to be alive, as far as the arena does not grow by that.
    """
    apart = Apart()
    best = smallest = place(blocks)
    if threads > 1:
        needed = _waits(stages, [0, *accumulate(block.size for block in blocks)], threads, apart)
        waits = _waits(stages, smallest.offsets, threads, apart)
        reused = sorted(set(waits) - set(needed))
        times = [stages[s].time for s in needed], [stages[s].time for s in reused]
        other = _alternative(blocks, *times, smallest.size)
        if other is not None and len(_waits(stages, other.offsets, threads, apart)) < len(waits):
            best = replace(other, lower_bound=smallest.lower_bound)
    return Arrangement(best, tuple(barriers([stage.placed(best.offsets) for stage in stages], apart)))


def _waits(stages: Sequence[TeamStage], offsets: Sequence[int], threads: int, apart: Apart) -> list[int]:
    """The steps before which so many threads wait, blocks lying at these offsets."""
    found = barriers([stage.placed(offsets) for stage in stages], apart, 1 << threads)
    return [number for number, free in enumerate(found) if not free]


def _alternative(blocks: Sequence[Block], needed: Sequence[int], reused: Sequence[int], limit: int) -> Placement | None:
    """A placement within a size for which nobody has to wait at the times in `reused`, or at fewer of them."""
    if not reused:
        return None
    everything = place(_longer(blocks, needed))
    if everything.size <= limit:
        return everything
    attempts = min(len(reused), MOST_ATTEMPTS, MOST_PLACED // len(blocks))
    found, kept = None, list(reused)
    for part in range(attempts):
        dropped = set(reused[part::attempts])
        fewer = [other for other in kept if other not in dropped]
        placement = place(_longer(blocks, [*needed, *fewer]))
        if placement.size <= limit:
            kept, found = fewer, placement
    return found


def _longer(blocks: Sequence[Block], waits: Sequence[int]) -> list[Block]:
    """The blocks, alive from one wait up to the next."""
    times = sorted({0, *waits})
    last = max((block.last for block in blocks), default=0)
    ends = [*(time - 1 for time in times[1:]), last]
    return [
        Block(b.size, times[bisect_right(times, b.first) - 1], ends[bisect_right(times, b.last) - 1]) for b in blocks
    ]
