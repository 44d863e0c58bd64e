"""Before which steps threads have to wait for each other.

A thread runs an equal share of the tasks of every step. It has to wait before a step if another thread may have
touched, since all threads last waited, memory that its own tasks touch in this step, and one of both writes there.
Which thread runs a task depends on the number of threads, so the answer does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

import numpy as np

from tensorwright.codegen.cpu.entry import MOST_THREADS, owners
from tensorwright.plan.plan import Address
from tensorwright.schedule.cpu.boxes import Boxes, Indices

MOST_PAIRS = 1 << 21
"""Pieces of memory that two steps share; with more of them, threads wait."""

Runs = tuple[Indices, Indices, Indices]


@dataclass(frozen=True, eq=False)
class Access:
    """Memory that the tasks of a step read or write.

    size: bytes of the whole operand. boxes: what each task touches of it, elements of `width` bytes; None: perhaps all.
    """

    address: Address
    size: int
    width: int
    writes: bool
    boxes: Boxes | None

    def meets(self, other: Access) -> bool:
        """Whether both operands share memory that one of them writes."""
        if not (self.writes or other.writes) or self.address.base != other.address.base:
            return False
        if self.address.base == "binding":
            return self.address.offset == other.address.offset
        return self.start < other.start + other.size and other.start < self.start + self.size

    @property
    def start(self) -> int:
        """The first byte, counted from where the arena or the binding starts."""
        return 0 if self.address.base == "binding" else self.address.offset

    @cached_property
    def runs(self) -> Runs | None:
        """Bytes and the tasks that touch them, in the order of memory."""
        found = None if self.boxes is None else self.boxes.runs
        if found is None:
            return None
        first, behind, task = found
        order = np.argsort(first, kind="stable")
        return self.start + first[order] * self.width, self.start + behind[order] * self.width, task[order]


@dataclass(frozen=True, eq=False)
class Accesses:
    """All accesses of a step; tasks: how many tasks it has, None if that is known only at run time."""

    tasks: int | None
    operands: tuple[Access, ...]


def barriers(steps: Sequence[Accesses]) -> list[int]:
    """For every step the numbers of threads with which none has to wait before it, as the bits of a number."""
    known: dict[tuple[int, int], int] = {}
    rivals = rivals_of(steps)

    def apart(earlier: int, later: int) -> int:
        if (earlier, later) not in known:
            known[earlier, later] = free_threads(steps[earlier], steps[later])
        return known[earlier, later]

    found = [0] * len(steps)
    for threads in range(1, MOST_THREADS + 1):
        for step in kept_free(rivals, lambda a, b, threads=threads: bool(apart(a, b) >> threads & 1)):  # type: ignore[misc]
            found[step] |= 1 << threads
    return found


def kept_free(rivals: Sequence[Sequence[int]], apart: Callable[[int, int], bool]) -> list[int]:
    """The steps that need no barrier before them.

    Args:
        rivals: for every step the earlier ones between which and it a barrier may be needed, the latest first.
        apart: tells whether none is needed between two steps.
    """
    first, free = 0, []
    for step, earlier in enumerate(rivals):
        if all(apart(other, step) for other in takewhile(first.__le__, earlier)):
            free.append(step)
        else:
            first = step
    return free


def rivals_of(steps: Sequence[Accesses]) -> list[list[int]]:
    """For every step the earlier ones that share memory with it which one of both writes, the latest first."""
    pieces: dict[tuple[str, int], list[tuple[int, Access]]] = {}
    for number, step in enumerate(steps):
        for access in step.operands:
            binding = access.address.offset if access.address.base == "binding" else 0
            pieces.setdefault((access.address.base, binding), []).append((number, access))
    found: list[set[int]] = [set() for _ in steps]
    for (base, _), piece in pieces.items():
        if any(access.writes for _, access in piece):
            _add_rivals(found, piece, whole=base == "binding")
    return [sorted(earlier, reverse=True) for earlier in found]


def _add_rivals(found: Sequence[set[int]], piece: Sequence[tuple[int, Access]], whole: bool) -> None:
    """Add the rivals among steps that touch one binding, as a `whole`, or bytes of the arena."""
    numbers = np.array([number for number, _ in piece])
    writes = np.array([access.writes for _, access in piece])
    starts = np.array([0 if whole else access.start for _, access in piece])
    ends = np.array([1 if whole else access.start + access.size for _, access in piece])
    for at, (step, access) in enumerate(piece):
        shared = (starts[:at] < ends[at]) & (starts[at] < ends[:at])
        rivals = shared if access.writes else shared & writes[:at]
        found[step].update(other for other in numbers[:at][rivals].tolist() if other < step)


def free_threads(earlier: Accesses, later: Accesses) -> int:
    """The numbers of threads, as bits, with which no thread touches what another one touches in the other step."""
    free = (1 << (MOST_THREADS + 1)) - 2
    for a in earlier.operands:
        for b in later.operands:
            if free > 2 and a.meets(b):
                free &= _free(earlier.tasks, a, later.tasks, b)
    return free


def _free(earlier_tasks: int | None, a: Access, later_tasks: int | None, b: Access) -> int:
    everybody = (1 << (MOST_THREADS + 1)) - 2
    if earlier_tasks == later_tasks == 1:
        return everybody
    pairs = None if earlier_tasks is None or later_tasks is None else _pairs(a, b)
    if pairs is None or earlier_tasks is None or later_tasks is None:
        return 2
    threads = np.arange(1, MOST_THREADS + 1)[:, None]
    same = owners(pairs[0], earlier_tasks, threads) == owners(pairs[1], later_tasks, threads)
    return sum(1 << number for number, alike in enumerate(same.all(axis=1).tolist(), 1) if alike)


def _pairs(a: Access, b: Access) -> tuple[Indices, Indices] | None:
    """The tasks of both steps that share memory, pair by pair; None if it is not known or too many."""
    if a.runs is None or b.runs is None:
        return None
    if not a.writes:
        swapped = _pairs(b, a)
        return None if swapped is None else (swapped[1], swapped[0])
    (first, behind, task), (others_first, others_behind, others_task) = a.runs, b.runs
    if (first[1:] < behind[:-1]).any():
        return None
    low = np.searchsorted(behind, others_first, side="right")
    counts = (np.searchsorted(first, others_behind, side="left") - low).clip(0)
    total = int(counts.sum())
    if total > MOST_PAIRS:
        return None
    mine = np.repeat(low - (np.cumsum(counts) - counts), counts) + np.arange(total)
    width = int(others_task.max(initial=0)) + 1
    shared = np.zeros((int(task.max(initial=0)) + 1) * width, np.bool_)
    shared[task[mine] * width + np.repeat(others_task, counts)] = True
    numbers = np.flatnonzero(shared)
    return numbers // width, numbers % width
