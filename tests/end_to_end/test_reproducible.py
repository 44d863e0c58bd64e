"""Builds with the same timings give the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphs import drawn, given, network
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.codegen.cpu import pool
from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.ops.activation import Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Reshape
from tensorwright.plan.file import serialize_plan
from tensorwright.tune.cache import TimingCache, serialize


def convolution(x: Value, outputs: int, kernel: int, rng: np.random.Generator) -> Value:
    weights = drawn(rng, outputs, int(x.type.shape[1]), kernel, kernel, low=-0.1, high=0.1)
    pads = (kernel // 2, kernel // 2)
    return apply(Relu(), apply(Convolution((1, 1), pads, pads, (1, 1)), x, weights, drawn(rng, outputs)))


def medium() -> Graph:
    """Convolutions that Winograd's algorithm suits, a product that Strassen's suits, one of batches, a reduction."""
    rng = np.random.default_rng(7)
    image = convolution(convolution(given("image", 1, 16, 16, 16), 32, 3, rng), 64, 3, rng)
    tokens = apply(MatMul(), apply(Reshape((256, 64)), image), drawn(rng, 64, 768, low=-0.1, high=0.1))
    wide = apply(MatMul(), tokens, drawn(rng, 768, 768, low=-0.1, high=0.1))
    heads = apply(Reshape((12, 256, 64)), wide)
    scores = apply(Softmax(2), apply(MatMul(transpose_b=True), heads, heads))
    return network(apply(Reduction("mean", (1,), False), apply(MatMul(), scores, heads)))


@pytest.fixture(autouse=True)
def _compiled_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As no other test has it compiled."""
    monkeypatch.setattr(pool, "compile_object", compile_object)


def built(cache: Path, level: int = 1) -> bytes:
    return serialize_plan(build(medium(), BuildConfig(threads=2, level=level, timing_cache=cache)))


def test_builds_with_the_same_timings_give_the_same_bytes(tmp_path):
    cache = tmp_path / "timings.json"
    cold = built(cache)
    timings = cache.read_bytes()
    assert built(cache) == cold
    assert cache.read_bytes() == timings
    assert built(tmp_path / "none.json", level=0) == built(tmp_path / "none.json", level=0)


def test_other_timings_give_other_bytes(tmp_path):
    cache = tmp_path / "timings.json"
    plan = built(cache)
    entries = TimingCache(cache, print).entries
    cache.write_text(serialize({key: 2 * value if value > 0 else value for key, value in entries.items()}))
    assert built(cache) != plan
