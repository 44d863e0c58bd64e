"""Indices outside their axes are refused with node, index and range, on every way to call an engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tensorwright as tw
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.devices.cpu.device import CpuDevice
from tensorwright.graph.graph import Graph, apply, constant_value, input_value
from tensorwright.ops.activation import Relu
from tensorwright.ops.indexing import Gather, GatherElements, GatherNd, ScatterElements, ScatterNd
from tensorwright.ops.matmul import MatMul
from tensorwright.plan.file import parse_plan, serialize_plan
from tensorwright.plan.seal import sealed
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import FLOAT32, INT32, INT64, UINT8
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

N = symbol("N", 1, 3, 9)
LONG = symbol("long", 2, 20, 40)


def network(op, x, indices, *more, name="picked"):
    """The op on inputs x, indices and more, and something behind it."""
    types = {"x": x, "indices": indices} | {f"more{number}": type for number, type in enumerate(more)}
    inputs = tuple((key, input_value(key, type)) for key, type in types.items())
    picked = apply(op, *(value for _, value in inputs), name=name)
    return Graph(inputs, (("y", apply(Relu(), picked)),))


def engine_of(graph, threads=1, check="always", level=0, **options) -> tw.Engine:
    config = BuildConfig(threads=threads, level=level, timing_cache="", check_indices=check, **options)
    return Engine(build(graph, config))


def f32(*shape):
    return TensorType(FLOAT32, shape)


def i64(*shape):
    return TensorType(INT64, shape)


CASES = {
    "gather": (network(Gather(1), f32(4, 20, 3), i64(N)), 20, {"indices": (5,)}),
    "symbolic": (network(Gather(0), f32(LONG, 3), i64(2, N)), 33, {"x": (33, 3), "indices": (2, 4)}),
    "elements": (network(GatherElements(0), f32(6, 5), i64(3, 4)), 6, {}),
    "int32": (network(Gather(0), f32(7), TensorType(INT32, (2, 3))), 7, {}),
    "scatter": (network(ScatterElements(1), f32(2, 8), i64(2, 3), f32(2, 3)), 8, {}),
}


def drawn(rng, graph, shapes, extent):
    found = {}
    for name, value in graph.inputs:
        shape = shapes.get(name, value.type.shape)
        is_index = name == "indices"
        array = rng.integers(-extent, extent, shape) if is_index else rng.standard_normal(shape)
        found[name] = array.astype(value.type.dtype.numpy)
    return found


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_both_ends_of_the_range(rng, case, threads):
    graph, extent, shapes = CASES[case]
    engine, plain = engine_of(graph, threads), engine_of(graph, threads, check="never")
    inputs = drawn(rng, graph, shapes, extent)
    expected = plain(inputs)["y"]
    for index in (extent, -extent - 1, np.iinfo(inputs["indices"].dtype).min, np.iinfo(inputs["indices"].dtype).max):
        wrong = {**inputs, "indices": inputs["indices"].copy()}
        wrong["indices"].flat[-1] = index
        message = (
            f"node 'picked' was given the index {index}; expected {-extent} to {extent - 1} for an axis of {extent};"
        )
        with pytest.raises(tw.ExecutionError, match=message):
            engine(wrong)
        plain(wrong)
    for index in (extent - 1, -extent):
        inputs["indices"].flat[0] = index
        assert engine(inputs)["y"].shape == expected.shape
    np.testing.assert_array_equal(engine(inputs)["y"], plain(inputs)["y"])


def test_every_axis_has_its_own_range(rng):
    for op, *types in (
        (GatherNd(1), f32(2, 5, 7, 3), i64(2, 4, 2)),
        (ScatterNd(), f32(5, 7, 3), i64(4, 2), f32(4, 3)),
    ):
        engine = engine_of(network(op, *types))
        good = drawn(rng, network(op, *types), {}, 5)
        engine(good)
        for axis, extent in ((0, 5), (1, 7)):
            wrong = {**good, "indices": good["indices"].copy()}
            wrong["indices"][..., axis].flat[1] = extent
            with pytest.raises(tw.ExecutionError, match=f"index {extent}; expected -{extent} to {extent - 1} for"):
                engine(wrong)


def test_unsigned_indices_start_at_0(rng):
    engine = engine_of(network(Gather(0), f32(9), TensorType(UINT8, (4,))))
    x = rng.standard_normal(9).astype(np.float32)
    engine({"x": x, "indices": np.array([0, 8, 3, 3], np.uint8)})
    with pytest.raises(tw.ExecutionError, match="index 255; expected 0 to 8 for an axis of 9"):
        engine({"x": x, "indices": np.array([0, 255, 3, 3], np.uint8)})


def test_no_indices_are_none_out_of_range(rng):
    some = symbol("some", 0, 3, 9)
    engine = engine_of(network(Gather(0), f32(5, 2), i64(some)))
    x = rng.standard_normal((5, 2)).astype(np.float32)
    assert engine({"x": x, "indices": np.empty(0, np.int64)})["y"].shape == (0, 2)


@pytest.mark.parametrize("device", ["cpu", "null"])
def test_every_way_to_call(rng, device):
    graph, extent, shapes = CASES["gather"]
    plan = build(graph, BuildConfig(threads=1, level=0, timing_cache="", check_indices="always", device=device))
    engine = Engine(plan)
    good = drawn(rng, graph, shapes, extent)
    bad = {**good, "indices": np.full(5, 77)}
    for call in (engine, engine.run_buffers, engine.create_execution_context()):
        call(good)
        with pytest.raises(tw.ExecutionError, match="index 77"):
            call(bad)
        call(good)


def test_raw_addresses_and_streams(rng):
    graph = network(Gather(0), f32(6, 2), i64(3))
    engine = engine_of(graph, threads=2)
    context = engine.create_execution_context()
    x, indices, y = rng.standard_normal((6, 2)).astype(np.float32), np.array([0, 1, 6]), np.empty((3, 2), np.float32)
    addresses = [x.ctypes.data, indices.ctypes.data, y.ctypes.data]
    with pytest.raises(tw.ExecutionError, match="index 6"):
        context.execute(1, addresses)
    stream = CpuDevice().create_stream()
    context.enqueue(1, addresses, stream)
    with pytest.raises(tw.ExecutionError, match="index 6"):
        stream.synchronize()
    indices[2] = 5
    context.execute(1, addresses)
    np.testing.assert_array_equal(y, np.maximum(x[[0, 1, 5]], 0))


def embedding(rng, width, layers):
    """Rows of a table, and products behind them."""
    ids = input_value("ids", i64(128))
    table = constant_value(weights_of(rng.standard_normal((50, width)).astype(np.float32)))
    value = apply(Gather(0), table, ids, name="embedding")
    for _ in range(layers):
        weights = constant_value(weights_of(rng.standard_normal((width, width)).astype(np.float32) / width))
        value = apply(MatMul(), value, weights)
    return Graph((("ids", ids),), (("y", value),))


def test_checks_are_made_where_they_are_cheap(rng):
    assert not engine_of(embedding(rng, 8, 1), check="cheap")._plan.indices
    engine = engine_of(embedding(rng, 512, 4), check="cheap")
    assert [use.node for use in engine._plan.indices] == ["embedding"]
    with pytest.raises(tw.ExecutionError, match="node 'embedding' was given the index -51; expected -50 to 49"):
        engine({"ids": np.full(128, -51)})


def test_one_range_serves_all_uses_of_the_same_indices(rng):
    indices = input_value("indices", i64(4))
    tables = [constant_value(weights_of(rng.standard_normal((n, 3)).astype(np.float32))) for n in (10, 7)]
    picked = [apply(Gather(0), table, indices, name=f"of {table.type.shape[0]}") for table in tables]
    graph = Graph((("indices", indices),), tuple((f"y{n}", apply(Relu(), p)) for n, p in enumerate(picked)))
    engine = engine_of(graph)
    assert len({use.place for use in engine._plan.indices}) == 1
    with pytest.raises(tw.ExecutionError, match="node 'of 7' was given the index 8"):
        engine({"indices": np.array([0, 1, 8, 2])})


def test_ranges_are_part_of_the_plan(rng):
    plan = build(CASES["symbolic"][0], BuildConfig(threads=1, level=0, timing_cache="", check_indices="always"))
    assert parse_plan(serialize_plan(plan)) == plan
    (use,) = plan.indices
    for place in (plan.arena_bytes - 8, use.place + 4, 1 << 40):
        with pytest.raises(tw.PlanError, match=r"indices\[0\]: expected a part of"):
            parse_plan(serialize_plan(sealed(replace(plan, indices=(use._replace(place=place),)))))
    with pytest.raises(tw.PlanError, match="made for each other"):
        parse_plan(serialize_plan(replace(plan, indices=())))


def test_the_option_is_one_of_three():
    with pytest.raises(tw.BuildError, match="check_indices is 'sometimes'; expected one of cheap, always, never"):
        BuildConfig(check_indices="sometimes")


@pytest.mark.parametrize("op", [Gather(0), GatherElements(0), GatherNd()])
@pytest.mark.parametrize("far", [1 << 40, 39, -(1 << 40)])
def test_no_index_leaves_an_open_axis(rng, op, far):
    """Unchecked, such a one gives some element of the axis as it is now, not of its largest extent."""
    x = rng.uniform(1, 2, (5, 2)).astype(np.float32)
    indices = np.full((3, 2) if op.name == "GatherElements" else (3, 1), far)
    with engine_of(network(op, f32(LONG, 2), i64(*indices.shape)), check="never") as engine:
        assert np.isin(engine({"x": x, "indices": indices})["y"], x).all()
