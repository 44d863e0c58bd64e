"""Regions that differ only in where slices begin share a kernel, which is told where.

A network that takes a tensor apart has one such region for each part: thousands of kernels, each compiled and tried,
would take longer to build than everything else. Few of them are left as they are, since a kernel that knows its numbers
may be a little faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from tensorwright.graph.region import Region
from tensorwright.ops.shape import Slice
from tensorwright.tensor.dim import Dim, Symbol, expression, tuning_value

FEWEST = 16
"""So many regions that are alike, with so many different beginnings, share a kernel."""


def in_patterns(regions: Sequence[Region]) -> list[Region]:
    """The regions, those of which there are many with their pattern and what is in its slots."""
    alike: dict[str, list[Region]] = {}
    for region in regions:
        if not region.is_sequential and any(isinstance(start, int) for start in _starts(region)):
            anywhere = [0 if isinstance(start, int) else start for start in _starts(region)]
            alike.setdefault(_starting(region, anywhere).signature, []).append(region)
    many = (some for some in alike.values() if len(some) >= FEWEST)
    found = {region.output: region for some in many for region in _sharing(some)}
    return [found.get(region.output, region) for region in regions]


def _sharing(regions: Sequence[Region]) -> list[Region]:
    """Regions that are alike but for beginnings, with a common pattern if these are many."""
    rows = [_starts(region) for region in regions]
    if len(set(rows)) < FEWEST:
        return list(regions)
    taken = {symbol.name for symbol in regions[0].symbols}
    names = (name for number in count() if (name := f"start {number}") not in taken)
    columns = enumerate(zip(*rows, strict=True))
    slots = {place: _slot(next(names), column) for place, column in columns if len(set(column)) > 1}
    shared = [expression(slots[place]) if place in slots else start for place, start in enumerate(rows[0])]
    pattern = _starting(regions[0], shared)
    return [
        replace(region, pattern=pattern, slots={slot.name: tuning_value(row[place]) for place, slot in slots.items()})
        for region, row in zip(regions, rows, strict=True)
    ]


def _slot(name: str, starts: Sequence[Dim]) -> Symbol:
    """A symbol for numbers."""
    ordered = sorted(map(tuning_value, starts))
    return Symbol(name, ordered[0], ordered[len(ordered) // 2], ordered[-1])


def _starts(region: Region) -> tuple[Dim, ...]:
    return tuple(start for value in region.values if isinstance(value.op, Slice) for start in value.op.starts)


def _starting(region: Region, starts: Sequence[Dim]) -> Region:
    """The region with its slices beginning elsewhere."""
    rest, made = iter(starts), dict(zip(region.inputs, region.inputs, strict=True))
    for value in region.values:
        op = value.op
        if isinstance(op, Slice):
            op = replace(op, starts=tuple(next(rest) for _ in op.starts))
        made[value] = replace(value, op=op, inputs=tuple(made[operand] for operand in value.inputs))
    anchor = None if region.anchor is None else made[region.anchor]
    return replace(region, values=tuple(made[value] for value in region.values), anchor=anchor)
