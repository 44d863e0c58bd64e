"""LeNet for handwritten digits as a frozen TensorFlow graph, with the weights of the demo's ONNX model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tensorflow_graphs import GraphMaker

DEMO = Path(__file__).parents[2] / "demo"
DIGITS = sorted((DEMO / "digits").glob("*.pgm"))


def frozen_lenet() -> bytes:
    """Input `Placeholder` of [-1, 28, 28, 1], output `fc2/Relu` of [-1, 10]."""
    model = onnx.load(DEMO / "lenet.onnx")
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    graph = GraphMaker()
    x = graph.placeholder((-1, 28, 28, 1), "Placeholder")
    for number in (1, 2):
        kernel = graph.constant(given[f"conv{number}.weight"].transpose(2, 3, 1, 0))
        x = graph.add("Conv2D", x, kernel, strides=[1, 1, 1, 1], padding="VALID", data_format="NHWC")
        x = graph.add("BiasAdd", x, graph.constant(given[f"conv{number}.bias"]), data_format="NHWC")
        x = graph.add("MaxPool", x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID", data_format="NHWC")
    x = graph.add("Reshape", x, graph.constant([-1, 800]))
    first = given["fc1.weight"].reshape(500, 50, 4, 4).transpose(2, 3, 1, 0).reshape(800, 500)
    for number, weights in ((1, first), (2, given["fc2.weight"].T)):
        x = graph.add("MatMul", x, graph.constant(np.ascontiguousarray(weights)))
        x = graph.add("BiasAdd", x, graph.constant(given[f"fc{number}.bias"]))
        x = graph.add("Relu", x, name=f"fc{number}/Relu")
    return graph.bytes()


def image(file: Path) -> np.ndarray:
    """A digit, 1×28×28 from 0 to 1."""
    return np.frombuffer(file.read_bytes()[-784:], np.uint8).reshape(1, 28, 28).astype(np.float32) / np.float32(255)


def label(file: Path) -> int:
    return int(file.stem[-1])
