"""Layers that differ in the names of their symbols alone share a kernel."""

from __future__ import annotations

import numpy as np
import pytest

import tensorwright as tw
from graphs import binary, drawn, given, network
from tensorwright.backends.cpu import CpuBackend
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Value, apply
from tensorwright.graph.region import region_of
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Concatenation, Reshape
from tensorwright.runtime.engine import Engine
from tensorwright.tune.search import Limits, Search

NAMES = {"x": ("rows", "a"), "y": ("b", "columns"), "z": ("z", "c")}
"""The names of the axes of every input: in other orders by name than by place."""


def inputs() -> list[Value]:
    axes = {name: [tw.symbol(axis, 1, 3, 9) for axis in both] for name, both in NAMES.items()}
    return [given(name, *both, 8) for name, both in axes.items()]


@pytest.mark.parametrize(("device", "level"), [("cpu", 0), ("cpu", 3), ("null", 0)])
def test_a_network_is_right_at_all_extents(device: str, level: int, rng: np.random.Generator) -> None:
    weights = drawn(rng, 8, 6)
    rows = []
    for x in inputs():
        n, m, _ = x.type.shape
        rows.append(apply(Reshape((n * m, 6)), apply(Softmax(1), apply(MatMul(), binary("add", x, 1.0), weights))))
    config = BuildConfig(level=level, threads=2, timing_cache="", device=device, check_plan=device == "cpu")
    engine = Engine(build(network(apply(Concatenation(0), *rows)), config))
    arrays = {name: rng.standard_normal((3 + k, 5 - k, 8)).astype(np.float32) for k, name in enumerate(NAMES)}
    products = [np.exp((array.astype(np.float64) + 1) @ weights.op.weights.array) for array in arrays.values()]
    expected = np.concatenate([(p / p.sum(1, keepdims=True)).reshape(-1, 6) for p in products])
    np.testing.assert_allclose(engine(arrays)["out0"], expected, rtol=1e-4, atol=1e-5)


def test_a_kernel_is_written_once_and_called_with_the_symbols_of_each_layer() -> None:
    tools = CpuBackend().toolchain(None, 1, None)
    search = Search(tools.offers, tools.roofline, Limits(None, 1))
    regions = [region_of([binary("add", x, 1.0)]) for x in inputs()]
    found = [item.candidates[0].kernel() for item in search.all(regions)]
    assert all(kernel.text is found[0].text for kernel in found)
    for kernel, region in zip(found, regions, strict=True):
        assert [s.name for s in kernel.symbols] == [NAMES[region.inputs[0].name][place] for place in (1, 0)]
