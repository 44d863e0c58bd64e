"""Gives every network output a name and memory of its own."""

from __future__ import annotations

from dataclasses import replace

from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import Graph, Value, apply, storage_root
from tensorwright.ops.elementwise import Identity


def named_apart(graph: Graph) -> Graph:
    """Call an output that has the name of an input ``<name>_output``: an engine has one namespace for both.

    Raises:
        NetworkError: two inputs, or two outputs, have one name.
    """
    inputs, outputs = ([name for name, _ in of] for of in (graph.inputs, graph.outputs))
    for kind, names in (("inputs", inputs), ("outputs", outputs)):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise NetworkError(
                f"network '{graph.name}' has several {kind} named {', '.join(map(repr, twice))}; give each its own name"
            )
    taken = {*inputs, *outputs}
    return replace(graph, outputs=tuple((_own(name, inputs, taken), value) for name, value in graph.outputs))


def _own(name: str, inputs: list[str], taken: set[str]) -> str:
    if name not in inputs:
        return name
    found = f"{name}_output"
    while found in taken:
        found += "_"
    taken.add(found)
    return found


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
