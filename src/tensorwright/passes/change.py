"""What a run of a pass changed, who hears of it, and where rewriting ends before its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tensorwright.graph.graph import Graph, Value
from tensorwright.passes.rewrite import Pass


@dataclass(frozen=True)
class Rewritten:
    """One rewrite: its number among all of the network, from 1; the rule; the value, and what took its place."""

    number: int
    rule: str
    before: Value
    after: Value


@dataclass(frozen=True)
class Change:
    """A run of a pass that changed a graph: in which round, counted from 1, from what to what, by which rewrites."""

    step: Pass
    round: int
    before: Graph
    after: Graph
    rewrites: tuple[Rewritten, ...]

    def up_to(self, count: int) -> Graph:
        """The graph after the first `count` rewrites of the run alone."""
        left = iter(range(count))
        return self.step(self.before, lambda _rule, _before, _after: next(left, None) is not None)


Observer = Callable[[Change], None]
"""Hears of every run of a pass that changed the graph, in order."""


@dataclass(frozen=True)
class Limit:
    """Where rewriting ends, so that a wrong rewrite is found by halving.

    stop_after: name of a pass; its first run is the last run of any pass. With ``:N`` behind the name, the run in
    round N is. rewrites: so many rewrites are made, in all passes together. None for no limit.
    """

    stop_after: str | None = None
    rewrites: int | None = None

    def ends_with(self, step: Pass, round: int) -> bool:
        """Whether the run of a pass in a round is the last one."""
        return self.stop_after is not None and self.last == (step.name, round)

    @property
    def last(self) -> tuple[str, int] | None:
        """Name and round of the last pass.

        Raises:
            ValueError: what follows the colon is no round.
        """
        if self.stop_after is None:
            return None
        name, _, round = self.stop_after.partition(":")
        if round and not (round.isdecimal() and int(round)):
            raise ValueError(f"expected NAME or NAME:ROUND, with rounds from 1, found '{self.stop_after}'")
        return name, int(round or 1)
