"""Chooses layouts and kernels for the whole network at once.

Every region is a node whose alternatives are its layout assignments, each at the cost of its best kernel; every edge
costs the reorder between the layouts of producer and consumer. See `tensorwright.tune.pbqp`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tensorwright.graph.graph import Graph, Value, apply, is_constant, storage_root
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.tactic import Kernel
from tensorwright.ops.elementwise import Identity
from tensorwright.tensor.layout import PLAIN, Layout
from tensorwright.tune.choice import Choice, Trial
from tensorwright.tune.estimate import Roofline
from tensorwright.tune.pbqp import Costs, solve


@dataclass(frozen=True)
class Candidate:
    """A kernel for a region and its trial; exact: whether its tactic is."""

    trial: Trial
    kernel: Callable[[], Kernel]
    exact: bool = True

    @property
    def layouts(self) -> tuple[tuple[Layout, ...], Layout]:
        return self.trial.config.inputs, self.trial.config.output


@dataclass(frozen=True)
class Searched:
    """What a search found for a region: usable candidates, and all trials including the rejected ones."""

    region: Region
    candidates: tuple[Candidate, ...]
    trials: tuple[Trial, ...]

    def alternatives(self) -> list[Candidate]:
        """The cheapest candidate for every assignment of layouts."""
        best: dict[tuple[tuple[Layout, ...], Layout], Candidate] = {}
        for candidate in self.candidates:
            known = best.get(candidate.layouts)
            if known is None or candidate.trial.cost < known.trial.cost:
                best[candidate.layouts] = candidate
        return list(best.values())


class Reorders(Protocol):
    """Kernels that copy a tensor from one layout into another."""

    @property
    def roofline(self) -> Roofline:
        """What they are expected to cost."""
        ...

    def reorder(self, region: Region, source: Layout, destination: Layout) -> Choice:
        """The choice for an Identity region between two layouts."""
        ...


def select(graph: Graph, searched: Sequence[Searched], reorders: Reorders) -> list[Choice]:
    """One choice per region, reorders inserted where layouts differ, in an order that respects all reads.

    reorders: says what it costs to change a layout, and makes the kernels that do it.
    """
    alternatives = [item.alternatives() for item in searched]
    producers = {item.region.output: number for number, item in enumerate(searched)}
    roofline = reorders.roofline
    node_costs = _node_costs(graph, searched, alternatives, producers, roofline)
    picks = solve(node_costs, _edge_costs(searched, alternatives, producers, roofline))
    chosen = [options[pick] for options, pick in zip(alternatives, picks, strict=True)]
    return _with_reorders(graph, searched, chosen, reorders)


def _node_costs(
    graph: Graph,
    searched: Sequence[Searched],
    alternatives: list[list[Candidate]],
    producers: dict[Value, int],
    roofline: Roofline,
) -> list[list[float]]:
    costs = [[candidate.trial.cost for candidate in options] for options in alternatives]
    plain_ends = {storage_root(value) for _, value in graph.outputs}
    for number, item in enumerate(searched):
        for position, candidate in enumerate(alternatives[number]):
            for value, layout in zip(item.region.inputs, candidate.layouts[0], strict=True):
                root = storage_root(value)
                if root not in producers and not is_constant(root):
                    costs[number][position] += roofline.reorder(value.type, PLAIN, layout)
                if value is not root and root in producers:
                    plain_ends.add(root)
                    costs[number][position] += roofline.reorder(value.type, PLAIN, layout)
    for root in plain_ends & set(producers):
        number = producers[root]
        for position, candidate in enumerate(alternatives[number]):
            costs[number][position] += roofline.reorder(root.type, candidate.layouts[1], PLAIN)
    return costs


def _edge_costs(
    searched: Sequence[Searched], alternatives: list[list[Candidate]], producers: dict[Value, int], roofline: Roofline
) -> dict[tuple[int, int], Costs]:
    edges: dict[tuple[int, int], Costs] = {}
    for consumer, item in enumerate(searched):
        for operand, value in enumerate(item.region.inputs):
            producer = producers.get(value)
            if producer is None:
                continue
            costs = np.array(
                [
                    [roofline.reorder(value.type, a.layouts[1], b.layouts[0][operand]) for b in alternatives[consumer]]
                    for a in alternatives[producer]
                ]
            )
            key = (producer, consumer)
            edges[key] = edges[key] + costs if key in edges else costs
    return edges


def _with_reorders(
    graph: Graph,
    searched: Sequence[Searched],
    chosen: Sequence[Candidate],
    reorders: Reorders,
) -> list[Choice]:
    choices: list[Choice] = []
    stored: dict[Value, list[Layout]] = {}
    """The layouts that each value has, in the order in which it gets them: it is brought into others from the first."""

    def store(value: Value, layout: Layout) -> None:
        stored.setdefault(value, []).append(layout)

    def provide(value: Value, layout: Layout) -> None:
        root = storage_root(value)
        if is_constant(root) or root.type.is_empty or layout in stored.get(value, ()):
            return
        if layout.is_plain and value is not root:
            provide(root, PLAIN)
            store(value, PLAIN)
            return
        if value.op.kind == "source" and value not in stored:
            store(value, PLAIN)
        if layout in stored.get(value, ()):
            return
        if value is not root:
            provide(value, PLAIN)
        source = stored.get(value, [PLAIN])[0]
        choices.append(
            reorders.reorder(region_of([apply(Identity(), value, name=f"reorder {value.name}")]), source, layout)
        )
        store(value, layout)

    for item, candidate in zip(searched, chosen, strict=True):
        kernel = candidate.kernel()
        for value, layout in zip(item.region.inputs, kernel.inputs, strict=True):
            provide(value, layout)
        choices.append(Choice(item.region, kernel, candidate.trial, item.trials))
        store(item.region.output, kernel.output)
    for _, value in graph.outputs:
        provide(value, PLAIN)
    return choices
