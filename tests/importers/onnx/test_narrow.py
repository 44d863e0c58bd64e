"""Small element types inside of a network, against NumPy with ml_dtypes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from importers.onnx.models import model_of, node, run
from tensorwright.base.errors import ImportFailure
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.onnx import import_onnx
from tensorwright.passes.float8 import products_of_float8

TYPES = ("FLOAT8E4M3FN", "FLOAT8E5M2", "FLOAT4E2M1", "INT4", "UINT4", "INT2", "UINT2")


def small(name: str) -> np.dtype:
    return helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(name))


@pytest.mark.parametrize("name", TYPES)
def test_quantised_moved_and_dequantised(name: str, rng: np.random.Generator) -> None:
    dtype = small(name)
    x, scale = rng.uniform(-9, 9, (4, 6)).astype(np.float32), np.float32(0.75)
    zero = numpy_helper.from_array(np.zeros((), dtype), "zero")
    nodes = [
        node("QuantizeLinear", "x scale zero", "q"),
        node("Reshape", "q shape", "r"),
        node("Transpose", "r", "t", perm=[1, 0]),
        node("DequantizeLinear", "t scale", "y"),
        node("Cast", "t", "z", to=TensorProto.FLOAT),
    ]
    model = model_of(nodes, {"x": x}, ["y", "z"], 25, {"scale": scale, "shape": np.int64([8, 3])})
    model.graph.initializer.append(zero)
    steps = x / scale
    if dtype.name.startswith("float"):
        expected = np.clip(steps, -float(ml_dtypes.finfo(dtype).max), float(ml_dtypes.finfo(dtype).max)).astype(dtype)
    else:
        expected = np.clip(np.round(steps), int(ml_dtypes.iinfo(dtype).min), int(ml_dtypes.iinfo(dtype).max))
    wide = expected.astype(np.float32).reshape(8, 3).T
    y, z = run(model, {"x": x})
    np.testing.assert_array_equal(z, wide)
    np.testing.assert_allclose(y, wide * scale, rtol=1e-6)


def test_quantised_products_are_products_of_bytes(rng: np.random.Generator) -> None:
    dtype = small("FLOAT8E4M3FN")
    w = numpy_helper.from_array(rng.standard_normal((32, 24)).astype(dtype), "w")
    zero = numpy_helper.from_array(np.zeros((), dtype), "zero")
    scales = {"s": np.float32(0.05), "t": rng.uniform(0.1, 1, 24).astype(np.float32)}
    nodes = [
        node("QuantizeLinear", "x s zero", "q"),
        node("DequantizeLinear", "q s zero", "d"),
        node("DequantizeLinear", "w t", "v", axis=1),
        node("MatMul", "d v", "y"),
    ]
    x = rng.standard_normal((5, 32)).astype(np.float32)
    model = model_of(nodes, {"x": x}, ["y"], 21, scales)
    model.graph.initializer.extend([w, zero])
    graph = import_onnx(model)
    rewritten = products_of_float8(graph)
    assert [type(value.op).__name__ for value in rewritten.order()].count("Float8Product") == 1
    steps = (x / np.float32(0.05)).astype(dtype).astype(np.float64)
    expected = steps * 0.05 @ (numpy_helper.to_array(w).astype(np.float64) * scales["t"])
    for one in (graph, rewritten):
        np.testing.assert_allclose(evaluate_graph(one, {"x": x})["y"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["INT4", "UINT4", "INT2", "UINT2"])
def test_casts_to_integers_wrap_around(name: str) -> None:
    x = np.float32([-9.7, -8, -1.5, 0, 1.9, 3, 7.2, 8, 15, 16.5, 100])
    nodes = [node("Cast", "x", "q", to=TensorProto.DataType.Value(name)), node("Cast", "q", "y", to=TensorProto.INT32)]
    (y,) = run(model_of(nodes, {"x": x}, ["y"], 25), {"x": x})
    bits, info = int(name[-1]), ml_dtypes.iinfo(small(name))
    expected = (np.trunc(x).astype(int) - int(info.min)) % (1 << bits) + int(info.min)
    np.testing.assert_array_equal(y, expected)


def test_plans_have_no_such_outputs() -> None:
    model = model_of([node("Cast", "x", "y", to=TensorProto.FLOAT8E5M2)], {"x": (1, [3])}, ["y"])
    with pytest.raises(ImportFailure, match="element type float8_e5m2 of tensor 'y' is not supported as output 'y'"):
        import_onnx(model)


def test_other_operators_refuse_them() -> None:
    nodes = [node("Cast", "x", "q", to=TensorProto.INT4), node("Neg", "q", "y", name="negate")]
    with pytest.raises(ImportFailure, match=r"Neg .*'negate' .*element type int4 of tensor 'q' is not supported"):
        import_onnx(model_of(nodes, {"x": (1, [3])}, ["y"], 25))
