"""Constants that are others, transposed: one copy does for both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tensorwright.graph.graph import Graph, Value, apply, is_constant, weights_in
from tensorwright.ops.matmul import MatMul
from tensorwright.passes.rewrite import Permit, graph_pass, replaced_where

LARGE = 1 << 14
"""Elements from which on it is worth looking."""
SAMPLED = 64
"""Elements that are compared first."""


@graph_pass
def tie_transposed(graph: Graph, permit: Permit) -> Graph:
    """``a · w = MatMul(a, v, transpose_b)`` for constants ``w = vᵀ``, if v is needed for something else than products.

    Exporters write both where a language model multiplies by its embeddings.
    """
    matrices = _other_matrices(graph)

    def visit(value: Value) -> Value | None:
        if not isinstance(value.op, MatMul) or not is_constant(value.inputs[1]):
            return None
        a, w = value.inputs
        found = next((v for v in matrices if _is_transposed(v, w)), None)
        if found is None:
            return None
        return apply(MatMul(value.op.transpose_a, not value.op.transpose_b), a, found, name=value.name)

    return replaced_where(graph, "tie_transposed", permit, visit) if matrices else graph


def _other_matrices(graph: Graph) -> Sequence[Value]:
    """Large constant matrices that something else than a product reads."""
    read = [operand for value in graph.order() if not isinstance(value.op, MatMul) for operand in value.inputs]
    return [v for v in dict.fromkeys(read) if is_constant(v) and v.type.rank == 2 and _count(v) >= LARGE]


def _count(value: Value) -> int:
    elements = value.type.elements
    return elements if isinstance(elements, int) else 0


def _is_transposed(v: Value, w: Value) -> bool:
    if w.type.shape != v.type.shape[::-1] or w.type.dtype != v.type.dtype or v is w:
        return False
    ours, theirs = weights_in(w).array, weights_in(v).array.T
    return bool(np.array_equal(ours[:1, :SAMPLED], theirs[:1, :SAMPLED]) and np.array_equal(ours, theirs))
