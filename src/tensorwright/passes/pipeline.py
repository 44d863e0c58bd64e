"""The passes in order, repeated until nothing changes."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.graph.graph import Graph
from tensorwright.graph.verify import verify
from tensorwright.passes.arithmetic import simplify_arithmetic
from tensorwright.passes.convolution import fold_into_convolutions
from tensorwright.passes.cse import merge_common
from tensorwright.passes.fold import fold_constants
from tensorwright.passes.identity import remove_identities
from tensorwright.passes.rewrite import Pass

PASSES: tuple[Pass, ...] = (
    fold_constants,
    remove_identities,
    simplify_arithmetic,
    merge_common,
    fold_into_convolutions,
)

ROUNDS = 20
"""Every round of a real network does some work; a chain of rewrites longer than this is left half done."""


def optimise(graph: Graph, *, passes: Sequence[Pass] = PASSES, check: bool = False) -> Graph:
    """An equivalent graph that computes less. Inputs and outputs keep their names, order and types.

    What no output needs is dropped. Results differ from the original's by rounding only.

    Args:
        graph: what to optimise.
        passes: which passes to run, again and again, in this order.
        check: verify the graph after every pass.
    """
    for _ in range(ROUNDS):
        before = graph
        for step in passes:
            graph = step(graph)
            if check:
                verify(graph)
        if _same(graph, before):
            return graph
    return graph


def _same(left: Graph, right: Graph) -> bool:
    return left.outputs == right.outputs and left.inputs == right.inputs
