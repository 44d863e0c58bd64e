"""Chooses layouts and kernels for the whole network at once.

Every region is a node whose alternatives are its layout assignments, each at the cost of its best kernel; every edge
costs the reorder between the layouts of producer and consumer. Regions that read one large constant are joined by an
edge, too: it costs something to keep the constant in two packings. See `tensorwright.tune.pbqp`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import Protocol

import numpy as np

from tensorwright.graph.graph import Graph, Value, apply, is_constant, storage_root, weights_in
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.tactic import Kernel
from tensorwright.ops.elementwise import Identity
from tensorwright.tensor.dim import Symbol
from tensorwright.tensor.layout import PLAIN, Layout
from tensorwright.tensor.weights import Weights
from tensorwright.tune.choice import Choice, Trial
from tensorwright.tune.estimate import Roofline
from tensorwright.tune.pbqp import Costs, solve

LARGE = 1 << 18
"""Bytes of a constant from which on it matters whether it is kept twice."""


@dataclass(frozen=True)
class Candidate:
    """A kernel for a region and its trial; exact: whether its tactic is."""

    trial: Trial
    kernel: Callable[[], Kernel]
    exact: bool = True

    def filled(self, others: Mapping[Symbol, Symbol | int]) -> Candidate:
        """The candidate for a region with other symbols, or with numbers, in place of symbols."""
        return replace(self, kernel=cache(lambda: self.kernel().filled(others))) if others else self

    @property
    def layouts(self) -> tuple[tuple[Layout, ...], Layout]:
        return self.trial.config.inputs, self.trial.config.output

    def packing(self, number: int) -> str:
        """The name of the packing in which the kernel reads a constant; empty if it reads it as it is."""
        found = self.kernel().packings[number]
        return "" if found is None else found.name


@dataclass(frozen=True)
class Searched:
    """What a search found for a region: usable candidates, and all trials including the rejected ones."""

    region: Region
    candidates: tuple[Candidate, ...]
    trials: tuple[Trial, ...]

    def found_for(self, region: Region) -> Searched:
        """The same for a region with an equal signature."""
        pairs = zip(self.region.named, region.filling, strict=True)
        others = {old: new for old, new in pairs if old != new}
        return replace(self, region=region, candidates=tuple(one.filled(others) for one in self.candidates))

    def alternatives(self, shared: Sequence[int] = ()) -> list[Candidate]:
        """The cheapest candidate for every assignment of layouts, and of packings of the inputs in `shared`."""
        best: dict[object, Candidate] = {}
        for candidate in self.candidates:
            key = candidate.layouts, tuple(candidate.packing(number) for number in shared)
            known = best.get(key)
            if known is None or candidate.trial.cost < known.trial.cost:
                best[key] = candidate
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
    shared = _shared_constants(searched)
    alternatives = [item.alternatives(sorted(shared.get(n, {}).values())) for n, item in enumerate(searched)]
    producers = {item.region.output: number for number, item in enumerate(searched)}
    roofline = reorders.roofline
    node_costs = _node_costs(graph, searched, alternatives, producers, roofline)
    edges = _edge_costs(searched, alternatives, producers, roofline)
    for pair, costs in _packing_costs(shared, alternatives, roofline).items():
        edges[pair] = edges[pair] + costs if pair in edges else costs
    picks = solve(node_costs, edges)
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


def _shared_constants(searched: Sequence[Searched]) -> dict[int, dict[Weights, int]]:
    """For regions with large constants that regions of other kinds read as well: by constant, which input it is."""
    found: dict[int, dict[Weights, int]] = {}
    readers: dict[Weights, set[str]] = {}
    for number, item in enumerate(searched):
        for operand, value in enumerate(item.region.inputs):
            if is_constant(value) and value.type.max_bytes >= LARGE:
                weights = weights_in(value)
                found.setdefault(number, {}).setdefault(weights, operand)
                readers.setdefault(weights, set()).add(item.region.signature)
    return {n: {w: o for w, o in own.items() if len(readers[w]) > 1} for n, own in found.items()}


def _packing_costs(
    shared: Mapping[int, Mapping[Weights, int]], alternatives: list[list[Candidate]], roofline: Roofline
) -> dict[tuple[int, int], Costs]:
    """What it costs that two regions read one constant in different packings: the time to read it."""
    edges: dict[tuple[int, int], Costs] = {}
    for first, second in combinations(shared, 2):
        for weights in shared[first].keys() & shared[second].keys():
            ours, theirs = (
                [candidate.packing(shared[number][weights]) for candidate in alternatives[number]]
                for number in (first, second)
            )
            seconds = weights.type.max_bytes / roofline.bytes_per_second
            costs = np.array([[seconds * (a != b) for b in theirs] for a in ours])
            edges[first, second] = edges[first, second] + costs if (first, second) in edges else costs
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
