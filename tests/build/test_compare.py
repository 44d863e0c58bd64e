"""Networks in narrower types beside float32: errors by layer, and the layers to keep for a bound."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from onnx import helper, numpy_helper

import tensorwright as tw
from tensorwright.build.compare import Distance
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph
from tensorwright.importers.formats import read_model
from tensorwright.importers.options import ReadOptions
from tensorwright.passes.quantise import quantised
from tensorwright.passes.switches import switched_to_integers, switched_to_type
from tensorwright.tensor.dtype import BFLOAT16
from tensorwright.tensor.range import Range

QUICK = {"level": 0, "threads": 1, "timing_cache": ""}
DEPTH = 16


def perceptron(rng, large=1.0):
    """Three products; of the second one's left factor one column in sixteen is large."""
    constants = {name: rng.standard_normal((DEPTH, DEPTH)).astype(np.float32) / 4 for name in ("a", "b", "c")}
    constants["a"][:, 3] *= large
    constants["b"][3] = 0
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["first"], "first"),
        helper.make_node("Relu", ["first"], ["h"], "relu"),
        helper.make_node("MatMul", ["h", "b"], ["second"], "second"),
        helper.make_node("Add", ["second", "x"], ["s"], "sum"),
        helper.make_node("MatMul", ["s", "c"], ["y"], "third[0]"),
    ]
    values = [helper.make_tensor_value_info(name, 1, ["n", DEPTH]) for name in "xy"]
    given = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "m", values[:1], values[1:], given)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def relative(found, exact):
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


def test_distances_are_those_of_their_definition(rng):
    exact, found = rng.standard_normal((2, 3, 50)).astype(np.float32)
    distance = Distance()
    for one, other in zip(exact, found, strict=True):
        distance.add(one, other)
    noise = np.sum((found - exact).astype(np.float64) ** 2)
    signal = np.sum(exact.astype(np.float64) ** 2)
    assert distance.relative == pytest.approx(np.sqrt(noise / signal), rel=1e-6)
    decibels, largest, overflows, nans = distance.figures
    assert decibels == pytest.approx(10 * np.log10(signal / noise), rel=1e-6)
    assert (largest, overflows, nans) == (pytest.approx(np.abs(found - exact).max()), 0, 0)
    distance.add(np.float32([1, np.inf, 3, np.nan]), np.float32([np.inf, 1, np.nan, 2]))
    assert distance.figures[2:] == (1, 1)
    assert distance.relative == inf
    whole = Distance()
    whole.add(np.int64([1, 2, 3, 4]), np.int64([1, 2, 3, 5]))
    assert whole.relative == 0.5
    assert Distance().figures[0] == inf


def test_networks_with_switches_are_the_quantised_one_and_the_exact_one(rng):
    graph = read_model(perceptron(rng), ReadOptions()).graph
    ranges = {value: Range.within(2.0) for value in graph.order() if value.name in ("x", "relu", "sum")}
    switched = switched_to_integers(graph, ranges)
    assert [layer.name for layer in switched.layers] == ["first", "second", "third[0]"]
    x = rng.standard_normal((5, DEPTH)).astype(np.float32)

    def computed(graph: Graph, **more: object) -> np.ndarray:
        return evaluate_graph(graph, {"x": x, **more})["y"]

    for states in ((0, 0, 0), (1, 1, 1), (0, 1, 0), (1, 0, 1)):
        kept = {layer.name for layer, on in zip(switched.layers, states, strict=True) if not on}
        expected = quantised(graph, ranges, lambda product, kept=kept: product.name in kept).graph
        found = computed(switched.graph, **{switched.switches: np.array(states, np.bool_)})
        np.testing.assert_array_equal(found, computed(expected))


def test_regions_in_a_type_round_where_kernels_store(rng):
    graph = read_model(perceptron(rng), ReadOptions()).graph
    switched = switched_to_type(graph, BFLOAT16)
    assert switched.names == (("first", "relu"), ("second", "sum"), ("third[0]",))
    x = rng.standard_normal((5, DEPTH)).astype(np.float32)
    graph = Graph(switched.graph.inputs, tuple(zip("abc", switched.results, strict=True)))
    found = evaluate_graph(graph, {"x": x, switched.switches: np.array([True, False, True])})
    rounded = found["a"].astype(BFLOAT16.numpy).astype(np.float32)
    np.testing.assert_array_equal(found["a"], rounded)
    assert not np.array_equal(found["b"], found["b"].astype(BFLOAT16.numpy).astype(np.float32))


def test_the_worst_layer_is_found_and_kept(rng):
    model = perceptron(rng, large=60.0)
    batches = [rng.standard_normal((9, DEPTH)).astype(np.float32) for _ in range(3)]
    options = {"algorithm": "MinMaxCalibration", "threads": 1}
    made = tw.compare(model, batches, precision="int8", **options)
    assert made.ranked[0].name == "second"
    assert made.layers[0].name == "first"
    assert (made.kept, made.kept_error) == ((), None)
    bound = made.error * 0.7
    bounded = tw.compare(model, batches, precision="int8", max_error=bound, **options)
    assert 0 < bounded.kept_error <= bound < bounded.error == made.error
    exact = tw.build(model, **QUICK)
    held = tw.build(
        model, precision="int8", calibrator=tw.Calibrator(batches, "MinMaxCalibration"),
        layer_precision=bounded.layer_precision, **QUICK,
    )  # fmt: skip
    x = np.concatenate(batches)
    assert relative(held(x[:9])["y"], exact(x[:9])["y"]) < 2 * bound
    alone = tw.compare(model, batches, precision="int8", max_error=0, **options)
    assert len(alone.kept) == 3
    assert alone.kept_error == 0
    assert alone.layer_precision["third[[]0]"] == "fp32"


def test_overflows_in_float16_are_counted(rng):
    model = perceptron(rng)
    batches = [rng.standard_normal((2, DEPTH)).astype(np.float32) * 50_000]
    made = tw.compare(model, batches, precision="fp16", max_error=0.5, threads=1)
    assert made.error == inf
    assert sum(layer.overflows for layer in made.layers) > 0
    assert made.kept_error <= 0.5
    assert 0 < tw.compare(model, batches, precision="bf16", threads=1).error < 0.02


@pytest.mark.parametrize(
    ("batches", "options", "message"),
    [
        ([], {"precision": "bf16"}, "there are no samples"),
        ([np.zeros((2, DEPTH), np.float32)], {"precision": "fp8"}, "expected bf16, fp16 or int8"),
        ([np.zeros((2, DEPTH), np.float32)], {"precision": "bf16", "max_error": -1}, "at least 0"),
        ([np.zeros((2, 3), np.float32)], {"precision": "bf16"}, "expected an array of shape"),
    ],
)
def test_what_cannot_be_compared(batches, options, message, rng):
    with pytest.raises(tw.BuildError, match=message):
        tw.compare(perceptron(rng), batches, **options)


def test_networks_without_anything_narrow():
    value = helper.make_tensor_value_info("x", 7, [3])
    result = helper.make_tensor_value_info("y", 7, [3])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "m", [value], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(tw.BuildError, match="nothing in the network can be computed in bf16"):
        tw.compare(model, [np.zeros(3, np.int64)], precision="bf16")
