"""Joined regions take the place of their stages where they are faster, and only there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graphs import given, network
from tensorwright.backends.cpu import CpuBackend
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.codegen.target import Target
from tensorwright.graph.graph import apply
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.kernels.tactic import NO_OPTIONS, Config, Kernel, Tactic, TacticOptions, plain_inputs
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Reshape, Transpose
from tensorwright.passes.fuse import partition
from tensorwright.passes.join import joins
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.layout import PLAIN
from tensorwright.tune.cache import TimingCache
from tensorwright.tune.choice import Trial
from tensorwright.tune.join import Comparison, prefer_joined
from tensorwright.tune.select import Candidate, Searched

CHAIN = network(apply(Softmax(1), apply(Reduction("max", (2,)), apply(Softmax(2), given("x", 3, 5, 40)))))
FIRST, SECOND, THIRD = partition(CHAIN)
PAIR, ALL, LATER = joins(CHAIN, (FIRST, SECOND, THIRD))


class Whole(Tactic[Target, TacticOptions]):
    """Computes joined regions from their composed definitions."""

    name = "whole"
    joins = True

    def configs(self, region: Region, target: Target) -> Sequence[Config]:
        return [Config(plain_inputs(region), PLAIN, NO_OPTIONS)]

    def emit(self, region: Region, config: Config, target: Target) -> Kernel:
        return Generic().emit(replace(region, stages=()), config, target)


def timed(region: Region, seconds: float | None) -> Searched:
    trial = Trial("some", Config(plain_inputs(region), PLAIN, NO_OPTIONS), 1e-9, seconds)

    def kernel() -> Kernel:
        raise AssertionError("nothing is generated here")

    return Searched(region, (Candidate(trial, kernel),), (trial,))


STAGES = [timed(FIRST, 3.0), timed(SECOND, 2.0), timed(THIRD, 1.0)]


@pytest.mark.parametrize(
    ("pair", "all_three", "later", "expected"),
    [
        (5.5, 6.5, 3.5, [FIRST, SECOND, THIRD]),
        (4.0, 6.5, 3.5, [PAIR, THIRD]),
        (4.5, 6.5, 2.0, [FIRST, LATER]),
        (4.0, 4.5, 2.5, [ALL]),
        (None, 7.0, 2.9, [FIRST, LATER]),
    ],
)
def test_the_largest_saving_wins(
    pair: float | None, all_three: float, later: float, expected: Sequence[Region]
) -> None:
    candidates = [timed(PAIR, pair), timed(ALL, all_three), timed(LATER, later)]
    assert [item.region for item in prefer_joined(STAGES, candidates)] == list(expected)


@pytest.mark.parametrize(
    ("apart", "raced", "expected", "races"),
    [
        (4.5, (5.2, 5.0), [FIRST, SECOND, THIRD], 1),
        (5.5, (4.0, 5.0), [PAIR, THIRD], 1),
        (2.4, (5.2, 5.0), [PAIR, THIRD], 0),
        (11.0, (4.0, 5.0), [FIRST, SECOND, THIRD], 0),
    ],
)
def test_close_times_are_measured_in_one_race(
    apart: float, raced: tuple[float, float], expected: Sequence[Region], races: int
) -> None:
    asked = []

    def compare(item: Searched, stages: Sequence[Searched]) -> tuple[float, float]:
        asked.append([stage.region for stage in stages])
        return raced

    found = prefer_joined(STAGES, [timed(PAIR, apart)], compare)
    assert [item.region for item in found] == list(expected)
    assert asked == [[FIRST, SECOND]] * races


BACKEND = CpuBackend((Whole(), Generic()))


def test_races_of_sequences_are_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tensorwright.tune.join.CLOSE", 1e9)
    config = BuildConfig(level=1, threads=1, timing_cache=tmp_path / "timings.json")
    build(CHAIN, config, BACKEND)
    entries = TimingCache(config.timing_cache if isinstance(config.timing_cache, Path) else None, print).entries
    raced = {key for key in entries if key.endswith((" joined", " apart"))}
    assert len(raced) == 2 * len(joins(CHAIN, (FIRST, SECOND, THIRD)))
    assert all(entries[key] > 0 for key in raced)
    monkeypatch.setattr("tensorwright.tune.cpu.bench.race", None)
    build(CHAIN, config, BACKEND)


def test_a_build_joins_and_computes_the_same(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    monkeypatch.setattr("tensorwright.tune.join._saving", lambda item, *_: float(item.region.output is ALL.output))
    plan = build(CHAIN, BuildConfig(level=1, threads=1, timing_cache=""), BACKEND)
    steps = plan.report["steps"]
    assert isinstance(steps, list)
    assert "whole" in [step["tactic"] for step in steps if isinstance(step, dict)]
    x = rng.standard_normal((3, 5, 40), dtype=np.float32)
    first = np.exp(x) / np.exp(x).sum(2, keepdims=True)
    most = first.max(2)
    expected = np.exp(most) / np.exp(most).sum(1, keepdims=True)
    (output,) = Engine(plan)(x).values()
    np.testing.assert_allclose(output.reshape(expected.shape), expected, rtol=1e-5)


def test_a_build_reads_and_writes_attention_through_transpositions(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    given_names = ("q", "k", "v")
    q, k, v = (apply(Transpose((0, 2, 1, 3)), given(name, 2, 21, 3, 20)) for name in given_names)
    result = apply(MatMul(), apply(Softmax(3), apply(MatMul(transpose_b=True), q, k)), v)
    graph = network(apply(Transpose((0, 2, 1, 3)), result))
    monkeypatch.setattr("tensorwright.tune.join._saving", lambda item, *_: float(len(item.region.stages)))
    plan = build(graph, BuildConfig(level=1, threads=2, timing_cache=""))
    steps = plan.report["steps"]
    assert isinstance(steps, list)
    assert [step["tactic"] for step in steps if isinstance(step, dict)] == ["attention"]
    arrays = {name: rng.standard_normal((2, 21, 3, 20), dtype=np.float32) for name in given_names}
    queries, keys, values = (arrays[name].astype(np.float64).swapaxes(1, 2) for name in given_names)
    powers = np.exp(queries @ keys.swapaxes(2, 3))
    expected = (powers / powers.sum(3, keepdims=True) @ values).swapaxes(1, 2)
    (output,) = Engine(plan)(arrays).values()
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5)


def test_a_run_through_a_view_is_raced_and_computes_the_same(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    raced: list[int] = []

    def saving(item: Searched, stages: Sequence[Searched], compare: Comparison) -> float:
        assert min(compare(item, stages)) > 0
        raced.append(len(stages))
        return float(len(stages) > 2)

    monkeypatch.setattr("tensorwright.tune.join._saving", saving)
    monkeypatch.setattr("tensorwright.backends.cpu.CpuToolchain.is_small", lambda *_: True)
    first = apply(Reshape((3, 200)), apply(Softmax(2), given("x", 3, 5, 40)))
    graph = network(apply(Softmax(0), apply(Softmax(1), first)))
    plan = build(graph, BuildConfig(level=1, threads=1, timing_cache=""), BACKEND)
    steps = plan.report["steps"]
    assert isinstance(steps, list)
    assert [step["tactic"] for step in steps if isinstance(step, dict)] == ["whole"]
    assert 3 in raced
    x = rng.standard_normal((3, 5, 40), dtype=np.float32)
    expected = x
    for axis in (2, 1, 0):
        expected = expected.reshape(3, 200) if axis == 1 else expected
        expected = np.exp(expected) / np.exp(expected).sum(axis, keepdims=True)
    (output,) = Engine(plan)(x).values()
    np.testing.assert_allclose(output, expected, rtol=1e-5)
