"""Places tensors in one block of memory so that tensors alive at the same time do not overlap.

Greedy by size: the largest tensor first, each at the lowest gap among the tensors already placed whose lifetimes
overlap its own (Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020). Several orders are
tried and the smallest arena wins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

ALIGNMENT = 64

MANY = 2048
"""More blocks are placed in one order only: largest first."""


@dataclass(frozen=True)
class Block:
    """Memory that is needed from step `first` to step `last`, both included."""

    size: int
    first: int
    last: int

    def overlaps(self, other: Block) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Placement:
    """The offset of every block, the size of the arena, and what no arena can be smaller than."""

    offsets: tuple[int, ...]
    size: int
    lower_bound: int


def place(blocks: Sequence[Block]) -> Placement:
    """Offsets for blocks, multiples of 64 bytes."""
    rounded = [Block(-(-b.size // ALIGNMENT) * ALIGNMENT, b.first, b.last) for b in blocks]
    orders: list[Callable[[int], tuple[int, ...]]] = [
        lambda i: (-rounded[i].size, rounded[i].first),
        lambda i: (-rounded[i].size, -rounded[i].first),
        lambda i: (-rounded[i].size * (rounded[i].last - rounded[i].first + 1), rounded[i].first),
        lambda i: (rounded[i].first, -rounded[i].size),
    ]
    bound = lower_bound(rounded)
    best: list[int] | None = None
    top = 0
    for order in orders[: 1 if len(blocks) > MANY else None]:
        offsets = _greedy(rounded, sorted(range(len(rounded)), key=order))
        size = max((offset + b.size for offset, b in zip(offsets, rounded, strict=True)), default=0)
        if best is None or size < top:
            best, top = offsets, size
    return Placement(tuple(best or ()), top, bound)


def lower_bound(blocks: Sequence[Block]) -> int:
    """The largest sum of sizes of blocks that are alive at the same step."""
    changes: dict[int, int] = {}
    for block in blocks:
        changes[block.first] = changes.get(block.first, 0) + block.size
        changes[block.last + 1] = changes.get(block.last + 1, 0) - block.size
    return max(accumulate(changes[step] for step in sorted(changes)), default=0)


def _greedy(blocks: Sequence[Block], order: Sequence[int]) -> list[int]:
    """Each block in the order at the lowest gap among those placed before that are alive with it."""
    offsets = [0] * len(blocks)
    placed = _Placed(len(blocks))
    for index in order:
        block = blocks[index]
        offsets[index] = placed.lowest_gap(block)
        placed.add(block, offsets[index])
    return offsets


class _Placed:
    """Blocks at their offsets, sorted by these."""

    def __init__(self, most: int) -> None:
        self._count = 0
        self._starts, self._ends, self._firsts, self._lasts = np.zeros((4, most), np.int64)

    def lowest_gap(self, block: Block) -> int:
        """The lowest offset at which a block meets none that is alive with it."""
        count = self._count
        alive = np.flatnonzero((self._firsts[:count] <= block.last) & (self._lasts[:count] >= block.first))
        if not len(alive):
            return 0
        behind = np.maximum.accumulate(self._ends[alive])
        gaps = np.concatenate([[0], behind])
        fits = gaps[:-1] + block.size <= self._starts[alive]
        return int(gaps[int(np.argmax(fits))] if fits.any() else gaps[-1])

    def add(self, block: Block, offset: int) -> None:
        count = self._count
        at = int(np.searchsorted(self._starts[:count], offset, side="right"))
        for column, value in zip(
            (self._starts, self._ends, self._firsts, self._lasts),
            (offset, offset + block.size, block.first, block.last),
            strict=True,
        ):
            column[at + 1 : count + 1] = column[at:count]
            column[at] = value
        self._count += 1
