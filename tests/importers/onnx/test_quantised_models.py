"""Networks as ONNX Runtime's quantisers and optimisers leave them, built and compared with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto
from onnxruntime import SessionOptions
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

import tensorwright as tw
from exact_products import exact_options
from importers.onnx.models import model_of, node

STEP = 1 / 255
"""One step of the quantised probabilities."""


class Samples(CalibrationDataReader):
    def __init__(self, rng: np.random.Generator) -> None:
        self.left = [{"x": drawn(rng)} for _ in range(3)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


def drawn(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((1, 3, 12, 12)).astype(np.float32)


def classifier(rng: np.random.Generator) -> ModelProto:
    shapes = {"w": (8, 3, 3, 3), "b": (8,), "v": (8, 8, 3, 3), "m": (8, 10), "c": (10,)}
    constants = {name: (rng.standard_normal(shape) / 4).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        node("Conv", "x w b", "c1", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 v", "c2", pads=[1, 1, 1, 1]),
        node("Add", "c2 r1", "s"),
        node("Relu", "s", "r2"),
        node("AveragePool", "r2", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", "p", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f m c", "z"),
        node("Softmax", "z", "y"),
    ]
    return onnx.shape_inference.infer_shapes(model_of(nodes, {"x": drawn(rng)}, ["y"], 13, constants))


def compare(
    path: Path, rng: np.random.Generator, tolerance: float, make_options: Callable[[], SessionOptions] = exact_options
) -> None:
    session = onnxruntime.InferenceSession(path, make_options(), providers=["CPUExecutionProvider"])
    with tw.build(path, level=0, threads=2, timing_cache="", strict=True) as engine:
        for _ in range(2):
            x = drawn(rng)
            np.testing.assert_allclose(engine(x)["y"], session.run(None, {"x": x})[0], rtol=0, atol=tolerance)


@pytest.mark.parametrize("format", [QuantFormat.QOperator, QuantFormat.QDQ], ids=str)
@pytest.mark.parametrize("per_channel", [False, True])
def test_quantised_with_samples(
    format: QuantFormat, per_channel: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    source, path = tmp_path / "plain.onnx", tmp_path / "quantised.onnx"
    onnx.save(classifier(rng), source)
    quantize_static(
        source, path, Samples(rng), quant_format=format, per_channel=per_channel, weight_type=QuantType.QInt8
    )
    # Operators on integers multiply int8 by int8 here.
    compare(path, rng, 1.01 * STEP, exact_options if format is QuantFormat.QDQ else SessionOptions)


def test_quantised_as_it_runs(tmp_path: Path, rng: np.random.Generator) -> None:
    source, path = tmp_path / "plain.onnx", tmp_path / "quantised.onnx"
    onnx.save(classifier(rng), source)
    quantize_dynamic(source, path)
    compare(path, rng, 1e-5)


def test_optimised(tmp_path: Path, rng: np.random.Generator) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    model = classifier(rng).SerializeToString()
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    operators = {found.op_type for found in onnx.load(options.optimized_model_filepath).graph.node}
    assert "FusedConv" in operators
    compare(tmp_path / "optimised.onnx", rng, 1e-5)
