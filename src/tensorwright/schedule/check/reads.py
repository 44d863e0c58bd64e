"""Which elements of its operands a step reads to compute elements of its result, from the operators' definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
import numpy.typing as npt

from tensorwright.graph.expression import Load, Reduce, walk
from tensorwright.graph.region import Region
from tensorwright.schedule.check.intervals import Interval, interval_of
from tensorwright.tensor.dim import Atom, evaluate
from tensorwright.tensor.layout import Layout

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Definition:
    """What a region's result is made of: its loads, with the intervals of the variables in their indices.

    One output element, or one row of them, for every variable: the arrays of intervals lie along the output's axes.
    """

    region: Region
    symbols: Mapping[str, int]
    variables: Mapping[Atom, Interval]
    loads: Mapping[int, tuple[Load, ...]]

    @classmethod
    def of(cls, region: Region, symbols: Mapping[str, int]) -> Definition:
        computation, known = region.computation, dict[Atom, Interval]()
        rank = len(computation.variables)
        for axis, variable in enumerate(computation.variables):
            along = np.arange(evaluate(variable.extent, symbols)).reshape([-1 if a == axis else 1 for a in range(rank)])
            known[variable] = Interval(along, along)
        loads: dict[int, list[Load]] = {}
        for node in walk(computation.body):
            if isinstance(node, Load):
                loads.setdefault(node.operand, []).append(node)
            elif isinstance(node, Reduce):
                for variable in node.variables:
                    largest = interval_of(variable.extent, known, symbols).high.max(initial=1)
                    known[variable] = Interval.of(0, max(0, int(largest) - 1))
        return cls(region, symbols, known, {number: tuple(found) for number, found in loads.items()})

    def read(self, operand: int, layout: Layout, written: Sequence[Mask]) -> list[Mask]:
        """For every mask over the result's elements, the mask over the memory of an operand of what they are made of.

        Of an operand in blocks of channels, whole blocks.
        """
        shape = tuple(evaluate(dim, self.symbols) for dim in self.region.input_types[operand].shape)
        physical = tuple(evaluate(dim, self.symbols) for dim in layout.physical_shape(shape))
        found = [np.zeros(physical, np.bool_) for _ in written]
        for load in self.loads.get(operand, ()):
            intervals = [interval_of(index, self.variables, self.symbols) for index in load.index]
            axes = _in_memory([_clipped(i, extent) for i, extent in zip(intervals, shape, strict=True)], layout)
            for number, mask in enumerate(written):
                found[number] |= _touched(axes, mask, physical)
        return [mask.reshape(-1) for mask in found]


def _clipped(interval: Interval, extent: int) -> Interval:
    """The part of an interval inside an axis; it may be empty (`high` below `low`)."""
    if interval.low is interval.high:
        inside = (interval.low >= 0) & (interval.low < extent)
        if inside.all():
            return interval
    return Interval(np.maximum(interval.low, 0), np.minimum(interval.high, extent - 1))


def _in_memory(axes: list[Interval], layout: Layout) -> list[Interval]:
    """Intervals along the axes of memory instead of those of the tensor."""
    if layout.is_plain:
        return axes
    channels = axes[1]
    blocks = Interval(channels.low // layout.block, channels.high // layout.block)
    return [axes[0], blocks, *axes[2:], Interval.of(0, layout.block - 1)]


def _touched(axes: Sequence[Interval], written: Mask, physical: tuple[int, ...]) -> Mask:
    """What is touched along all axes of memory for the written elements."""
    sides = [side for axis in axes for side in (axis.low, axis.high)]
    grid = np.broadcast_shapes(*(side.shape for side in sides), (1,) * written.ndim)
    unused = tuple(axis for axis, extent in enumerate(grid) if extent == 1)
    needed: Mask = np.asarray(written.any(axis=unused, keepdims=True))
    for axis in axes:
        if axis.low is not axis.high:
            needed = needed & (axis.low <= axis.high)
    if not needed.any():
        return np.zeros(physical, np.bool_)
    return _union([_Along.of(axis, extent, needed) for axis, extent in zip(axes, physical, strict=True)], physical)


@dataclass(frozen=True, eq=False)
class _Along:
    """One side of many boxes. sides: where each starts and, unless all are one element long, where it ends.

    Where all boxes are the same, `rows` is what they take, and they count as boxes of one element.
    """

    sides: tuple[npt.NDArray[np.int64], ...]
    extent: int
    rows: slice

    @classmethod
    def of(cls, interval: Interval, extent: int, needed: Mask) -> _Along:
        low, high = interval.low, interval.high
        if low.size == high.size == 1:
            return cls((np.zeros(1, np.int64),), 1, slice(int(low.item()), int(high.item()) + 1))
        if interval.is_exact:
            return cls((np.broadcast_to(low, needed.shape)[needed],), extent, slice(None))
        sides = (low, high + 1)
        return cls(tuple(np.broadcast_to(side, needed.shape)[needed] for side in sides), extent + 1, slice(None))


def _union(axes: Sequence[_Along], physical: tuple[int, ...]) -> Mask:
    """The elements inside any of the boxes: +1 where one starts and -1 behind its end, summed up along the axes."""
    shape = [axis.extent for axis in axes]
    counts = np.zeros(prod(shape), np.int64)
    for ends in product(*(range(len(axis.sides)) for axis in axes)):
        flat = np.zeros(1, np.int64)
        for axis, end in zip(axes, ends, strict=True):
            flat = flat * axis.extent + axis.sides[end]
        sign = -1 if sum(ends) % 2 else 1
        counts += sign * np.bincount(flat, minlength=counts.size)
    inside = counts.reshape(shape)
    for number, axis in enumerate(axes):
        if len(axis.sides) == 2:
            inside = np.delete(np.cumsum(inside, axis=number), -1, axis=number)
    touched = np.zeros(physical, np.bool_)
    touched[tuple(axis.rows for axis in axes)] = inside > 0
    return touched
