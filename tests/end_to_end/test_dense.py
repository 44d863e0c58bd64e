"""Dense connectivity as exporters write it: every layer reads a new concatenation of all results before it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from cases.case import Array
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.importers.onnx import import_onnx
from tensorwright.runtime.engine import Engine

GROWTH = 16
SHAPE = (1, 3, 24, 24)


class Writer:
    """Nodes as text, and the weights that they name."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.lines: list[str] = []
        self.arrays: dict[str, Array] = {}

    def node(self, text: str) -> str:
        name = f"t{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return name

    def weights(self, *shape: int, low: float = -1.0, scale: float = 1.0) -> str:
        name = f"w{len(self.arrays)}"
        self.arrays[name] = (scale * self._rng.uniform(low, 1, shape)).astype(np.float32)
        return name

    def activated(self, x: str, channels: int) -> str:
        scale, mean, variance = (self.weights(channels, low=low) for low in (0.5, -1.0, 0.5))
        return self.node(f"Relu({self.node(f'BatchNormalization({x}, {scale}, {mean}, {mean}, {variance})')})")

    def convolution(self, x: str, inner: int, outer: int, kernel: int) -> str:
        weights = self.weights(outer, inner, kernel, kernel, scale=(3 / (inner * kernel**2)) ** 0.5)
        return self.node(f"Conv<pads=[{', '.join([str(kernel // 2)] * 4)}]>({x}, {weights})")


def densely_connected(rng: np.random.Generator) -> onnx.ModelProto:
    """Two blocks of four layers with a transition in between."""
    writer, channels = Writer(rng), 2 * GROWTH
    results = [writer.convolution("x", SHAPE[1], channels, 3)]
    for block in range(2):
        for _ in range(4):
            joined = writer.node(f"Concat<axis=1>({', '.join(results)})")
            narrow = writer.convolution(writer.activated(joined, channels), channels, 2 * GROWTH, 1)
            results.append(writer.convolution(writer.activated(narrow, 2 * GROWTH), 2 * GROWTH, GROWTH, 3))
            channels += GROWTH
        joined = writer.activated(writer.node(f"Concat<axis=1>({', '.join(results)})"), channels)
        if block == 0:
            narrow, channels = writer.convolution(joined, channels, channels // 2, 1), channels // 2
            results = [writer.node(f"AveragePool<kernel_shape=[2, 2], strides=[2, 2]>({narrow})")]
    writer.lines.append(f"y = GlobalAveragePool({joined})")
    text = f"g (float[{','.join(map(str, SHAPE))}] x) => (float[] y) {{{' '.join(writer.lines)}}}"
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name="y"))
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in writer.arrays.items())
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_dense_blocks(threads: int, rng: np.random.Generator) -> None:
    model = densely_connected(rng).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    engine = Engine(build(import_onnx(model), BuildConfig(level=0, threads=threads)))
    for _ in range(3):
        x = rng.uniform(-1, 1, SHAPE).astype(np.float32)
        (expected,) = session.run(None, {"x": x})
        (found,) = engine({"x": x}).values()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
