"""Places tensors in one block of memory so that tensors alive at the same time do not overlap.

Greedy by size: the largest tensor first, each at the lowest gap among the tensors already placed whose lifetimes
overlap its own (Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020). Several orders are
tried and the smallest arena wins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

ALIGNMENT = 64


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
    attempts = [_greedy(rounded, sorted(range(len(rounded)), key=order)) for order in orders]
    offsets = min(attempts, key=lambda attempt: _top(rounded, attempt))
    return Placement(tuple(offsets), _top(rounded, offsets), lower_bound(rounded))


def lower_bound(blocks: Sequence[Block]) -> int:
    """The largest sum of sizes of blocks that are alive at the same step."""
    steps = {b.first for b in blocks}
    return max((sum(b.size for b in blocks if b.first <= s <= b.last) for s in steps), default=0)


def _greedy(blocks: Sequence[Block], order: Sequence[int]) -> list[int]:
    offsets = [0] * len(blocks)
    placed: list[int] = []
    for index in order:
        block, offset = blocks[index], 0
        neighbours = sorted((offsets[o], blocks[o].size) for o in placed if blocks[o].overlaps(block))
        for start, size in neighbours:
            if offset + block.size <= start:
                break
            offset = max(offset, start + size)
        offsets[index] = offset
        placed.append(index)
    return offsets


def _top(blocks: Sequence[Block], offsets: Sequence[int]) -> int:
    return max((offset + b.size for offset, b in zip(offsets, blocks, strict=True)), default=0)
