"""Before which steps threads have to wait for each other.

A thread runs an equal share of the tasks of every step. It has to wait before a step if another thread may have
touched, since all threads last waited, memory that its own tasks touch in this step, and one of both writes there.
Which thread runs a task depends on the number of threads, so the answer does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tensorwright.codegen.cpu.entry import MOST_THREADS, owners
from tensorwright.plan.plan import Address
from tensorwright.schedule.cpu.boxes import Boxes, Indices

MOST_PAIRS = 1 << 21
"""Pieces of memory that two steps share; with more of them, threads wait."""

MOST_STEPS = 32
"""So many steps in a row run without a wait at most, so that each is compared with few others."""

EVERYBODY = (1 << (MOST_THREADS + 1)) - 2
"""All numbers of threads, as bits."""

ALONE = 1 << 1
"""The one thread that waits for nobody."""

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

    @cached_property
    def start(self) -> int:
        """The first byte, counted from where the arena or the binding starts."""
        return 0 if self.address.base == "binding" else self.address.offset


@dataclass(frozen=True, eq=False)
class Accesses:
    """All accesses of a step; tasks: how many tasks it has, None if that is known only at run time; has_waves: whether
    all threads wait inside it, so that it runs together with no other step.
    """

    tasks: int | None
    operands: tuple[Access, ...]
    has_waves: bool = False


def barriers(steps: Sequence[Accesses], apart: Apart | None = None, among: int = EVERYBODY) -> list[int]:
    """For every step the numbers of threads with which none has to wait before it, as the bits of a number.

    apart: remembers what it knows of steps. among: the numbers of threads that matter.
    """
    known = apart or Apart()
    found: list[int] = []
    groups = {0: among}
    """The first steps of the groups that run without a wait, and with which numbers of threads they do."""
    for number, step in enumerate(steps):
        free = among if number == 0 else among & ALONE
        together = among & ~ALONE
        for earlier in range(number - 1, max(min(groups), number - MOST_STEPS) - 1, -1):
            together &= known.free_threads(steps[earlier], step)
            free |= groups.get(earlier, 0) & together
            if not together:
                break
        groups = {first: numbers & free for first, numbers in groups.items() if numbers & free}
        if among & ~free:
            groups[number] = among & ~free
        found.append(free)
    return found


@dataclass(frozen=True, eq=False)
class Apart:
    """With which numbers of threads two steps do not touch what another thread touches in the other.

    It remembers that for pairs of boxes, since most steps of a network are like others.
    """

    known: dict[tuple[object, ...], int] = field(default_factory=dict)
    sorted_runs: dict[Boxes, Runs | None] = field(default_factory=dict)

    def free_threads(self, earlier: Accesses, later: Accesses) -> int:
        """The numbers of threads, as bits, with which no thread touches what another one touches in the other step."""
        if earlier.has_waves or later.has_waves:
            return ALONE
        free = EVERYBODY
        for a in earlier.operands:
            for b in later.operands:
                if free != ALONE and a.meets(b):
                    free &= self._free(earlier.tasks, a, later.tasks, b)
        return free

    def _free(self, earlier_tasks: int | None, a: Access, later_tasks: int | None, b: Access) -> int:
        if earlier_tasks == later_tasks == 1:
            return EVERYBODY
        if earlier_tasks is None or later_tasks is None or a.boxes is None or b.boxes is None:
            return ALONE
        key = (earlier_tasks, a.boxes, a.width, a.writes, later_tasks, b.boxes, b.width, b.start - a.start)
        if key not in self.known:
            pairs = self._pairs(a, b)
            self.known[key] = ALONE if pairs is None else _same_owners(pairs, earlier_tasks, later_tasks)
        return self.known[key]

    def _pairs(self, a: Access, b: Access) -> tuple[Indices, Indices] | None:
        """The tasks of both steps that share memory, pair by pair; None if it is not known or too many."""
        mine, others = self._runs(a), self._runs(b)
        if mine is None or others is None:
            return None
        if a.writes:
            return _sharing(mine, others)
        swapped = _sharing(others, mine)
        return None if swapped is None else (swapped[1], swapped[0])

    def _runs(self, access: Access) -> Runs | None:
        """Bytes and the tasks that touch them, in the order of memory."""
        assert access.boxes is not None
        if access.boxes not in self.sorted_runs:
            self.sorted_runs[access.boxes] = _in_order(access.boxes)
        found = self.sorted_runs[access.boxes]
        if found is None:
            return None
        first, behind, task = found
        return access.start + first * access.width, access.start + behind * access.width, task


def _in_order(boxes: Boxes) -> Runs | None:
    """The runs of elements in the order of memory."""
    if boxes.runs is None:
        return None
    first, behind, task = boxes.runs
    order = np.argsort(first, kind="stable")
    return first[order], behind[order], task[order]


def _same_owners(pairs: tuple[Indices, Indices], earlier_tasks: int, later_tasks: int) -> int:
    """The numbers of threads, as bits, with which both tasks of every pair are in one share."""
    threads = np.arange(1, MOST_THREADS + 1)[:, None]
    same = owners(pairs[0], earlier_tasks, threads) == owners(pairs[1], later_tasks, threads)
    return sum(1 << number for number, alike in enumerate(same.all(axis=1).tolist(), 1) if alike)


def _sharing(written: Runs, touched: Runs) -> tuple[Indices, Indices] | None:
    """The tasks that share memory, pair by pair; None if tasks write the same memory, or they are too many."""
    (first, behind, task), (others_first, others_behind, others_task) = written, touched
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
