"""Rows of padding are zeros behind products, and stay so where they are divided by their lengths."""

from __future__ import annotations

import numpy as np
import pytest

import tensorwright as tw
from graphs import binary, constant, drawn, given, network
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.ops.activation import Relu
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import LpNormalization
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Pad, Reshape, Transpose
from tensorwright.passes.padding import normalises_padding
from tensorwright.runtime.engine import Engine

WEIGHTS = drawn(np.random.default_rng(3), 384, 1152)


def rows(padded: bool = True) -> Value:
    """Products of 64 rows of each image, of which the last 32 are padding."""
    x = given("x", tw.symbol("batch", 1, 2, 8), 32 if padded else 64, 384)
    apart = apply(Pad((0, 0, 0), (0, 32, 0)), x) if padded else x
    product = apply(MatMul(), apart, WEIGHTS)
    return apply(Reshape((x.type.shape[0], 64, 36, 32)), binary("add", product, constant(np.zeros(1152))))


def normalised(product: Value) -> Graph:
    length = binary("max", apply(Reduction("l2", (3,), keep_dims=True), product), 1e-12)
    return network(binary("div", product, length))


@pytest.mark.parametrize("level", [0, 3])
def test_zeros_stay_zeros(level: int, rng: np.random.Generator) -> None:
    engine = Engine(build(normalised(rows()), BuildConfig(level=level, threads=1, timing_cache="")))
    for batch in (1, 2, 3):
        found = engine(rng.standard_normal((batch, 32, 384)).astype(np.float32))["out0"]
        assert not found[:, 32:].any()
        np.testing.assert_allclose(np.linalg.norm(found[:, :32], axis=3), 1, rtol=1e-4)


def test_what_shows_rounding_of_zeros_is_found() -> None:
    moved = apply(Transpose((0, 2, 1, 3)), rows())
    assert normalises_padding(normalised(moved))
    assert normalises_padding(network(apply(LpNormalization(3, 2), rows())))


def test_others_may_be_computed_fast() -> None:
    assert not normalises_padding(normalised(rows(padded=False)))
    assert not normalises_padding(network(rows()))
    assert not normalises_padding(normalised(apply(Relu(), rows())))
