"""The solver finds the least total where reductions are exact, and a legal answer everywhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorwright.tune.pbqp import Costs, solve


def total(nodes: list[list[float]], edges: dict[tuple[int, int], Costs], picks: list[int]) -> float:
    own = sum(costs[pick] for costs, pick in zip(nodes, picks, strict=True))
    return own + sum(float(costs[picks[a], picks[b]]) for (a, b), costs in edges.items())


def best(nodes: list[list[float]], edges: dict[tuple[int, int], Costs]) -> float:
    every = itertools.product(*(range(len(costs)) for costs in nodes))
    return min(total(nodes, edges, list(picks)) for picks in every)


@st.composite
def problems(draw: st.DrawFn, degree: int) -> tuple[list[list[float]], dict[tuple[int, int], Costs]]:
    count = draw(st.integers(1, 7))
    sizes = [draw(st.integers(1, 3)) for _ in range(count)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    nodes = [list(rng.uniform(0, 10, size)) for size in sizes]
    edges = {}
    for node in range(1, count):
        for other in draw(st.sets(st.integers(max(0, node - degree), node - 1), max_size=degree)):
            edges[other, node] = rng.uniform(0, 10, (sizes[other], sizes[node]))
    return nodes, edges


@given(problems(degree=1))
def test_chains_are_solved_exactly(problem: tuple[list[list[float]], dict[tuple[int, int], Costs]]) -> None:
    assert total(*problem, solve(*problem)) == pytest.approx(best(*problem))


@given(problems(degree=2))
def test_series_parallel_graphs_are_solved_exactly(
    problem: tuple[list[list[float]], dict[tuple[int, int], Costs]],
) -> None:
    assert total(*problem, solve(*problem)) == pytest.approx(best(*problem))


@given(problems(degree=6))
def test_dense_graphs_get_a_legal_answer(problem: tuple[list[list[float]], dict[tuple[int, int], Costs]]) -> None:
    nodes, _ = problem
    picks = solve(*problem)
    assert all(0 <= pick < len(costs) for pick, costs in zip(picks, nodes, strict=True))
