"""Checks that a graph is well formed."""

from __future__ import annotations

from tensorwright.graph.graph import Graph, Input, Value


def verify(graph: Graph) -> None:
    """Check types, inputs and names.

    Raises:
        AssertionError: a value has not the type that its operator infers, an operand is used before it is computed
            (a cycle), a name stands twice among inputs or outputs, or a network input is not listed.
    """
    seen: set[Value] = set()
    listed = {value for _, value in graph.inputs}
    for value in graph.order():
        missing = [operand.name for operand in value.inputs if operand not in seen]
        if missing:
            raise AssertionError(f"{value}: operands {missing} come later: the graph has a cycle")
        inferred = value.op.infer([operand.type for operand in value.inputs])
        if inferred != value.type:
            raise AssertionError(f"{value}: the operator infers {inferred}")
        if isinstance(value.op, Input) and value not in listed:
            raise AssertionError(f"{value} is no input of the graph; the inputs are {[n for n, _ in graph.inputs]}")
        seen.add(value)
    for what, pairs in (("input", graph.inputs), ("output", graph.outputs)):
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise AssertionError(f"two {what}s have one name: {names}")
    computed = [name for name, value in graph.inputs if not isinstance(value.op, Input)]
    if computed:
        raise AssertionError(f"inputs {computed} are computed values")
