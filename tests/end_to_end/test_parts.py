"""Networks that take a tensor apart into so many parts that these share a kernel."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import drawn, given, network, unary
from tensorwright.backends.null import BACKEND as NULL
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.codegen.cpu import steps
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Concatenation, Slice
from tensorwright.passes.fuse import partition
from tensorwright.passes.patterns import FEWEST, in_patterns
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import symbol

COUNT = FEWEST + 5
BATCH = symbol("start 0", 1, 2, 4)
"""Called as a slot would be."""


def part(x: Value, starts: tuple[int, ...], extents: tuple[int, ...], step: int = 1) -> Value:
    whole = tuple(own if extent < 0 else extent for own, extent in zip(x.type.shape, extents, strict=True))
    return apply(Slice(starts, whole, tuple(step if start else 1 for start in starts)), x)


def rows(x: Value) -> list[Value]:
    return [part(x, (number, 0), (1, -1)) for number in range(COUNT)]


PRODUCT = drawn(np.random.default_rng(0), 6, 6)
X = given("x", COUNT, 6)
COLUMNS = given("x", 3, COUNT)
OPEN = given("x", BATCH, 2 * COUNT, 5)


NETWORKS = {
    "rows": network(*rows(X)),
    "columns": network(*(part(COLUMNS, (0, number), (-1, 1)) for number in range(COUNT))),
    "elements": network(*(part(X, (number, number % 6), (1, 1)) for number in range(COUNT))),
    "overlapping": network(*(part(X, (number, 0), (5, 6)) for number in range(COUNT - 5))),
    "backwards": network(*(part(COLUMNS, (0, 4 + number), (-1, 3), -2) for number in range(COUNT - 4))),
    "open": network(*(part(OPEN, (0, 2 * number, 1), (-1, 2, 4)) for number in range(COUNT)), unary("exp", OPEN)),
    "between others": network(*(unary("exp", unary("neg", row)) for row in rows(apply(Softmax(1), X)))),
    "turned round": network(apply(Concatenation(0), *rows(apply(MatMul(), X, PRODUCT))[::-1])),
}


def check(graph: Graph, engine: Engine, rng: np.random.Generator) -> None:
    symbols = {one.name: 3 for one in graph.symbols()}
    shapes = {name: [3 if extent == BATCH else extent for extent in value.type.shape] for name, value in graph.inputs}
    inputs = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    expected = evaluate_graph(graph, inputs, symbols)
    for name, found in engine(inputs).items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("level", "rows"), [(0, 8), (0, 1000), (3, 8)])
def test_parts_are_right(
    name: str, threads: int, level: int, rows: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rows: so many steps that are alike have a table."""
    monkeypatch.setattr(steps, "FEWEST_ROWS", rows)
    graph = NETWORKS[name]
    with Engine(build(graph, BuildConfig(threads=threads, level=level))) as engine:
        check(graph, engine, rng)


@pytest.mark.parametrize("name", NETWORKS)
def test_other_devices_are_told_where_parts_begin(name: str, rng: np.random.Generator) -> None:
    with Engine(build(NETWORKS[name], BuildConfig(level=0), NULL)) as engine:
        check(NETWORKS[name], engine, rng)


@pytest.mark.parametrize("threads", [1, 2])
def test_every_part_has_its_time(threads: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "FEWEST_ROWS", COUNT)
    graph, x = NETWORKS["rows"], rng.standard_normal((COUNT, 6)).astype(np.float32)
    with Engine(build(graph, BuildConfig(threads=threads, level=0))) as engine:
        times = engine.create_execution_context().profile(x, COUNT)
    assert len(times) == COUNT + 1
    assert sorted(times) == list(times)


@pytest.mark.parametrize("name", ["rows", "columns", "elements", "overlapping", "backwards"])
def test_parts_share_a_kernel(name: str) -> None:
    regions = in_patterns(partition(NETWORKS[name]))
    assert len(regions) >= FEWEST
    assert len({region.signature for region in regions}) == 1
    assert len({tuple(region.slots.values()) for region in regions}) == len(regions)


def test_few_parts_know_their_beginnings() -> None:
    """Also where many regions are equal."""
    few = rows(X)[: FEWEST - 1]
    regions = in_patterns(partition(network(*few, *(unary("neg", one) for one in few))))
    assert all(region.pattern is None for region in regions)
