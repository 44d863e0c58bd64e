"""Networks with the operators of constants that an importer computed: ONNX Runtime computes them, too, and rounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.graph.op import Op
from tensorwright.importers.composer import Composer

Origins = list[tuple[Value, Op, tuple[Value, ...]]]
"""Constants, and what they were computed from, each after its own operands."""


@contextmanager
def origins() -> Iterator[Origins]:
    """What is folded while a model is read."""
    found: Origins = []
    fold = Composer._fold

    def remember(composer: Composer, op: Op, inputs: Sequence[Value]) -> Value:
        value = fold(composer, op, inputs)
        found.append((value, op, tuple(inputs)))
        return value

    with patch.object(Composer, "_fold", remember):
        yield found


def unfolded(graph: Graph, found: Origins) -> Graph:
    """The graph with operators in place of the constants that were computed by them."""
    made: dict[Value, Value] = {}
    for value, op, inputs in found:
        made[value] = apply(op, *(made.get(operand, operand) for operand in inputs), name=value.name)
    return graph.rebuild(made.get)
