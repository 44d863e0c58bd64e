"""Quantised models that are written: the ONNX checker, ONNX Runtime and the importer accept them, and they are near."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import tensorwright as tw
from exact_products import exact_options
from tensorwright.importers.onnx.quantise import (
    Product,
    load_whole,
    products_of,
    smoothed,
    with_integers,
    with_outputs,
)
from tensorwright.tensor.range import Range


def model_of(nodes, constants, inputs, outputs, opset=18, constant_nodes=False):
    if constant_nodes:
        given = [helper.make_node("Constant", [], [n], value=numpy_helper.from_array(a)) for n, a in constants.items()]
        nodes, constants = [*given, *nodes], {}
    graph = helper.make_graph(
        nodes, "m",
        [helper.make_tensor_value_info(name, 1, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, 1, list("abcd")[: len(inputs["x"])]) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def convolutions(rng, opset=18, constant_nodes=False):
    """A residual network with a grouped convolution, of which one tensor is read twice."""
    shapes = {"w": (8, 4, 3, 3), "v": (8, 1, 3, 3), "u": (6, 8, 1, 1), "b": (8,), "c": (6,)}
    constants = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    constants["w"] *= rng.uniform(0.1, 10, (8, 1, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["p"], pads=[1] * 4),
        helper.make_node("Relu", ["p"], ["h"]),
        helper.make_node("Conv", ["h", "v"], ["q"], "depthwise", group=8, pads=[1] * 4),
        helper.make_node("Add", ["q", "h"], ["s"]),
        helper.make_node("Conv", ["s", "u", "c"], ["y"]),
    ]
    return model_of(nodes, constants, {"x": ["n", 4, 6, 5]}, ["y"], opset, constant_nodes)


def transformer(rng, gain=4.0, in_pieces=False):
    """Layer normalisation into two products, a product of the softmax, Gemm with a transposed right factor."""
    shapes = {"g": (16,), "b": (16,), "q": (16, 12), "k": (16, 12), "o": (12, 12), "z": (7, 12), "t": (7,)}
    constants = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    constants["g"][3] = gain
    constants["q"] *= np.float32(0.1)
    constants["k"] *= np.float32(0.1)
    normalised = [helper.make_node("LayerNormalization", ["x", "g", "b"], ["n"], axis=-1)]
    if in_pieces:
        constants["one"] = np.ones(16, np.float32)
        normalised = [
            helper.make_node("LayerNormalization", ["x", "one"], ["r"], axis=-1),
            helper.make_node("Mul", ["r", "g"], ["scaled"]),
            helper.make_node("Add", ["b", "scaled"], ["n"]),
        ]
    nodes = [
        *normalised,
        helper.make_node("MatMul", ["n", "q"], ["query"]),
        helper.make_node("MatMul", ["n", "k"], ["key"]),
        helper.make_node("Mul", ["query", "key"], ["m"]),
        helper.make_node("Tanh", ["m"], ["a"]),
        helper.make_node("MatMul", ["a", "o"], ["p"]),
        helper.make_node("Gemm", ["p", "z", "t"], ["y"], transB=1),
    ]
    return model_of(nodes, constants, {"x": [5, 16]}, ["y"])


MODELS = {"convolutions": (convolutions, (3, 4, 6, 5)), "transformer": (transformer, (5, 16))}


def by_onnxruntime(model, x):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), exact_options(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def noise(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("options", [{}, {"affine": True}, {"smooth": 0.5}, {"algorithm": "LegacyCalibration"}])
@pytest.mark.parametrize("name", MODELS)
def test_quantised_models_run_everywhere_and_are_near(name, options, rng):
    make, shape = MODELS[name]
    model = make(rng)
    batches = [rng.standard_normal(shape).astype(np.float32) for _ in range(4)]
    made = tw.quantize(model, batches, **options)
    onnx.checker.check_model(made, full_check=True)
    assert {"QuantizeLinear", "DequantizeLinear"} < {node.op_type for node in made.graph.node}
    expected, judged = by_onnxruntime(model, batches[0]), by_onnxruntime(made, batches[0])
    assert 0 < noise(judged, expected) < 0.08
    found = tw.build(made, level=0, threads=1, timing_cache="")(batches[0])["y"]
    # ONNX Runtime may round once more between integers: a step here and there.
    assert noise(found, judged) < max(0.01, noise(judged, expected))


def test_weights_have_a_scale_for_each_channel_and_constants_that_nothing_reads_are_gone(rng):
    model = convolutions(rng)
    made = tw.quantize(model, [rng.standard_normal((3, 4, 6, 5)).astype(np.float32)], keep=["depth*"])
    arrays = {one.name: numpy_helper.to_array(one) for one in made.graph.initializer}
    assert "v" in arrays
    assert not {"w", "u", "b", "c"} & set(arrays)
    (w,) = [numpy_helper.to_array(one) for one in model.graph.initializer if one.name == "w"]
    scale = np.abs(w).max(axis=(1, 2, 3)) / 127
    np.testing.assert_allclose(arrays["w_scale"], scale, rtol=1e-6)
    assert arrays["w_quantized"].dtype == np.int8
    assert np.abs(arrays["w_quantized"]).reshape(8, -1).max(1).tolist() == [127] * 8
    np.testing.assert_allclose(arrays["w_quantized"] * scale[:, None, None, None], w, atol=scale.max() / 2 * 1.001)
    assert arrays["x_zero_point"].dtype == np.int8
    assert arrays["b_quantized"].dtype == np.int32
    assert [node.op_type for node in made.graph.node].count("QuantizeLinear") == 2


@pytest.mark.parametrize("name", MODELS)
def test_smoothing_leaves_the_function_and_evens_out_columns(name, rng):
    make, shape = MODELS[name]
    model, x = make(rng), rng.standard_normal(shape).astype(np.float32)
    products = products_of(model)
    largest = {one.activations: rng.uniform(0.5, 9, {"a": 12, "p": 12}.get(one.activations, 16)) for one in products}
    made = smoothed(model, products, largest, 0.5)
    np.testing.assert_allclose(by_onnxruntime(made, x), by_onnxruntime(model, x), rtol=2e-3, atol=2e-4)
    assert len(made.graph.node) == len(model.graph.node)  # What is divided by is in the layer normalisation.
    arrays, before = ({one.name: one.raw_data for one in proto.graph.initializer} for proto in (made, model))
    assert {name for name in before if before[name] != arrays.get(name)} == (
        {"g", "b", "q", "k"} if name == "transformer" else set()
    )


def test_layer_normalisations_in_pieces_are_divided_behind_them(rng):
    model, x = transformer(rng, in_pieces=True), rng.standard_normal((5, 16)).astype(np.float32)
    made = smoothed(model, products_of(model), {"n": rng.uniform(0.5, 9, 16)}, 0.5)
    np.testing.assert_allclose(by_onnxruntime(made, x), by_onnxruntime(model, x), rtol=2e-3, atol=2e-4)
    assert [node.op_type for node in made.graph.node].count("Mul") == 3


def test_smoothing_helps_where_one_column_is_large(rng):
    model = transformer(rng, gain=60.0)
    batches = [rng.standard_normal((5, 16)).astype(np.float32) for _ in range(4)]
    expected = by_onnxruntime(with_outputs(model, ["query"]), batches[0])
    plain, smooth = (tw.quantize(with_outputs(model, ["query"]), batches, smooth=strength) for strength in (None, 0.5))
    assert noise(by_onnxruntime(smooth, batches[0]), expected) < 0.7 * noise(
        by_onnxruntime(plain, batches[0]), expected
    )


@pytest.mark.parametrize(
    ("range", "affine", "scale", "zero"),
    [
        (Range(-1.0, 3.0), False, 3 / 127, np.int8(0)),
        (Range(-4.0, 3.0), False, 4 / 127, np.int8(0)),
        (Range(0.0, 3.0), False, 3 / 255, np.uint8(0)),
        (Range(0.5, 3.0), True, 3 / 255, np.uint8(0)),
        (Range(-1.0, 3.0), True, 4 / 255, np.uint8(64)),
        (Range(-1.0, -0.5), True, 1 / 255, np.uint8(255)),
        (Range(0.0, 0.0), False, 1 / 255, np.uint8(0)),
        (Range(0.0, 0.0), True, 1, np.uint8(0)),
    ],
)
def test_scales_and_zero_points(range, affine, scale, zero, rng):
    model = convolutions(rng)
    made = with_integers(model, products_of(model)[:1], {"x": range}, affine)
    arrays = {one.name: numpy_helper.to_array(one) for one in made.graph.initializer}
    assert arrays["x_scale"] == pytest.approx(scale, rel=1e-6)
    assert (arrays["x_zero_point"], arrays["x_zero_point"].dtype) == (zero, zero.dtype)


def test_older_models_and_constants_in_nodes(rng, tmp_path):
    batches = [rng.standard_normal((3, 4, 6, 5)).astype(np.float32)]
    old = convolutions(rng, opset=11)
    made = tw.quantize(old, batches)
    assert made.opset_import[0].version == 13
    assert noise(by_onnxruntime(made, batches[0]), by_onnxruntime(old, batches[0])) < 0.08
    inside = convolutions(rng, constant_nodes=True)
    assert len(products_of(inside)) == 3
    made = tw.quantize(inside, batches)
    assert not [node for node in made.graph.node if node.op_type == "Constant"]
    expected = by_onnxruntime(old, batches[0])
    onnx.save(old, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="m.data")
    whole = load_whole(tmp_path / "m.onnx")
    assert noise(by_onnxruntime(whole, batches[0]), expected) == 0
    (tmp_path / "m.data").unlink()
    with pytest.raises(tw.ImportFailure, match="data in another file"):
        load_whole(tmp_path / "m.onnx")


def test_what_cannot_be_quantised_is_said(rng):
    model = convolutions(rng)
    names = [product.name for product in products_of(model)]
    assert names == ["p", "depthwise", "y"]
    assert products_of(model)[1] == Product(2, "depthwise", "h", "v", 0, "")
    with pytest.raises(tw.ImportFailure, match="no product with constant weights is called 'z'; they are called p, "):
        products_of(model, ["z"])
    with pytest.raises(
        tw.BuildError, match="no Conv, MatMul or Gemm with constant weights of float32 that is not kept"
    ):
        tw.quantize(model, [], keep=["*"])
    with pytest.raises(tw.BuildError, match="smooth is 2"):
        tw.quantize(model, [], smooth=2)
    with pytest.raises(tw.BuildError, match="no batch"):
        tw.quantize(model, [])
