"""Partitioned boolean quadratic programming: one alternative per node, costs on nodes and on edges, least total.

Nodes with at most two neighbours are eliminated exactly (reductions R0, RI, RII); where all have more, the node with
the most neighbours is decided by its locally cheapest alternative (RN). Scholz and Eckstein, "Register Allocation for
Irregular Architectures", 2002; applied to layouts by Anderson and Gregg, 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

import numpy as np
import numpy.typing as npt

Costs = npt.NDArray[np.float64]


@dataclass
class _Problem:
    nodes: dict[int, Costs]
    edges: dict[int, dict[int, Costs]]
    decisions: list[tuple[int, dict[int, Costs], Costs]] = field(default_factory=list)

    def connect(self, a: int, b: int, costs: Costs) -> None:
        known = self.edges[a].get(b)
        total = costs if known is None else known + costs
        self.edges[a][b], self.edges[b][a] = total, total.T

    def remove(self, node: int) -> dict[int, Costs]:
        neighbours = self.edges.pop(node)
        for other in neighbours:
            del self.edges[other][node]
        self.decisions.append((node, neighbours, self.nodes.pop(node)))
        return neighbours


def solve(nodes: Sequence[Sequence[float]], edges: Mapping[tuple[int, int], Costs]) -> list[int]:
    """The alternative of every node.

    Args:
        nodes: for every node the cost of each alternative.
        edges: for pairs of nodes (a, b) a matrix of costs, alternatives of a × alternatives of b.
    """
    problem = _Problem(
        {i: np.array(costs, dtype=np.float64) for i, costs in enumerate(nodes)}, {i: {} for i in range(len(nodes))}
    )
    for (a, b), costs in edges.items():
        problem.connect(a, b, np.asarray(costs, dtype=np.float64))
    queue = _Queue(problem)
    while problem.nodes:
        node = queue.next()
        neighbours = list(problem.edges[node])
        _reduce(problem, node)
        for other in neighbours:
            queue.note(other)
    return _decided(problem, len(nodes))


class _Queue:
    """The nodes by their number of neighbours; entries that are out of date are skipped when they come up."""

    def __init__(self, problem: _Problem) -> None:
        self._problem = problem
        self._fewest = [(len(edges), node) for node, edges in problem.edges.items()]
        self._most = [(-degree, node) for degree, node in self._fewest]
        heapify(self._fewest)
        heapify(self._most)

    def note(self, node: int) -> None:
        """The number of a node's neighbours may have changed."""
        degree = len(self._problem.edges[node])
        heappush(self._fewest, (degree, node))
        heappush(self._most, (-degree, node))

    def next(self) -> int:
        """The node with the fewest neighbours; where all have more than two, the one with the most."""
        few = self._top(self._fewest, 1)
        return few if len(self._problem.edges[few]) <= 2 else self._top(self._most, -1)

    def _top(self, heap: list[tuple[int, int]], sign: int) -> int:
        while True:
            degree, node = heap[0]
            if node in self._problem.nodes and len(self._problem.edges[node]) == sign * degree:
                return node
            heappop(heap)


def _reduce(problem: _Problem, node: int) -> None:
    own, degree = problem.nodes[node], len(problem.edges[node])
    if degree > 2:
        total = own + sum((costs + problem.nodes[other]).min(axis=1) for other, costs in problem.edges[node].items())
        best = int(np.argmin(total))
        for other, costs in problem.edges[node].items():
            problem.nodes[other] = problem.nodes[other] + costs[best]
        problem.nodes[node] = np.where(np.arange(len(own)) == best, own, np.inf)
        problem.remove(node)
        return
    neighbours = problem.remove(node)
    if degree == 1:
        ((other, costs),) = neighbours.items()
        problem.nodes[other] = problem.nodes[other] + (costs + own[:, None]).min(axis=0)
    elif degree == 2:
        (first, left), (second, right) = neighbours.items()
        merged = (own[:, None, None] + left[:, :, None] + right[:, None, :]).min(axis=0)
        problem.connect(first, second, merged)


def _decided(problem: _Problem, count: int) -> list[int]:
    result = [0] * count
    for node, neighbours, own in reversed(problem.decisions):
        total = own + sum((costs[:, result[other]] for other, costs in neighbours.items()), np.zeros(len(own)))
        result[node] = int(np.argmin(total))
    return result
