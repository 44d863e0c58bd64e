"""Gives every network output memory of its own."""

from __future__ import annotations

from dataclasses import replace

from tensorwright.graph.graph import Graph, Value, apply, storage_root
from tensorwright.ops.elementwise import Identity


def separate_outputs(graph: Graph) -> Graph:
    """Copy outputs that are inputs, constants, or share their memory with another output.

    ``y = x`` for network input x becomes ``y = Identity(x)``, and so on.
    """
    taken: set[Value] = set()
    outputs = []
    for name, value in graph.outputs:
        root = storage_root(value)
        copied = apply(Identity(), value, name=name) if root.op.kind == "source" or root in taken else value
        taken.add(storage_root(copied))
        outputs.append((name, copied))
    return replace(graph, outputs=tuple(outputs))
