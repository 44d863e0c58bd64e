"""Which part of a tensor's memory each task of a kernel touches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from tensorwright.tensor.dim import Dim, evaluate, is_static

Range = tuple[int, int]

MOST_TASKS = 2048
"""What each task touches is told of kernels with at most so many tasks."""


@dataclass(frozen=True)
class DealtAxis:
    """One axis dealt out to tasks: task number t touches the range ``ranges[t // inner % len(ranges)]``, from the first
    index up to, not including, the last.
    """

    axis: int
    ranges: tuple[Range, ...]
    inner: int = 1

    def range_of(self, task: int) -> Range:
        return self.ranges[task // self.inner % len(self.ranges)]


@dataclass(frozen=True)
class Slabs:
    """A box of a tensor's memory for every task.

    shape: extents in memory order, outermost first. They may be finer or coarser than the tensor's own axes, as long as
    their product is the number of elements in memory. Axes that are not dealt out belong to every task as a whole.
    """

    shape: tuple[int, ...]
    dealt: tuple[DealtAxis, ...]

    def box(self, task: int) -> tuple[Range, ...]:
        """The range along every axis that a task touches."""
        found = [(0, extent) for extent in self.shape]
        for part in self.dealt:
            found[part.axis] = part.range_of(task)
        return tuple(found)


def slabs_along(shape: Iterable[Dim], digits: Iterable[tuple[int | None, tuple[Range, ...] | int]]) -> Slabs | None:
    """The slabs of tasks whose number is made of digits, the outermost one first.

    digits: the axis that each of them deals out (None: it changes nothing here), and its ranges; a number n of them
    stands for n single indices. None if some extent is unknown until run time, or there are more than MOST_TASKS.
    """
    extents, counted = static(shape), [(axis, given, _count(given)) for axis, given in digits]
    if extents is None or prod(count for _, _, count in counted) > MOST_TASKS:
        return None
    dealt: list[DealtAxis] = []
    inner = 1
    for axis, given, count in reversed(counted):
        if axis is not None and count > 1:
            ranges = tuple((i, i + 1) for i in range(given)) if isinstance(given, int) else given
            dealt.append(DealtAxis(axis, ranges, inner))
        inner *= count
    return Slabs(extents, tuple(dealt))


def _count(given: tuple[Range, ...] | int) -> int:
    return given if isinstance(given, int) else len(given)


def static(shape: Iterable[Dim]) -> tuple[int, ...] | None:
    """The extents if all of them are known."""
    dims = list(shape)
    return tuple(evaluate(dim, {}) for dim in dims) if all(map(is_static, dims)) else None
