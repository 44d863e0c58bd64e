"""Random inputs make sense to the operators that read them, and so do tuned builds of what exporters write."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphs import binary, constant, drawn, given, network
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Value, apply
from tensorwright.graph.region import region_of
from tensorwright.ops.elementwise import Cast
from tensorwright.ops.indexing import Gather, GatherElements, GatherNd, ScatterElements, ScatterNd
from tensorwright.ops.quantization import Dequantize
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BOOL, FLOAT32, INT8, INT32, INT64, UINT8
from tensorwright.tune.inputs import has_computed_indices, random_inputs, valid_ranges

BATCH = symbol("batch", 1, 1, 4)
ONE = {"batch": 1}


def _words(rng: np.random.Generator) -> Value:
    """Embeddings of words, whose positions are looked up along an axis that is 1 where it is tuned."""
    tokens = given("tokens", BATCH, 7, dtype=INT64)
    rows = apply(Gather(0), drawn(rng, 30, 8), tokens)
    types = apply(Gather(1), apply(Gather(0), given("table", BATCH, 1, 8), given("row", BATCH, dtype=INT64)),
                  given("type", 7, dtype=INT32))  # fmt: skip
    return binary("add", rows, types)


def _boxes(rng: np.random.Generator) -> Value:
    """Regions of images, each in the image with a number."""
    return apply(Gather(0), given("images", BATCH, 3, 5), given("numbers", 6, dtype=INT64))


def _cache(rng: np.random.Generator) -> Value:
    """A key-value cache into which new entries are written at a position that is computed."""
    cache, entries = given("cache", BATCH, 1, 9, 4), given("entries", BATCH, 1, 1, 4)
    places = binary("add", given("start", BATCH, 1, 1, 4, dtype=INT64), constant(np.zeros((1, 1, 1, 4)), INT64))
    return apply(ScatterElements(2), cache, places, entries)


def _points(rng: np.random.Generator) -> Value:
    return apply(GatherNd(0), given("x", BATCH, 5, 3), given("at", 4, 2, dtype=INT64))


def _along(rng: np.random.Generator) -> Value:
    return apply(GatherElements(0), given("x", BATCH, 5), given("at", 4, 5, dtype=INT64))


def _written(rng: np.random.Generator) -> Value:
    return apply(ScatterNd(), given("x", BATCH, 5), given("at", 2, 2, dtype=INT64), given("new", 2))


@pytest.mark.parametrize("make", [_words, _boxes, _cache, _points, _along, _written])
def test_tuned_where_an_axis_is_one(make: Callable[[np.random.Generator], Value], rng: np.random.Generator) -> None:
    for level in (0, 3):
        build(network(make(rng)), BuildConfig(level=level, threads=1, timing_cache=""))


def test_indices_lie_inside_their_axis(rng: np.random.Generator) -> None:
    region = region_of([apply(Gather(1), given("x", 3, BATCH), given("at", 500, dtype=INT64))])
    for opt, expected in ((1, {-1, 0}), (3, {-3, -2, -1, 0, 1, 2})):
        _, at = random_inputs(region, {"batch": opt}, rng)
        assert set(at.tolist()) == expected
    narrow = region_of([apply(Gather(0), given("x", 1000), given("at", 500, dtype=UINT8))])
    assert random_inputs(narrow, {}, rng)[1].max() > 200


def test_ranges_pass_through_casts(rng: np.random.Generator) -> None:
    raw = given("raw", 6, dtype=INT32)
    wide = apply(Cast(INT64), raw)
    picked = apply(Gather(0), given("x", 4), wide)
    region = region_of([wide, picked])
    assert valid_ranges(region, {})[raw] == (-4, 4)
    assert not has_computed_indices(region, {})
    moved = binary("add", wide, 1)
    assert has_computed_indices(region_of([wide, moved, apply(Gather(0), given("x", 4), moved)]), {})


def test_divisors_and_quantised_data(rng: np.random.Generator) -> None:
    a, b = given("a", 900, dtype=INT32), given("b", 900, dtype=INT32)
    dividend, divisor = random_inputs(region_of([binary("div", a, b)]), {}, rng)
    assert divisor.min() == 1
    assert dividend.min() == 0
    quantised = given("q", 900, dtype=INT8)
    for number in (apply(Cast(FLOAT32), quantised), apply(Dequantize(), quantised, constant(np.float32(0.5)))):
        data = random_inputs(region_of([number]), {}, rng)[0]
        assert data.min() < -100 < 100 < data.max()
    (mask,) = random_inputs(region_of([apply(Cast(FLOAT32), given("mask", 90, dtype=BOOL))]), {}, rng)
    assert mask.dtype == np.bool_
    assert len(set(mask.tolist())) == 2
