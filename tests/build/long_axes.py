"""Builds a network given by its name with the memory that a limit leaves, and runs it: see test_long_axes."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from graphs import drawn, given, network
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Value, apply
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.pooling import Pool
from tensorwright.runtime.engine import Engine

LONG = 10**7
MEMORY = 3 << 30


def value(name: str, rng: np.random.Generator) -> Value:
    """A network whose axis, batch or window is long."""
    match name:
        case "convolution":
            return apply(Convolution((1,), (1,), (1,), (1,), 1), given("x", 1, 1, LONG), drawn(rng, 1, 1, 3))
        case "winograd":
            return apply(
                Convolution((1, 1), (1, 1), (1, 1), (1, 1), 1),
                given("x", 1, 16, 3, LONG // 100),
                drawn(rng, 16, 16, 3, 3),
            )
        case "pooling":
            return apply(Pool("max", (3,), (2,), (1,), (1,), (1,)), given("x", 1, 4, LONG // 8))
        case "product":
            return apply(MatMul(), given("a", LONG, 1, 2), given("b", LONG, 2, 1))
        case "rows":
            return apply(MatMul(), given("a", LONG, 1, 2), drawn(rng, 2, 3))
        case "window":
            side = (1280, 1280)
            return apply(Pool("average", side, side, (0, 0), (0, 0), (1, 1), True, True), given("x", 1, 1280, 7, 7))
    raise ValueError(name)


if __name__ == "__main__":
    os.environ.pop("TENSORWRIGHT_CHECK_PLAN", None)  # The checker runs kernels on masks of their memory.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    found = network(value(sys.argv[1], np.random.default_rng(0)))
    plan = build(found, BuildConfig(level=int(sys.argv[2]), threads=2, timing_cache=""))
    if sys.argv[1] == "window":
        x = np.random.default_rng(1).standard_normal((1, 1280, 7, 7), dtype=np.float32)
        np.testing.assert_allclose(Engine(plan)(x)["out0"], x.mean((2, 3), keepdims=True), atol=1e-6)
    sys.stdout.write("built\n")
