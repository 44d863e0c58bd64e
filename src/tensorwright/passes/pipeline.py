"""The passes in order, repeated until nothing changes."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.graph.graph import Graph
from tensorwright.graph.verify import verify
from tensorwright.passes.activations import recognise_activations
from tensorwright.passes.arithmetic import simplify_arithmetic
from tensorwright.passes.canonical import canonicalise
from tensorwright.passes.convolution import fold_into_convolutions
from tensorwright.passes.cse import merge_common
from tensorwright.passes.fold import fold_constants
from tensorwright.passes.identity import remove_identities
from tensorwright.passes.matmul import simplify_products
from tensorwright.passes.merge import merge_products
from tensorwright.passes.normalizations import recognise_normalizations
from tensorwright.passes.rewrite import Pass
from tensorwright.passes.scale import move_scales

PASSES: tuple[Pass, ...] = (
    fold_constants,
    remove_identities,
    simplify_arithmetic,
    merge_common,
    recognise_activations,
    recognise_normalizations,
    fold_into_convolutions,
    simplify_products,
    move_scales,
    canonicalise,
)
"""What always helps; repeated in this order until nothing changes."""

OPTIONAL_PASSES: tuple[Pass, ...] = (merge_products,)
"""What pays only where the later stages make the most of it, and hides operators from the other passes.

Merged products are as fast as separate ones as long as cutting out their slices is a step of its own.
"""

ROUNDS = 20
"""Every round of a real network does some work; a chain of rewrites longer than this is left half done."""


def optimise(
    graph: Graph,
    *,
    passes: Sequence[Pass] = PASSES,
    late_passes: Sequence[Pass] = (),
    check: bool = False,
) -> Graph:
    """An equivalent graph that computes less. Inputs and outputs keep their names, order and types.

    What no output needs is dropped. Results differ from the original's by rounding only.

    Args:
        graph: what to optimise.
        passes: what to run in this order, again and again.
        late_passes: what to run after them, for instance `OPTIONAL_PASSES`; then `passes` follow once more.
        check: verify the graph after every pass.
    """
    graph = _settled(graph, passes, check)
    for late in late_passes:
        changed = _checked(late(graph), check)
        if not _same(changed, graph):
            graph = _settled(changed, passes, check)
    return graph


def _settled(graph: Graph, passes: Sequence[Pass], check: bool) -> Graph:
    for _ in range(ROUNDS):
        before = graph
        for step in passes:
            graph = _checked(step(graph), check)
        if _same(graph, before):
            break
    return graph


def _checked(graph: Graph, check: bool) -> Graph:
    if check:
        verify(graph)
    return graph


def _same(left: Graph, right: Graph) -> bool:
    return left.outputs == right.outputs and left.inputs == right.inputs
