"""Concatenations of many pieces, which are put together in groups."""

from __future__ import annotations

from dataclasses import replace

from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.ops.shape import Concatenation

MOST_OPEN, OPEN_GROUP = 12, 8
"""So many pieces of extents that are open are put together by one kernel, which computes where each of them begins."""
MOST, GROUP = 128, 64
"""So many of others, which have code each; groups that are alike share theirs."""


def in_groups(graph: Graph) -> Graph:
    """``[a, b, c, …] = [[a, b, …], [c, …], …]`` where pieces are many.

    The kernel of a concatenation grows with their number; with its square where extents are known at run time only:
    where a piece begins is a sum over others.
    """

    def visit(value: Value) -> Value | None:
        op = value.op
        if not isinstance(op, Concatenation):
            return None
        parts = value.inputs
        is_open = not all(isinstance(part.type.shape[op.axis], int) for part in parts)
        most, size = (MOST_OPEN, OPEN_GROUP) if is_open else (MOST, GROUP)
        if len(parts) <= most:
            return None
        while len(parts) > most:
            groups = [parts[first : first + size] for first in range(0, len(parts), size)]
            parts = tuple(apply(op, *group, name=value.name) if len(group) > 1 else group[0] for group in groups)
        return apply(op, *parts, name=value.name)

    return replace(graph.rebuild(visit), inputs=graph.inputs)
