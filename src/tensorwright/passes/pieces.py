"""Concatenations of many pieces whose extents are open."""

from __future__ import annotations

from dataclasses import replace

from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.ops.shape import Concatenation

MOST = 12
"""So many pieces are put together by one kernel, which computes where each of them begins."""
GROUP = 8


def in_groups(graph: Graph) -> Graph:
    """``[a, b, c, …] = [[a, b, …], [c, …], …]`` where pieces are many and their extents are known at run time only.

    The kernel of a concatenation grows with the square of their number: where a piece begins is a sum over others.
    """

    def visit(value: Value) -> Value | None:
        op = value.op
        if not isinstance(op, Concatenation) or len(value.inputs) <= MOST:
            return None
        if all(isinstance(part.type.shape[op.axis], int) for part in value.inputs):
            return None
        parts = value.inputs
        while len(parts) > MOST:
            groups = [parts[first : first + GROUP] for first in range(0, len(parts), GROUP)]
            parts = tuple(apply(op, *group, name=value.name) if len(group) > 1 else group[0] for group in groups)
        return apply(op, *parts, name=value.name)

    return replace(graph.rebuild(visit), inputs=graph.inputs)
