"""A network as ONNX Runtime's quantiser writes it: scalars, computed at run time, that all tasks of a step read."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser
from onnxruntime.quantization import quantize_dynamic

from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.importers.onnx import import_onnx
from tensorwright.runtime.engine import Engine

WIDTHS = (128, 256, 256, 128, 10)
RUNS = 30


@pytest.fixture
def quantised(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A perceptron of four layers, its products in 8-bit integers."""
    lines, arrays = [], []
    for layer, (inner, outer) in enumerate(pairwise(WIDTHS)):
        weights = (rng.standard_normal((inner, outer)) / np.sqrt(inner)).astype(np.float32)
        arrays.append(numpy_helper.from_array(weights, f"w{layer}"))
        lines.append(f"m{layer} = MatMul(a{layer}, w{layer}) a{layer + 1} = Relu(m{layer})")
    text = f"g (float[16,{WIDTHS[0]}] a0) => (float[16,{WIDTHS[-1]}] a{len(lines)}) {{{' '.join(lines)}}}"
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    model.graph.initializer.extend(arrays)
    onnx.save(model, tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "quantised.onnx")
    return tmp_path / "quantised.onnx"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_dynamically_quantised(threads: int, quantised: Path, rng: np.random.Generator) -> None:
    session = onnxruntime.InferenceSession(str(quantised), providers=["CPUExecutionProvider"])
    engine = Engine(build(import_onnx(quantised), BuildConfig(level=0, threads=threads)))
    for _ in range(RUNS):
        x = rng.standard_normal((16, WIDTHS[0]), dtype=np.float32)
        (expected,) = session.run(None, {"a0": x})
        (found,) = engine({"a0": x}).values()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2 * np.abs(expected).max())
