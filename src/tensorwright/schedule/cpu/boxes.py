"""Boxes of memory, one for every task, and what tasks read to compute the boxes that they write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt

from tensorwright.graph.expression import Load, Variable, free_atoms, walk
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.slabs import MOST_TASKS, Slabs, static
from tensorwright.kernels.tactic import Kernel
from tensorwright.tensor.dim import Atom, Dim, bounds, coefficient_of, expression, substitute
from tensorwright.tensor.layout import Layout

Indices = npt.NDArray[np.int64]

MOST_RUNS = 1 << 17
"""Boxes of more pieces are not worth the time to look at."""

MOST_RANGES = 256


@dataclass(frozen=True, eq=False)
class Ranges:
    """For every task, the first index and the one behind the last."""

    low: Indices
    high: Indices

    @classmethod
    def whole(cls, tasks: int, extent: int) -> Ranges:
        return cls(np.zeros(tasks, np.int64), np.full(tasks, extent, np.int64))

    def clipped(self, extent: int) -> Ranges:
        return Ranges(np.clip(self.low, 0, extent), np.clip(self.high, 0, extent))

    def scaled(self, factor: int) -> Ranges:
        return Ranges(self.low * factor, self.high * factor)

    def divided(self, factor: int) -> Ranges:
        return Ranges(self.low // factor, -(-self.high // factor))


@dataclass(frozen=True, eq=False)
class Boxes:
    """For each of so many tasks, ranges along the axes of a tensor's memory, whose extents are `shape`.

    A tensor of rank 0 has no axes; each task touches its one element.
    """

    shape: tuple[int, ...]
    ranges: tuple[Ranges, ...]
    tasks: int

    @cached_property
    def runs(self) -> tuple[Indices, Indices, Indices] | None:
        """Neighbouring elements in memory as runs: the first, the one behind the last, and the task; None if many."""
        extents = np.array([r.high - r.low for r in self.ranges]).reshape(len(self.shape), self.tasks)
        partial = [axis for axis, extent in enumerate(self.shape) if (extents[axis] != extent).any()]
        innermost = partial[-1] if partial else 0
        outer = self.shape[:innermost]
        if int(extents[:innermost].clip(0).prod(axis=0).sum()) > MOST_RUNS:
            return None
        steps = [prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        starts, stops, tasks = [], [], []
        for task in range(self.tasks):
            base = np.zeros(1, np.int64)
            for axis in range(len(outer)):
                r = self.ranges[axis]
                base = np.add.outer(base, np.arange(r.low[task], r.high[task], dtype=np.int64) * steps[axis]).ravel()
            if self.shape:
                low, high = (int(side[task]) for side in (self.ranges[innermost].low, self.ranges[innermost].high))
                if high <= low:
                    continue
                starts.append(base + low * steps[innermost])
                stops.append(base + high * steps[innermost])
            else:
                starts.append(base)
                stops.append(base + 1)
            tasks.append(np.full(len(base), task, np.int64))
        if not starts:
            return (np.empty(0, np.int64),) * 3
        return np.concatenate(starts), np.concatenate(stops), np.concatenate(tasks)


def boxes_of(slabs: Slabs, tasks: int) -> Boxes:
    """The boxes of so many tasks."""
    numbers = np.arange(tasks)
    ranges = [Ranges.whole(tasks, extent) for extent in slabs.shape]
    for dealt in slabs.dealt:
        table = np.array(dealt.ranges, np.int64)[numbers // dealt.inner % len(dealt.ranges)]
        ranges[dealt.axis] = Ranges(table[:, 0], table[:, 1])
    return Boxes(slabs.shape, tuple(ranges), tasks)


@dataclass(frozen=True, eq=False)
class Touched:
    """What the tasks of a kernel touch: of the output, and of every input (several boxes where it is read in several
    places; none of a constant). None is not known: perhaps all of it.
    """

    output: Boxes
    inputs: tuple[tuple[Boxes, ...] | None, ...]


def touched(region: Region, kernel: Kernel) -> Touched | None:
    """What the tasks of a region's kernel touch, if the kernel says which part of the output each of them writes."""
    shape = static(region.output.type.shape)
    if kernel.writes is None or shape is None or not isinstance(kernel.tasks, int) or kernel.tasks > MOST_TASKS:
        return None
    output = boxes_of(kernel.writes, kernel.tasks)
    physical = static(kernel.output.physical_shape(shape))
    if physical is None or prod(output.shape) != prod(physical) or 0 in physical:
        return None
    view = _View.of(region, kernel, output, physical)
    loads: dict[int, list[Load]] = {}
    for node in walk(region.computation.body):
        if isinstance(node, Load):
            loads.setdefault(node.operand, []).append(node)
    inputs: list[tuple[Boxes, ...] | None] = []
    for number, value in enumerate(region.inputs):
        extents = static(value.type.shape)
        if is_constant(value) or number not in loads:
            inputs.append(() if is_constant(value) else None)
        elif extents is None:
            inputs.append(None)
        else:
            inputs.append(tuple(view.read(load, extents, kernel.inputs[number]) for load in loads[number]))
    return Touched(output, tuple(inputs))


