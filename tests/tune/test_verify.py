"""Kernels that nobody times are looked at too: wrong ones are dropped, the next one is taken, and somebody is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from graphs import binary, constant, drawn, given, network, unary
from tensorwright.backends.cpu import CpuBackend
from tensorwright.base.errors import BuildError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.codegen.target import Target
from tensorwright.graph.graph import Graph, apply
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.kernels.tactic import NO_OPTIONS, AnyTactic, Config, Kernel, Tactic, TacticOptions
from tensorwright.ops.activation import Clip, Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Cast
from tensorwright.ops.matmul import MatMul
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, INT8, UINT8, UINT32
from tensorwright.tune import verify

BATCH = symbol("batch", 1, 2, 8)


class Wrong(Tactic[Target, TacticOptions]):
    """A tactic that leaves out the last task, and looks good."""

    name = "wrong"
    general = NO_OPTIONS

    def configs(self, region: Region, target: Target) -> Sequence[Config]:
        return Generic().configs(region, target)

    def emit(self, region: Region, config: Config, target: Target) -> Kernel:
        kernel = Generic().emit(region, config, target)
        return replace(kernel, tasks=kernel.tasks - 1)

    def efficiency(self, region: Region, config: Config) -> float:
        return 1.0


def _graph(rng: np.random.Generator) -> Graph:
    x = given("x", BATCH, 20, 6, 1)
    y = apply(Convolution((1, 1), (0, 0), (0, 0), (1, 1), 2), x, drawn(rng, 6, 10, 1, 1))
    return network(unary("tanh", y), binary("add", x, 1.0))


def _built(graph: Graph, catalogue: tuple[AnyTactic[Target], ...]) -> tuple[Engine, list[str]]:
    heard: list[str] = []
    config = BuildConfig(level=0, threads=2, log=lambda severity, text: heard.append(f"{severity}: {text}"))
    plan = build(graph, config, CpuBackend(catalogue))
    assert all(step["tactic"] == "generic" for step in plan.report["steps"])  # type: ignore[index, union-attr, call-overload]
    return Engine(plan), heard


def test_the_next_kernel_is_taken(rng: np.random.Generator) -> None:
    graph = _graph(rng)
    engine, heard = _built(graph, (Wrong(), Generic()))
    assert any(text.startswith("warning: layer ") and "wrong plain·plain→plain gives" in text for text in heard)
    x = rng.standard_normal((3, 20, 6, 1), dtype=np.float32)
    np.testing.assert_allclose(engine(x)["out1"], x + 1, rtol=1e-6)


def test_right_kernels_are_not_mentioned(rng: np.random.Generator) -> None:
    assert _built(_graph(rng), (Generic(),))[1] == []


def test_of_slow_kernels_some_tasks_are_looked_at(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    monkeypatch.setattr(verify, "MOST_SECONDS", 1e-9)
    assert _built(_graph(rng), (Generic(),))[1] == []


@pytest.mark.parametrize("level", [0, 3])
def test_without_right_kernels_the_error_names_them_all(level: int) -> None:
    graph = network(binary("add", given("x", 4, 70), 1.0, name="sum"))
    with pytest.raises(BuildError, match=r"layer 'sum': every kernel for it was rejected \(wrong .*float32\[4×70\]"):
        build(graph, BuildConfig(level=level, threads=1, timing_cache=""), CpuBackend((Wrong(),)))


def test_every_type_of_number(rng: np.random.Generator) -> None:
    """Products and what quantises around them pass at all levels, with their own tolerance."""
    for dtype in (FLOAT16, BFLOAT16):
        weights = constant(rng.standard_normal((64, 48)), dtype)
        product = apply(Relu(), apply(MatMul(), given("x", 9, 64, dtype=dtype), weights))
        for level in (0, 3):
            build(network(product), BuildConfig(level=level, threads=1, timing_cache=""))
    steps = apply(Clip(-128.0, 127.0), unary("round", binary("div", given("x", 33, 64), 0.02)))
    exact = binary("mul", apply(Cast(FLOAT32), apply(Cast(INT8), steps)), 0.02)
    product = apply(MatMul(), exact, drawn(rng, 64, 48))
    again = apply(Cast(INT8), apply(Clip(-128.0, 127.0), unary("round", binary("div", product, 0.2))))
    for level in (0, 3):
        build(network(again), BuildConfig(level=level, threads=1, timing_cache=""))


@pytest.mark.parametrize("level", [0, 3])
def test_numbers_that_no_integer_holds_prove_nothing(level: int) -> None:
    """What a conversion makes of a negative number for an unsigned type, or of a large one, is not defined."""
    x, y = given("x", 4, 70), given("y", 4, 70)
    graph = network(apply(Cast(UINT8), x), apply(Cast(INT8), binary("mul", y, -1000.0)), apply(Cast(UINT32), y))
    dropped: list[str] = []
    build(graph, BuildConfig(level=level, threads=1, timing_cache="", log=lambda _, message: dropped.append(message)))
    assert dropped == []
