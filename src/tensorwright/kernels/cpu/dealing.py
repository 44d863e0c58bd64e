"""How many tasks keep threads busy."""

from __future__ import annotations

from tensorwright.codegen.target import Target

FEWEST = 8
"""Tasks are dealt out for so many threads at least: a plan may be run by more than it was made for."""


def sharers(target: Target) -> int:
    """How many threads should get equally many tasks."""
    return max(FEWEST, target.threads)


def many_tasks(target: Target) -> int:
    """So many tasks, where there is room, keep the threads evenly busy, whatever single tasks take."""
    return 4 * sharers(target)


def idling(tasks: int, threads: int) -> float:
    """How much longer the thread with the most tasks takes than all would that had equally many."""
    return -(-tasks // threads) * threads / max(1, tasks)
