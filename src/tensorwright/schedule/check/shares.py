"""Shares of tasks, and sets of elements that are touched by them.

The tasks of a step are cut wherever a share begins for one of the numbers of threads that are looked at. Such a segment
belongs to one share with every one of these numbers, so a step has to be looked at only once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Owners = npt.NDArray[np.int32]

NOBODY = -1
SEVERAL = -2


@dataclass(frozen=True)
class Segments:
    """The tasks from each edge up to the next one; empty segments are left out."""

    tasks: int
    edges: tuple[int, ...]

    @classmethod
    def of(cls, tasks: int, threads: Sequence[int]) -> Segments:
        starts = {tasks * number // count for count in threads for number in range(count + 1)}
        return cls(tasks, tuple(sorted(starts | {0, tasks})))

    @property
    def ranges(self) -> list[tuple[int, int]]:
        return list(zip(self.edges, self.edges[1:], strict=False))

    def shares(self, threads: int) -> list[int]:
        """The share that each segment belongs to with so many threads."""
        ends = [self.tasks * (number + 1) // threads for number in range(threads)]
        return [next(share for share, end in enumerate(ends) if end > first) for first, _ in self.ranges]


def merged(here: Owners, there: Owners) -> Owners:
    """Who touches each element, if one array says who does here and the other who does there."""
    both = np.where(here == there, here, np.int32(SEVERAL))
    return np.where(here == NOBODY, there, np.where(there == NOBODY, here, both)).astype(np.int32)


def owners_in(masks: Sequence[npt.NDArray[np.bool_]], shares: Sequence[int], elements: int) -> Owners:
    """The shares that touch each of so many elements, given which of them every segment touches."""
    found = np.full(elements, NOBODY, np.int32)
    for mask, share in zip(masks, shares, strict=True):
        other = mask & (found != NOBODY) & (found != share)
        found[mask] = share
        found[other] = SEVERAL
    return found