@dataclass(frozen=True, eq=False)
class _View:
    """The boxes of an output as ranges of its index variables.

    merged: neighbouring axes of which the boxes are ranges of both together.
    """

    variables: tuple[Variable, ...]
    shape: tuple[int, ...]
    layout: Layout
    boxes: Boxes
    ranges: tuple[Ranges, ...]
    merged: tuple[tuple[tuple[int, ...], Ranges], ...]

    @classmethod
    def of(cls, region: Region, kernel: Kernel, boxes: Boxes, physical: tuple[int, ...]) -> _View:
        ranges: list[Ranges] = [Ranges.whole(boxes.tasks, extent) for extent in physical]
        merged: list[tuple[tuple[int, ...], Ranges]] = []
        for own, axes in _matched(boxes.shape, physical):
            hull = _hull([boxes.ranges[axis] for axis in own], [boxes.shape[axis] for axis in own])
            if len(own) == 1 and len(axes) > 1:
                merged.append((axes, hull))
            for axis, range_ in zip(axes, _unmerged(hull, [physical[axis] for axis in axes]), strict=True):
                ranges[axis] = range_
        shape = tuple(int(d) for d in region.output.type.shape if isinstance(d, int))
        if not kernel.output.is_plain:
            ranges[1] = ranges[1].scaled(kernel.output.block).clipped(shape[1])
            ranges.pop()
        return cls(region.computation.variables, shape, kernel.output, boxes, tuple(ranges), tuple(merged))

    def read(self, load: Load, extents: tuple[int, ...], layout: Layout) -> Boxes:
        """What a load reads of an input."""
        if load.index == tuple(map(_index_of, self.variables)) and extents == self.shape and layout == self.layout:
            return self.boxes
        ranges = [self._along(index, extent) for index, extent in zip(load.index, extents, strict=True)]
        shape = list(extents)
        if not layout.is_plain:
            shape[1] = -(-shape[1] // layout.block)
            ranges[1] = ranges[1].divided(layout.block)
            shape.append(layout.block)
            ranges.append(Ranges.whole(self.boxes.tasks, layout.block))
        for axes, range_ in reversed(self.merged):
            first, last = axes[0], axes[-1]
            spatial = first >= 2 or (layout.is_plain and self.layout.is_plain)
            within = last < min(len(extents), len(self.shape))
            if not (spatial and within and extents[first : last + 1] == self.shape[first : last + 1]):
                continue
            if all(load.index[axis] == _index_of(self.variables[axis]) for axis in axes):
                shape[first : last + 1] = [prod(extents[first : last + 1])]
                ranges[first : last + 1] = [range_]
        return Boxes(tuple(shape), tuple(ranges), self.boxes.tasks)

    def _along(self, index: Dim, extent: int) -> Ranges:
        """The range of an index."""
        found = self._linear(index)
        if found is None:
            found = self._substituted(index)
        return Ranges.whole(self.boxes.tasks, extent) if found is None else found.clipped(extent)

    def _linear(self, index: Dim) -> Ranges | None:
        rest = index
        total = np.zeros(self.boxes.tasks, np.int64), np.zeros(self.boxes.tasks, np.int64)
        for variable, range_ in zip(self.variables, self.ranges, strict=True):
            step = coefficient_of(rest, variable)
            if not isinstance(step, int):
                return None
            rest = rest if step == 0 else substitute(rest, {variable: 0})
            ends = step * range_.low, step * (range_.high - 1)
            total = total[0] + np.minimum(*ends), total[1] + np.maximum(*ends)
        low, high = bounds(rest)
        return Ranges(total[0] + low, total[1] + high + 1)

    def _substituted(self, index: Dim) -> Ranges | None:
        used = [(v, r) for v, r in zip(self.variables, self.ranges, strict=True) if v in free_atoms(index)]
        table = np.array([side for _, r in used for side in (r.low, r.high)]).T
        distinct, which = np.unique(table, axis=0, return_inverse=True)
        if len(distinct) > MOST_RANGES:
            return None
        found = []
        for row in distinct.tolist():
            moved: dict[Atom, Dim] = {
                v: row[2 * i] + _within(v.name, row[2 * i + 1] - row[2 * i]) for i, (v, _) in enumerate(used)
            }
            low, high = bounds(substitute(index, moved))
            found.append((low, high + 1))
        ends = np.array(found, np.int64)[which.reshape(-1)]
        return Ranges(ends[:, 0], ends[:, 1])


def _index_of(variable: Variable) -> Dim:
    return expression(variable)


def _within(name: str, extent: int) -> Dim:
    return expression(Variable(f"{name} within", extent)) if extent > 1 else 0


def _matched(own: Sequence[int], physical: Sequence[int]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The fewest axes of one shape that take as much memory as axes of the other; axes of one element are left out."""
    left = [axis for axis, extent in enumerate(own) if extent != 1]
    right = [axis for axis, extent in enumerate(physical) if extent != 1]
    while left and right:
        here, there = [left.pop(0)], [right.pop(0)]
        a, b = own[here[0]], physical[there[0]]
        while a != b:
            if a < b:
                here.append(left.pop(0))
                a *= own[here[-1]]
            else:
                there.append(right.pop(0))
                b *= physical[there[-1]]
        yield tuple(here), tuple(there)


def _hull(ranges: Sequence[Ranges], extents: Sequence[int]) -> Ranges:
    """Ranges along axes as one range along all of them merged."""
    low, last = ranges[0].low, ranges[0].high - 1
    for range_, extent in zip(ranges[1:], extents[1:], strict=True):
        low, last = low * extent + range_.low, last * extent + range_.high - 1
    return Ranges(low, last + 1)


def _unmerged(hull: Ranges, extents: Sequence[int]) -> list[Ranges]:
    """Ranges along axes that hold a range along all of them merged."""
    if len(extents) == 1:
        return [hull]
    inner = prod(extents[1:])
    first, last = hull.low // inner, (hull.high - 1) // inner
    single = first == last
    rest = Ranges(np.where(single, hull.low % inner, 0), np.where(single, (hull.high - 1) % inner + 1, inner))
    return [Ranges(first, last + 1), *_unmerged(rest, extents[1:])]
