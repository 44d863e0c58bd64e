"""Where the tensors of a network lie, so that the arena is small and threads wait rarely for each other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from tensorwright.schedule.arena import Block, Placement, place
from tensorwright.schedule.cpu.barriers import Access, Accesses, barriers, free_threads, kept_free, rivals_of
from tensorwright.schedule.cpu.boxes import Boxes, touched
from tensorwright.schedule.placement import Arrange, Arrangement, Operand, Stage


@dataclass(frozen=True, eq=False)
class TeamStage:
    """A stage whose tasks are dealt out to threads.

    tasks: how many, None if that is known only at run time. uses: what they touch of every operand that may change
    while the network runs, once for each way in which they touch it; None: perhaps all of it.
    """

    tasks: int | None
    uses: tuple[tuple[Operand, Boxes | None], ...]
    time: int

    @classmethod
    def of(cls, stage: Stage) -> TeamStage:
        region, kernel = stage.choice.region, stage.choice.kernel
        known = touched(region, kernel)
        output, *inputs = stage.operands
        uses: list[tuple[Operand, Boxes | None]] = [(output, None if known is None else known.output)]
        for number, operand in enumerate(inputs):
            if operand.address.base != "weights":
                read = None if known is None else known.inputs[number]
                uses += [(operand, boxes) for boxes in read or (None,)]
        return cls(kernel.tasks if isinstance(kernel.tasks, int) else None, tuple(uses), stage.time)

    def placed(self, offsets: Sequence[int]) -> Accesses:
        return Accesses(
            self.tasks,
            tuple(Access(o.placed(offsets), o.size, o.width, o.writes, boxes) for o, boxes in self.uses),
        )


def arrange_for(threads: int) -> Arrange:
    """What lays out memory so that so many threads wait rarely."""
    return lambda stages, blocks: arrange([TeamStage.of(stage) for stage in stages], blocks, threads)


def arrange(stages: Sequence[TeamStage], blocks: Sequence[Block], threads: int) -> Arrangement:
    """The smallest arena; among arenas of that size, one with which so many threads wait rarely.

    Memory that is used again has to wait for all who used it before. Steps between which nobody waits therefore count
    as one time for blocks to be alive, as far as the arena does not grow by that.
    """
    smallest = place(blocks)
    placements = [smallest]
    if threads > 1:
        needed = _waits(stages, [0, *accumulate(block.size for block in blocks)], threads)
        reused = sorted(set(_waits(stages, smallest.offsets, threads)) - set(needed))
        placements += _alternatives(blocks, [stages[s].time for s in needed], [stages[s].time for s in reused])
    fitting = [placement for placement in placements if placement.size <= smallest.size]
    best = min(fitting, key=lambda placement: len(_waits(stages, placement.offsets, threads)))
    found = replace(best, lower_bound=smallest.lower_bound)
    return Arrangement(found, tuple(barriers([stage.placed(found.offsets) for stage in stages])))


def _waits(stages: Sequence[TeamStage], offsets: Sequence[int], threads: int) -> list[int]:
    """The steps before which so many threads wait, blocks lying at these offsets."""
    steps = [stage.placed(offsets) for stage in stages]
    free = kept_free(rivals_of(steps), lambda a, b: bool(free_threads(steps[a], steps[b]) >> threads & 1))
    return sorted(set(range(len(steps))) - set(free))


def _alternatives(blocks: Sequence[Block], needed: Sequence[int], reused: Sequence[int]) -> list[Placement]:
    """Placements for which nobody has to wait at the times in `reused`, or at fewer of them."""
    if not reused:
        return []
    limit = place(blocks).size
    everything = place(_longer(blocks, needed))
    if everything.size <= limit:
        return [everything]
    found, kept = [], list(reused)
    for time in reused:
        fewer = [other for other in kept if other != time]
        placement = place(_longer(blocks, [*needed, *fewer]))
        if placement.size <= limit:
            kept, found = fewer, [placement]
    return found


def _longer(blocks: Sequence[Block], waits: Sequence[int]) -> list[Block]:
    """The blocks, alive from one wait up to the next."""
    times = sorted({0, *waits})
    last = max((block.last for block in blocks), default=0)
    ends = [*(time - 1 for time in times[1:]), last]
    return [
        Block(b.size, times[bisect_right(times, b.first) - 1], ends[bisect_right(times, b.last) - 1]) for b in blocks
    ]
