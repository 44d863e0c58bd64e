"""Tuning lets only correct kernels win, remembers what it measured, and takes its memory from the user's allocator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graphs import binary, drawn, given, network, unary
from tensorwright.backends.cpu import CpuBackend
from tensorwright.base.errors import BuildError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.codegen.target import Target
from tensorwright.devices.cpu.memory import PageAllocator
from tensorwright.graph.graph import Graph, apply
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.kernels.tactic import Config, Kernel, Tactic, TacticOptions
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.indexing import TopKIndices
from tensorwright.ops.normalization import Softmax
from tensorwright.runtime.engine import Engine
from tensorwright.tune import tuner
from tensorwright.tune.cache import TimingCache
from tensorwright.tune.select import Candidate

GRAPH = network(binary("add", unary("exp", given("x", 3, 50)), 1.0))


class Wrong(Tactic[Target, TacticOptions]):
    """A tactic that is quick and computes something else: it leaves out the last task."""

    name = "wrong"

    def configs(self, region: Region, target: Target) -> Sequence[Config]:
        return Generic().configs(region, target)

    def emit(self, region: Region, config: Config, target: Target) -> Kernel:
        return replace(Generic().emit(region, config, target), tasks=0)


def test_wrong_kernels_never_win(rng: np.random.Generator) -> None:
    backend = CpuBackend((Wrong(), Generic()))
    plan = build(GRAPH, BuildConfig(level=3, threads=1, timing_cache=""), backend)
    (step,) = plan.report["steps"]  # type: ignore[misc, union-attr]
    assert step["tactic"] == "generic"  # type: ignore[index, call-overload]
    assert "wrong" in str(step["trials"])  # type: ignore[index, call-overload]
    x = rng.standard_normal((3, 50), dtype=np.float32)
    np.testing.assert_allclose(Engine(plan)(x)["out0"], np.exp(x) + 1, rtol=1e-5)


def test_second_build_measures_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = BuildConfig(level=3, threads=1, timing_cache=tmp_path / "timings.json")
    first = build(GRAPH, options)
    assert TimingCache(tmp_path / "timings.json", print).entries

    def fail(*arguments: object) -> None:
        raise AssertionError("a kernel was timed again")

    monkeypatch.setattr("tensorwright.tune.cpu.bench.race", lambda contestants: fail() if contestants else None)
    second = build(GRAPH, options)
    assert (first.executable, bytes(first.weights), first.report) == (
        second.executable,
        bytes(second.weights),
        second.report,
    )


def test_level_zero_measures_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tuner.Tuner, "tune", None)
    plan = build(GRAPH, BuildConfig(level=0, threads=1, timing_cache=tmp_path / "timings.json"))
    assert not list(tmp_path.iterdir())
    assert "'milliseconds': None" in str(plan.report["steps"])


class Counting:
    """An allocator that knows what is not freed yet."""

    def __init__(self) -> None:
        self.inner, self.alive, self.total = PageAllocator(), set[int](), 0

    def allocate(self, size: int, alignment: int, flags: int) -> int:
        address = self.inner.allocate(size, alignment, flags)
        self.alive.add(address)
        self.total += 1
        return address

    def free(self, address: int) -> None:
        self.alive.remove(address)
        self.inner.free(address)


def test_timing_uses_and_returns_the_users_memory() -> None:
    allocator = Counting()
    build(GRAPH, BuildConfig(level=3, threads=1, timing_cache="", allocator=allocator))
    assert allocator.total > 0
    assert not allocator.alive


@pytest.mark.parametrize(("seconds", "timed"), [(1.4e-5, 5), (1.6e-5, 1)])
def test_what_is_far_behind_is_timed_once(
    seconds: float, timed: int, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    measured: list[tuple[str, object]] = []

    def pretend(self: tuner.Tuner, region: Region, candidates: Sequence[Candidate]) -> None:
        for candidate in candidates:
            measured.append((candidate.trial.tactic, candidate.layouts))
            known = seconds if candidate.trial.tactic == "winograd convolution" else 1e-5
            self.cache.put(self._key(region, candidate), known)

    monkeypatch.setattr(tuner.Tuner, "_measure", pretend)
    monkeypatch.setattr(tuner.Tuner, "_compile", lambda *arguments: None)
    op = Convolution((1, 1), (1, 1), (1, 1), (1, 1))
    graph = network(apply(op, given("x", 1, 32, 14, 14), drawn(rng, 32, 32, 3, 3)))
    build(graph, BuildConfig(level=3, threads=1, timing_cache=""))
    counts = Counter(measured)
    assert {count for (tactic, _), count in counts.items() if tactic == "winograd convolution"} == {timed}
    assert 5 in {count for (tactic, _), count in counts.items() if tactic == "direct convolution"}


def test_excluded_tactics_are_not_used() -> None:
    graph = network(apply(Softmax(1), given("x", 3, 50)))
    tactics = [_only_tactic(graph, frozenset(excluded)) for excluded in ((), ("rows",))]
    assert tactics == ["rows", "generic"]
    with pytest.raises(BuildError, match=r"exclude_tactics: expected names of .*winograd convolution.*; found row"):
        build(graph, BuildConfig(level=0, exclude_tactics=frozenset({"row"})))


def test_tactics_that_alone_compute_a_layer_are_named() -> None:
    largest = network(apply(TopKIndices(2, 1, True), given("x", 4, 9)))
    with pytest.raises(BuildError, match=r"(?s)no kernel computes .*TopKIndices.*; do not exclude selection$"):
        build(largest, BuildConfig(level=0, timing_cache="", exclude_tactics=frozenset({"selection"})))


def _only_tactic(graph: Graph, excluded: frozenset[str]) -> str:
    plan = build(graph, BuildConfig(level=0, threads=1, exclude_tactics=excluded))
    (step,) = plan.report["steps"]  # type: ignore[misc, union-attr]
    return str(step["tactic"])  # type: ignore[index, call-overload]
