"""Where the tensors of a network lie, so that the arena is small and threads wait rarely for each other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from tensorwright.codegen.cpu.entry import Address
from tensorwright.schedule.arena import Block, Placement, place
from tensorwright.schedule.barriers import Access, Accesses, barriers, free_threads, kept_free


@dataclass(frozen=True, eq=False)
class Operand:
    """Memory that a step uses; `block`: the block of the arena that `access.address` is an offset into, if any."""

    access: Access
    block: int | None

    def placed(self, offsets: Sequence[int]) -> Access:
        if self.block is None:
            return self.access
        return replace(self.access, address=Address("arena", offsets[self.block] + self.access.address.offset))


@dataclass(frozen=True, eq=False)
class Stage:
    """A step before memory is laid out.

    operands: output first; further: where the same tensors are touched in yet another way. time: when it runs, in the
    units in which blocks are alive.
    """

    tasks: int | None
    operands: tuple[Operand, ...]
    further: tuple[Operand, ...]
    time: int

    def placed(self, offsets: Sequence[int]) -> Accesses:
        moving = [operand for operand in (*self.operands, *self.further) if operand.access.address.base != "weights"]
        return Accesses(self.tasks, tuple(operand.placed(offsets) for operand in moving))


@dataclass(frozen=True)
class Arrangement:
    """Where blocks lie; `free`: for every step, the numbers of threads that need not wait before it, as bits."""

    placement: Placement
    free: tuple[int, ...]


def arrange(stages: Sequence[Stage], blocks: Sequence[Block], threads: int) -> Arrangement:
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


def _waits(stages: Sequence[Stage], offsets: Sequence[int], threads: int) -> list[int]:
    """The steps before which so many threads wait, blocks lying at these offsets."""
    steps = [stage.placed(offsets) for stage in stages]
    free = kept_free(len(steps), lambda a, b: bool(free_threads(steps[a], steps[b]) >> threads & 1))
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
