"""Decoders whose caches have room for all rows: only new rows are written, and old ones are read where they are."""

from __future__ import annotations

import numpy as np
import pytest

import tensorwright as tw
from graphs import binary, given, network, unary
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, apply
from tensorwright.ops.cache import CacheUpdate
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Concatenation, Expand, Reshape, Transpose
from tensorwright.passes.fuse import partition
from tensorwright.passes.pipeline import optimise
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import INT64

BATCH, PAST, LENGTH = symbol("batch", 1, 1, 2), symbol("past", 0, 9, 20), symbol("length", 1, 1, 4)
TOTAL, ROOM = PAST + LENGTH, 24
GROUPS, REPEATS, DEPTH = 2, 2, 16


def decoder(*, mask: bool = True) -> Graph:
    """Attention of grouped queries over keys and values that are outputs, too."""

    def repeated(x):
        narrow = apply(Reshape((BATCH, GROUPS, 1, TOTAL, DEPTH)), x)
        wide = apply(Expand((BATCH, GROUPS, REPEATS, TOTAL, DEPTH)), narrow)
        return apply(Reshape((BATCH, GROUPS * REPEATS, TOTAL, DEPTH)), wide)

    q = given("q", BATCH, GROUPS * REPEATS, LENGTH, DEPTH)
    k, v = (
        apply(Concatenation(2), given(f"past_{n}", BATCH, GROUPS, PAST, DEPTH), given(n, BATCH, GROUPS, LENGTH, DEPTH))
        for n in ("k", "v")
    )
    scores = apply(MatMul(), q, apply(Transpose((0, 1, 3, 2)), repeated(k)))
    if mask:
        scores = binary("add", scores, given("mask", BATCH, 1, LENGTH, TOTAL))
    y = apply(MatMul(), apply(Softmax(3), scores), repeated(v))
    found = network(unary("exp", y), k, v)
    order = ("q", "k", "v", "mask", "past_k", "past_v")
    inputs = tuple(sorted(found.inputs, key=lambda one: order.index(one[0])))
    return Graph(inputs, tuple(zip(("y", "next_k", "next_v"), (v for _, v in found.outputs), strict=True)))


def engine_for(level: int, **options: object) -> Engine:
    config = BuildConfig(level=level, threads=2, timing_cache="", caches_in_place=True, check_plan=True, **options)
    return Engine(build(decoder(), config))


@pytest.fixture(scope="module")
def engine():
    with engine_for(0) as found:
        yield found


def drawn(rng, batch, past, length):
    shapes = {"q": (GROUPS * REPEATS, length, DEPTH), "k": (GROUPS, length, DEPTH), "v": (GROUPS, length, DEPTH)}
    shapes |= {"mask": (1, length, past + length), "past_k": (GROUPS, past, DEPTH), "past_v": (GROUPS, past, DEPTH)}
    return {name: rng.standard_normal((batch, *shape), np.float32) for name, shape in shapes.items()}


def run(context, arrays, caches, results):
    """One inference on addresses; caches by the name of their input, results by name."""
    given = {**arrays, **caches}
    for name, array in given.items():
        context.set_input_shape(name, array.shape)
    context.execute(None, [array.ctypes.data for array in (*given.values(), *results)])


@pytest.mark.parametrize(("level", "batch"), [(0, 2), (1, 1)])
def test_steps_write_new_rows_into_the_cache(level, batch, engine, rng):
    caches = {name: np.full((batch, GROUPS, ROOM, DEPTH), np.nan, np.float32) for name in ("past_k", "past_v")}
    past = 0
    used = engine if level == 0 else engine_for(level)
    with used.create_execution_context() as context:
        assert used.get_binding_shape("past_k") == used.get_binding_shape("next_v") == (-1, GROUPS, ROOM, DEPTH)
        for length in (4, 1, 1, 3, 1):
            arrays = drawn(rng, batch, past, length)
            arrays |= {name: caches[name][:, :, :past].copy() for name in caches}
            symbols = {"batch": batch, "past": past, "length": length}
            expected = evaluate_graph(decoder(), arrays, symbols)
            y = np.full((batch, GROUPS * REPEATS, length, DEPTH), np.nan, np.float32)
            others = {name: array for name, array in arrays.items() if name not in caches}
            run(context, others, caches, [y, *caches.values()])
            past += length
            np.testing.assert_allclose(y, expected["y"], rtol=1e-4, atol=1e-5)
            for name, cache in caches.items():
                np.testing.assert_array_equal(cache[:, :, :past], expected[name.replace("past", "next")])
                assert np.isnan(cache[:, :, past:]).all()


def test_calls_on_arrays_write_into_the_cache_that_is_given_for_both(engine, rng):
    arrays = drawn(rng, 1, 9, 1)
    expected = evaluate_graph(decoder(), arrays, {"batch": 1, "past": 9, "length": 1})
    caches = {name: np.full((1, GROUPS, ROOM, DEPTH), np.nan, np.float32) for name in ("past_k", "past_v")}
    for name, cache in caches.items():
        cache[:, :, :9] = arrays[name]
    given = {name.replace("past", "next"): cache for name, cache in caches.items()}
    for _ in range(2):
        found = engine({**arrays, **caches}, outputs=given)
        assert all(found[name] is cache for name, cache in given.items())
        np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(caches["past_k"][:, :, :10], expected["next_k"])
    read_only = caches["past_k"].copy()
    read_only.flags.writeable = False
    for wrong, message in (
        ({"z": caches["past_k"]}, "has no output 'z'; expected some of 'y', 'next_k', 'next_v'"),
        ({"y": caches["past_k"]}, r"output 'y' .*expected an array of shape .* that may be written, found shape"),
        ({"next_k": caches["past_k"].astype(np.float64)}, "output 'next_k' .*expected dtype float32"),
        ({"next_k": read_only}, "that may be written, .*, read-only"),
    ):
        with pytest.raises(tw.ExecutionError, match=message):
            engine({**arrays, **caches}, outputs=wrong)


