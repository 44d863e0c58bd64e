"""Gives every network output memory of its own."""

from __future__ import annotations

from dataclasses import replace

from tensorwright.graph.graph import Graph, Value, apply, is_constant
from tensorwright.ops.elementwise import Identity


def separate_outputs(graph: Graph) -> Graph:
    """Copy outputs that are inputs, constants, or share their memory with another output.

    ``y = x`` for network input x becomes ``y = Identity(x)``, and so on.
    """
    taken: set[Value] = set()
    outputs = []
    for name, value in graph.outputs:
        root = _root(value)
        if root.op.kind == "source" or root in taken or is_constant(root):
            value = apply(Identity(), value, name=name)
            root = value
        taken.add(root)
        outputs.append((name, value))
    return replace(graph, outputs=tuple(outputs))


def _root(value: Value) -> Value:
    while value.op.kind == "view":
        value = value.inputs[0]
    return value
