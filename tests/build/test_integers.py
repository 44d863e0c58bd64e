"""Which products are computed in integers: those that are faster so, conversions included."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphs import constant, given, network
from tensorwright.build.integers import Measurement, kept_in_floats
from tensorwright.build.precision import BoundsFor, Wishes
from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.graph.region import Region
from tensorwright.kernels.tactic import NO_OPTIONS, Config
from tensorwright.ops.activation import Relu
from tensorwright.ops.matmul import MatMul
from tensorwright.passes.fuse import partition
from tensorwright.passes.integers import integer_products
from tensorwright.passes.pipeline import optimise
from tensorwright.passes.quantise import quantised
from tensorwright.passes.requantise import requantise
from tensorwright.tensor.layout import PLAIN
from tensorwright.tensor.range import Range
from tensorwright.tune.choice import Trial
from tensorwright.tune.estimate import Roofline
from tensorwright.tune.select import Candidate, Searched

ROOFLINE = Roofline(1e12, 1e10, 1e-6)


def products(rng: np.random.Generator) -> tuple[Graph, list[Value]]:
    """Three products one after another, with ReLUs in between."""
    value, found = given("x", 64, 64), []
    for name in ("first", "second", "third"):
        value = apply(MatMul(), value, constant(rng.standard_normal((64, 64))), name=name)
        found.append(value)
        value = apply(Relu(), value, name=f"{name} relu")
    return network(value), found


def rewritten(graph: Graph) -> Graph:
    return optimise(graph, first=(integer_products, requantise))


def kept(rng: np.random.Generator, seconds: Callable[[Region, bool], float], mixed: float = 0.0) -> list[str]:
    """What is kept where regions take so many seconds, in integers or not; more in networks of both kinds."""
    graph, values = products(rng)
    ranges = {value.inputs[0]: Range.within(3.0) for value in values}

    def measure(network: Graph, bounds: BoundsFor | None = None) -> list[Searched]:
        regions = partition(network)
        kinds = {region.anchor.type.dtype for region in regions if region.anchor is not None}
        return [searched(region, mixed * (len(kinds) - 1)) for region in regions]

    def searched(region: Region, more: float) -> Searched:
        in_integers = any(value.type.dtype.is_integer for value in region.values)
        config = Config((PLAIN,) * len(region.inputs), PLAIN, NO_OPTIONS)
        trial = Trial("made up", config, seconds(region, in_integers) + more)
        return Searched(region, (Candidate(trial, lambda: pytest.fail("no kernel is needed")),), (trial,))

    def partly(names: frozenset[str]) -> Graph:
        return rewritten(quantised(graph, ranges, kept=lambda product: product.name in names).graph)

    measurement = Measurement(Wishes((), {}), measure, partly, ROOFLINE)
    return sorted(kept_in_floats(rewritten(graph), partly(frozenset()), values, measurement))


def test_what_is_faster_is_computed_in_integers(rng):
    assert kept(rng, lambda _, in_integers: 1e-5 if in_integers else 1e-3) == []


def test_what_is_slower_is_not(rng):
    assert kept(rng, lambda _, in_integers: 1e-3 if in_integers else 1e-5) == ["first", "second", "third"]


def test_one_product_may_stay(rng):
    def seconds(region: Region, in_integers: bool) -> float:
        is_slow = region.anchor is not None and region.anchor.name == "second"
        return 1e-3 if in_integers == is_slow else 1e-5

    assert kept(rng, seconds) == ["second"]


def test_conversions_count(rng):
    """What quantising costs is more than one product gains, and less than three do."""

    def seconds(region: Region, in_integers: bool) -> float:
        if region.anchor is None:
            return 3e-4
        return 2e-4 if in_integers or region.anchor.name != "first" else 3e-4

    assert kept(rng, seconds) == ["first", "second", "third"]


def test_nothing_is_gained_by_estimates_alone(rng):
    """The network as it was chosen is measured, too: here networks of both kinds are slow, integers alone the best."""

    def seconds(region: Region, in_integers: bool) -> float:
        is_slow = region.anchor is not None and region.anchor.name == "second"
        return 1e-3 if in_integers == is_slow else 1e-5

    assert kept(rng, seconds, mixed=1.0) == []
