"""What a call may cost where the course of a network follows from data."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

import tensorwright as tw
from importers.onnx.models import model_of, node
from tensorwright.base.errors import ExecutionError

FOREVER = np.asarray(2**63 - 1)
YES, ONE = np.array(True), np.float32(1)


def body(nodes: list[object], inputs: str, outputs: str) -> object:
    infos = [[ValueInfoProto(name=name) for name in text.split()] for text in (inputs, outputs)]
    return helper.make_graph(nodes, "body", *infos)


def looping(*nodes: object, scanned: str = "next") -> ModelProto:
    """``y = x + trips``, where some nodes make `on`, which says whether the loop goes on, of `c` and `next`."""
    given = body([node("Add", "v one", "next"), *nodes], "i c v", f"on next {scanned}")
    loop = node("Loop", "trips yes x", "y all", name="counting", body=given)
    types = {"x": (TensorProto.FLOAT, [2]), "trips": (TensorProto.INT64, [])}
    return model_of([loop], types, ["y", "all"], constants={"yes": YES, "one": ONE})


BY_COUNT = node("Identity", "c", "on")
BY_DATA = (node("ReduceMax", "next", "m", keepdims=0), node("Less", "m most", "on"))


def by_data() -> ModelProto:
    """The loop ends where the sum is infinite: never."""
    model = looping(*BY_DATA)
    model.graph.initializer.append(helper.make_tensor("most", TensorProto.FLOAT, [], [np.inf]))
    return model


def staged(model: ModelProto, **options: int) -> tw.StagedEngine:
    quiet = tw.Logger(tw.Severity.INTERNAL_ERROR)
    engine = tw.build(model, level=0, threads=1, timing_cache="", logger=quiet, **options)
    assert isinstance(engine, tw.StagedEngine)
    return engine


def given(trips: object = FOREVER) -> dict[str, np.ndarray]:
    return {"x": np.zeros(2, np.float32), "trips": np.asarray(trips)}


@pytest.mark.parametrize("trips", [2**63 - 1, 10**12])
def test_loops_that_only_their_number_ends_are_refused_before_the_first_trip(trips: int) -> None:
    with staged(looping(BY_COUNT)) as engine:
        np.testing.assert_array_equal(engine(given(3))["y"], [3, 3])
        with pytest.raises(ExecutionError, match=rf"'counting'.* trips as {trips}; all loops .*10000000.* max_trips"):
            engine(given(trips))
        with pytest.raises(ExecutionError, match="a loop of no rounds"):
            engine(given(-(2**63)))


def test_loops_that_a_condition_might_end_take_as_many_trips_as_they_may() -> None:
    with staged(by_data(), max_trips=40) as engine:
        np.testing.assert_array_equal(engine(given(40))["y"], [40, 40])
        with pytest.raises(ExecutionError, match=r"'counting'.* may take 40 together, of which 40 are spent"):
            engine(given())
        np.testing.assert_array_equal(engine(given(2))["y"], [2, 2])


def test_trips_of_inner_loops_are_counted_together() -> None:
    inner = node("Loop", "five yes next", "sum", name="inner", body=body(
        [node("Add", "w one", "grown"), node("Identity", "d", "still")], "j d w", "still grown"))  # fmt: skip
    model = looping(inner, BY_COUNT, scanned="sum")
    model.graph.initializer.append(helper.make_tensor("five", TensorProto.INT64, [], [300]))
    with staged(model, max_trips=1000) as engine:
        engine(given(3))
        with pytest.raises(ExecutionError, match=r"'inner'.* trips as 300; .* 1000 together, of which 904 are spent"):
            engine(given(4))


def test_calls_end_after_their_seconds() -> None:
    with staged(by_data(), max_call_seconds=1) as engine, pytest.raises(ExecutionError, match="max_call_seconds is 1"):
        engine(given())


def test_what_loops_collect_is_limited() -> None:
    with staged(by_data(), max_memory=1 << 20) as engine:
        assert engine(given(10))["all"].shape == (10, 2)
        with pytest.raises(ExecutionError, match=r"'counting'.*: tensors take 1048584 bytes; max_memory is 1048576"):
            engine(given(1 << 20))


def test_a_call_is_cancelled_from_another_thread() -> None:
    with staged(by_data(), max_trips=1 << 62) as engine:
        engine.cancel()  # Nothing runs.
        timer = threading.Timer(0.3, engine.cancel)
        timer.start()
        with pytest.raises(ExecutionError, match="the call was cancelled"):
            engine(given())
        timer.join()
        np.testing.assert_array_equal(engine(given(1))["y"], [1, 1])


def test_sequences_are_mapped_item_by_item_within_the_limits() -> None:
    loop = node("Loop", "trips yes item", "grown", name="inner", body=body(
        [node("Add", "w other", "next"), node("Identity", "d", "still")], "j d w", "still next"))  # fmt: skip
    mapped = node("SequenceMap", "items others", "results", body=body([loop], "item other", "grown"))
    model = model_of([mapped], {"trips": (TensorProto.INT64, [])}, ["results"], constants={"yes": YES})
    floats = [helper.make_tensor_sequence_value_info(name, TensorProto.FLOAT, None) for name in ("items", "others")]
    model.graph.input.extend(floats)
    items, others = [np.float32([1, 2]), np.float32([3])], [np.float32([10, 20]), np.float32([30])]
    with staged(model, max_trips=1000) as engine:
        found = engine({"items": items, "others": others, "trips": np.asarray(300)})["results"]
        for item, other, result in zip(items, others, found, strict=True):
            np.testing.assert_array_equal(result, item + 300 * other)
        with pytest.raises(ExecutionError, match=r"'inner'.* trips as 9223372036854775807"):
            engine({"items": items, "others": others, "trips": FOREVER})


def test_scans_without_a_state_are_refused() -> None:
    inner = body([node("Add", "state part", "next"), node("Identity", "next", "seen")], "state part", "next seen")
    scan = node("Scan", "_ x", "last each", name="sum", body=inner, num_scan_inputs=1)
    model = model_of([scan], {"x": (TensorProto.FLOAT, [300])}, ["last"])
    with staged(model) as engine, pytest.raises(ExecutionError, match=r"'next'.* input 0 is required"):
        engine({"x": np.ones(300, np.float32)})


def test_batches_are_scanned_one_by_one_where_no_single_plan_can(rng: np.random.Generator) -> None:
    inner = body([node("Add", "state part", "next"), node("Neg", "next", "seen")], "state part", "next seen")
    scan = node("Scan", "_ start x", "last each", body=inner, num_scan_inputs=1, directions=[1])
    types = {"start": (TensorProto.FLOAT, [2, 3]), "x": (TensorProto.FLOAT, [2, 300, 3])}
    model = model_of([scan], types, ["last", "each"], opset=8)
    start, x = (rng.standard_normal(shape).astype(np.float32) for _, shape in types.values())
    with staged(model) as engine:
        found = engine({"start": start, "x": x})
    sums = start[:, None] + np.cumsum(x[:, ::-1], 1)
    np.testing.assert_allclose(found["last"], sums[:, -1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["each"], -sums, rtol=1e-4, atol=1e-4)
