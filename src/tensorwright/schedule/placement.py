"""Steps and their operands before memory is laid out, and what lays it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tensorwright.plan.plan import Address
from tensorwright.schedule.arena import Block, Placement, place
from tensorwright.tune.choice import Choice

ALONE = 1 << 1
"""The numbers of threads with which nobody waits: one."""


@dataclass(frozen=True)
class Operand:
    """Memory that a step reads or writes: bytes of a whole tensor whose elements have `width` bytes.

    block: the block of the arena that `address` is an offset into, None for weights and bindings.
    """

    address: Address
    size: int
    width: int
    writes: bool
    block: int | None

    def placed(self, offsets: Sequence[int]) -> Address:
        if self.block is None:
            return self.address
        return replace(self.address, offset=offsets[self.block] + self.address.offset)


@dataclass(frozen=True, eq=False)
class Stage:
    """A step before memory is laid out; operands: output first; time: when it runs, in the units of `Block`."""

    choice: Choice
    operands: tuple[Operand, ...]
    time: int


@dataclass(frozen=True)
class Arrangement:
    """Where blocks lie; `free`: for every step, the numbers of threads that need not wait before it, as bits."""

    placement: Placement
    free: tuple[int, ...]


Arrange = Callable[[Sequence[Stage], Sequence[Block]], Arrangement]


def arrange_alone(stages: Sequence[Stage], blocks: Sequence[Block]) -> Arrangement:
    """The smallest arena, for steps that run one after another without threads."""
    return Arrangement(place(blocks), (ALONE,) * len(stages))
