"""The networks that benchmarks write without PyTorch: ONNX Runtime reads them, and both engines agree."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from benchmarks.decoder import Shape, decoder, feeds
from benchmarks.gpu.models import Maker, bert
from benchmarks.written import TOKENS, onnx_model

import tensorwright as tw
from tensorwright.graph.graph import Graph, apply, input_value
from tensorwright.ops.activation import Clip, Relu
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType


def compare(model: bytes, inputs: dict[str, np.ndarray]) -> None:
    session = onnxruntime.InferenceSession(model)
    wanted = dict(zip((one.name for one in session.get_outputs()), session.run(None, inputs), strict=True))
    found = tw.build(model, level=0, threads=1)(inputs)
    for name, array in wanted.items():
        assert np.abs(found[name] - array).max() < 1e-4 * np.abs(array).max()


def image_network() -> Graph:
    """A convolution of each kind, a maximum, a mean and a product."""
    make, image = Maker(np.random.default_rng(3), FLOAT32), input_value("image", TensorType(FLOAT32, (1, 3, 16, 16)))
    x = apply(Clip(0.0, 6.0), make.convolution(image, 8, 3, 2))
    x = apply(Relu(), make.convolution(x, 8, 3, groups=8))
    x = apply(Pool("max", (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)), x)
    pooled = apply(Reduction("mean", (2, 3), keep_dims=False), x)
    return Graph((("image", image),), (("logits", make.linear(pooled, 5)),))


@pytest.mark.parametrize("kind", ["tokens", "images"])
def test_networks(kind: str, rng: np.random.Generator) -> None:
    model = onnx_model(bert(1, 1, 48, 8, FLOAT32) if kind == "tokens" else image_network())
    (input,) = model.graph.input
    shape = [extent.dim_value for extent in input.type.tensor_type.shape.dim]
    drawn = rng.integers(0, TOKENS, shape) if input.name == "tokens" else rng.standard_normal(shape, np.float32)
    compare(model.SerializeToString(), {input.name: drawn})


def test_a_step_of_a_decoder() -> None:
    shape = Shape(layers=1, width=64, heads=2, vocabulary=100, past=3)
    compare(decoder(shape).SerializeToString(), feeds(shape))