def test_caches_in_other_memory_are_copied(engine, rng):
    with engine.create_execution_context() as context:
        arrays = drawn(rng, 1, 9, 1)
        expected = evaluate_graph(decoder(), arrays, {"batch": 1, "past": 9, "length": 1})
        caches = {name: np.zeros((1, GROUPS, ROOM, DEPTH), np.float32) for name in ("past_k", "past_v")}
        for name, cache in caches.items():
            cache[:, :, :9] = arrays.pop(name)
        before = {name: cache.copy() for name, cache in caches.items()}
        found = context({**arrays, **caches})
        np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found["next_k"][:, :, :10], expected["next_k"])
        for name, cache in caches.items():
            np.testing.assert_array_equal(cache, before[name])


def test_other_sizes_are_refused(engine, rng):
    with engine.create_execution_context() as context:
        arrays = drawn(rng, 1, 9, 1)
        caches = {name: np.zeros((1, GROUPS, ROOM, DEPTH), np.float32) for name in ("past_k", "past_v")}
        arrays |= caches
        arrays["mask"] = np.zeros((1, 1, 1, 22), np.float32)
        with pytest.raises(tw.ExecutionError, match=r"'past' is 21, because axis 3 of input 'mask' .* has 22"):
            context(arrays)
        arrays["past_k"] = arrays["past_k"][:, :, :9]
        with pytest.raises(tw.ExecutionError, match="past_k"):
            context(arrays)


def test_networks_without_caches_are_refused():
    with pytest.raises(tw.BuildError, match="no input is continued by an output"):
        build(network(unary("exp", given("x", 3))), BuildConfig(level=0, timing_cache="", caches_in_place=True))
    with pytest.raises(tw.BuildError, match="no other input says the size of 'past'"):
        build(decoder(mask=False), BuildConfig(level=0, timing_cache="", caches_in_place=True))


def test_profiles_share_the_room_of_the_caches(rng):
    profiles = [{"length": 1, "batch": 1}, {"past": 0, "batch": 1}]
    with engine_for(0, profiles=profiles) as engine:
        for number in range(2):
            assert engine.get_profile_shape(number, "past_k")[2] == (1, GROUPS, ROOM, DEPTH)
        for past, length in ((9, 1), (0, 4)):
            arrays = drawn(rng, 1, past, length)
            expected = evaluate_graph(decoder(), arrays, {"batch": 1, "past": past, "length": length})
            for name in ("past_k", "past_v"):
                cache = np.zeros((1, GROUPS, ROOM, DEPTH), np.float32)
                cache[:, :, :past] = arrays[name]
                arrays[name] = cache
            np.testing.assert_allclose(engine(arrays)["y"], expected["y"], rtol=1e-4, atol=1e-5)


def scattered(*, read_twice: bool = False) -> Graph:
    """A buffer of which two rows of each sequence are replaced, and its sums along them."""
    cache, rows, first = (
        given("cache", BATCH, 2, 9, DEPTH),
        given("rows", BATCH, 2, 2, DEPTH),
        given("first", BATCH, dtype=INT64),
    )
    found = apply(CacheUpdate(2, 0), cache, rows, first)
    sums = apply(Reduction("add", (2,), False), found)
    more = [unary("exp", cache)] if read_twice else []
    made = network(sums, found, *more)
    return Graph(made.inputs, tuple(zip(("sums", "next", "more"), (v for _, v in made.outputs), strict=False)))


@pytest.mark.parametrize("in_place", [False, True])
def test_rows_of_a_buffer_are_replaced_where_it_lies(in_place, rng):
    config = BuildConfig(level=0, threads=2, timing_cache="", caches_in_place=in_place, check_plan=True)
    cache, rows = (rng.standard_normal((2, 2, n, DEPTH), np.float32) for n in (9, 2))
    first, expected = np.array([3, 7]), cache.copy()
    for one in range(2):
        expected[one, :, first[one] : first[one] + 2] = rows[one]
    with Engine(build(scattered(), config)) as engine:
        before = cache.copy()
        found = engine({"cache": cache, "rows": rows, "first": first})
        np.testing.assert_array_equal(found["next"], expected)
        np.testing.assert_array_equal(cache, before)
        found = engine({"cache": cache, "rows": rows, "first": first}, outputs={"next": cache})
        np.testing.assert_array_equal(cache, expected)
        np.testing.assert_allclose(found["sums"], expected.sum(2), rtol=1e-4, atol=1e-5)


def test_buffers_that_are_read_twice_are_refused():
    with pytest.raises(tw.BuildError, match="output 'next' is input 'cache' with other rows, which something else"):
        build(scattered(read_twice=True), BuildConfig(level=0, timing_cache="", caches_in_place=True))


def test_rewriting_leaves_no_slice_of_a_cache():
    from tensorwright.build.caches import with_caches
    from tensorwright.passes.caches import read_caches

    graph = optimise(with_caches(decoder()), further=(read_caches,))
    assert not any(value.op.name == "Slice" for region in partition(graph) for value in region.values)
