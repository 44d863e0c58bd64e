"""Partitions a graph into regions, driven by the kinds of its operators.

Every anchor and every reduction starts a region. Elementwise operators join the region of one of their operands as its
epilogue, if that operand is used nowhere else and has the operator's shape; otherwise they start an elementwise region.
What only widens the elements of another operand then joins it, too.
Elementwise producers that only one reduction or elementwise region reads are computed inside it (prologue). Views are
no regions: they are other names for memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tensorwright.graph.graph import Graph, Value, storage_root
from tensorwright.graph.region import Region, region_of
from tensorwright.ops.elementwise import Cast
from tensorwright.ops.indexing import TopKIndices
from tensorwright.ops.normalization import LayerNormalization, LogSoftmax, Softmax
from tensorwright.ops.quantization import Dequantize

MAX_OPERATORS = 24
"""Operators in one region: enough for every chain seen, few enough to compile quickly."""


@dataclass
class _Group:
    values: list[Value]
    anchor: Value | None


def partition(graph: Graph, *, fuse: bool = True) -> tuple[Region, ...]:
    """Regions that compute every value except inputs, constants, views and what has no elements, each after those that
    it reads.
    """
    uses, outputs = graph.uses(), {value for _, value in graph.outputs}
    groups: dict[Value, _Group] = {}
    order: list[_Group] = []
    for value in graph.order():
        if value.op.kind in ("source", "view") or value.type.is_empty:
            continue
        group = _joinable(value, groups, uses, outputs) if fuse else None
        if group is None:
            group = _Group([], value if value.op.kind in ("anchor", "reduction") else None)
            order.append(group)
        elif group.anchor is None or group.anchor.op.kind == "anchor":
            for widening in _widenings(value, group, groups, uses, outputs):
                order.remove(widening)
                group.values += widening.values
                groups.update(dict.fromkeys(widening.values, group))
        group.values.append(value)
        groups[value] = group
    return _ordered([region_of(group.values, group.anchor) for group in order])


def _joinable(value: Value, groups: dict[Value, _Group], uses: Counter[Value], outputs: set[Value]) -> _Group | None:
    """The group whose result the value can be computed from on the fly."""
    candidates = [groups[operand] for operand in dict.fromkeys(value.inputs) if operand in groups]
    fitting = [group for group in candidates if _fits(value, group, uses, outputs)]
    if value.op.kind == "elementwise":
        later = [g for g in fitting if not _read_before(g, value, groups)]
        return max(later, key=lambda g: (g.anchor is not None and g.anchor.op.kind == "anchor", _rank(g)), default=None)
    if value.op.kind == "reduction" and not _is_row_operator(value):
        plain = [g for g in fitting if g.anchor is None]
        if plain:
            plain[0].anchor = value
            return plain[0]
    return None


def _widenings(
    value: Value, group: _Group, groups: dict[Value, _Group], uses: Counter[Value], outputs: set[Value]
) -> list[_Group]:
    """Other groups that bring operands of `value`, which alone reads them, into wider types: reading narrower elements
    in their place is less work than they are.
    """
    found = [groups[operand] for operand in dict.fromkeys(value.inputs) if operand in groups]
    others = [other for other in found if other is not group and _widens(other) and _fits(value, other, uses, outputs)]
    return others if len(group.values) + sum(len(other.values) for other in others) < MAX_OPERATORS else []


def _widens(group: _Group) -> bool:
    """Whether a group is one conversion of narrower elements."""
    (first, *more), result = group.values, group.values[-1].type
    if more or not isinstance(first.op, Cast | Dequantize):
        return False
    return first.inputs[0].type.dtype.size < result.dtype.size


def _rank(group: _Group) -> int:
    return len(group.values)


def _fits(value: Value, group: _Group, uses: Counter[Value], outputs: set[Value]) -> bool:
    result = group.values[-1]
    if result in outputs or len(group.values) >= MAX_OPERATORS:
        return False
    if result.op.kind == "opaque" or isinstance(result.op, TopKIndices):
        return False
    if uses[result] != value.inputs.count(result):
        return False
    if value.op.kind == "elementwise":
        return result.type.shape == value.type.shape and _same_width(result, value)
    return True


def _same_width(result: Value, value: Value) -> bool:
    return result.type.dtype.size <= 4 or value.type.dtype == result.type.dtype


def _is_row_operator(value: Value) -> bool:
    """Operators that read each element several times: computing a producer inside would repeat it."""
    return isinstance(value.op, Softmax | LogSoftmax | LayerNormalization | TopKIndices)


def _read_before(group: _Group, value: Value, groups: dict[Value, _Group]) -> bool:
    """Whether another operand of `value` is computed from the group's result, which would make a cycle."""
    result = group.values[-1]
    others = [operand for operand in value.inputs if operand is not result]
    return any(_reaches(operand, group, groups) for operand in others)


def _reaches(start: Value, group: _Group, groups: dict[Value, _Group]) -> bool:
    """Whether the group is needed to compute `start` (through whole groups, since a group runs as one)."""
    members, stack, seen = set(group.values), [start], set[Value]()
    while stack:
        value = stack.pop()
        if value in members:
            return True
        if value in seen:
            continue
        seen.add(value)
        inside = groups.get(value)
        for member in inside.values if inside is not None else [value]:
            seen.add(member)
            stack.extend(operand for operand in member.inputs if operand not in seen)
    return False


def _ordered(regions: Iterable[Region]) -> tuple[Region, ...]:
    """The regions sorted so that each comes after those it reads, otherwise in the order given."""
    by_output = {region.output: region for region in regions}
    done: dict[Region, None] = {}
    for region in by_output.values():
        stack = [region]
        while stack:
            current = stack[-1]
            waiting = [r for r in _read(current, by_output) if r not in done]
            if current in done or not waiting:
                done[stack.pop()] = None
            else:
                stack.extend(waiting)
    return tuple(done)


def _read(region: Region, by_output: dict[Value, Region]) -> list[Region]:
    roots = [storage_root(value) for value in region.inputs]
    return [by_output[root] for root in roots if root in by_output]
