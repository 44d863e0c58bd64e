"""The passes in order, repeated until nothing changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tensorwright.base.errors import BuildError
from tensorwright.graph.graph import Graph, Value
from tensorwright.graph.verify import verify
from tensorwright.passes.activations import recognise_activations
from tensorwright.passes.arithmetic import simplify_arithmetic
from tensorwright.passes.canonical import canonicalise
from tensorwright.passes.change import Change, Limit, Observer, Rewritten
from tensorwright.passes.convolution import fold_into_convolutions
from tensorwright.passes.cse import merge_common
from tensorwright.passes.fold import fold_constants
from tensorwright.passes.grouped import group_products
from tensorwright.passes.identity import remove_identities
from tensorwright.passes.matmul import simplify_products
from tensorwright.passes.normalizations import recognise_normalizations
from tensorwright.passes.recurrent import share_steps
from tensorwright.passes.rewrite import Pass
from tensorwright.passes.scale import move_scales
from tensorwright.passes.tied import tie_transposed

PASSES: tuple[Pass, ...] = (
    fold_constants,
    remove_identities,
    simplify_arithmetic,
    merge_common,
    share_steps,
    recognise_activations,
    recognise_normalizations,
    fold_into_convolutions,
    simplify_products,
    group_products,
    tie_transposed,
    move_scales,
    canonicalise,
)
"""What always helps; repeated in this order until nothing changes."""

ROUNDS = 20
"""Every round of a real network does some work; a chain of rewrites longer than this is left half done."""

NO_LIMIT = Limit()


def optimise(
    graph: Graph,
    *,
    passes: Sequence[Pass] | None = None,
    first: Sequence[Pass] = (),
    further: Sequence[Pass] = (),
    check: bool = False,
    limit: Limit = NO_LIMIT,
    observers: Sequence[Observer] = (),
) -> Graph:
    """An equivalent graph that computes less. Inputs and outputs keep their names, order and types.

    What no output needs is dropped. Results differ from the original's by rounding only.

    Args:
        graph: what to optimise.
        passes: what to run in this order, again and again; None for `PASSES`.
        first: what to run before them, such as what has to see constants as they were given.
        further: what to run behind them, such as what pays on one device alone.
        check: verify the graph after every pass.
        limit: where to end before nothing changes any more.
        observers: hear of every run of a pass that changed the graph.

    Raises:
        BuildError: the limit names no pass, or an observer says so.
    """
    passes = (*first, *(PASSES if passes is None else passes), *further)
    _expect_known(limit, passes)
    run = _Run(limit, (*([_verify] if check else []), *observers))
    return run.settled(graph, passes)


def _expect_known(limit: Limit, passes: Sequence[Pass]) -> None:
    try:
        last = limit.last
    except ValueError as error:
        raise BuildError(f"stop_after: {error}") from None
    names = [step.name for step in passes]
    if last is not None and last[0] not in names:
        raise BuildError(f"stop_after: expected one of the passes {', '.join(names)}; found '{last[0]}'")
    if limit.rewrites is not None and limit.rewrites < 0:
        raise BuildError(f"max_rewrites is {limit.rewrites}; expected at least 0, or None")


def _verify(change: Change) -> None:
    verify(change.after)


@dataclass
class _Run:
    """How far one call of `optimise` is. rounds: how often each pass ran; rewrites: how many were made."""

    limit: Limit
    observers: Sequence[Observer]
    rounds: Counter[str] = field(default_factory=Counter)
    rewrites: int = 0
    ended: bool = False

    def settled(self, graph: Graph, passes: Sequence[Pass]) -> Graph:
        for _ in range(ROUNDS):
            before = graph
            for step in passes:
                graph = self.one(step, graph)
            if _same(graph, before):
                break
        return graph

    def one(self, step: Pass, graph: Graph) -> Graph:
        if self.ended:
            return graph
        made: list[Rewritten] = []

        def permit(rule: str, before: Value, after: Value) -> bool:
            number = self.rewrites + len(made) + 1
            if self.limit.rewrites is not None and number > self.limit.rewrites:
                return False
            made.append(Rewritten(number, rule, before, after))
            return True

        after = step(graph, permit)
        self.rounds[step.name] += 1
        self.rewrites += len(made)
        self.ended = self.limit.ends_with(step, self.rounds[step.name])
        if not _same(after, graph):
            change = Change(step, self.rounds[step.name], graph, after, tuple(made))
            for observer in self.observers:
                observer(change)
        return after


def _same(left: Graph, right: Graph) -> bool:
    return left.outputs == right.outputs and left.inputs == right.inputs
