"""Networks with random weights, built without any framework, in the type asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tensorwright.graph.graph import Graph, Value, apply, constant_value, input_value
from tensorwright.ops.activation import Gelu, Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import LayerNormalization, Softmax
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Reshape, Transpose
from tensorwright.tensor.dtype import FLOAT16, FLOAT32, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of


@dataclass(frozen=True)
class Maker:
    """Draws weights."""

    rng: np.random.Generator
    dtype: DType

    def weights(self, *shape: int, scale: float = 1.0) -> Value:
        drawn = self.rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)
        return constant_value(weights_of(drawn.astype(self.dtype.numpy)))

    def number(self, value: float) -> Value:
        return constant_value(weights_of(np.asarray(value, self.dtype.numpy)))

    def convolution(self, x: Value, outputs: int, kernel: int, stride: int = 1, gain: float = 2.0) -> Value:
        channels = int(x.type.shape[1])
        weights = self.weights(outputs, channels, kernel, kernel, scale=(gain / (channels * kernel * kernel)) ** 0.5)
        pads = (kernel // 2,) * 2
        op = Convolution((stride, stride), pads, pads, (1, 1))
        return apply(op, x, weights, self.weights(outputs, scale=0.1))

    def linear(self, x: Value, columns: int) -> Value:
        depth = int(x.type.shape[-1])
        product = apply(MatMul(), x, self.weights(depth, columns, scale=depth**-0.5))
        return apply(Binary("add"), product, self.weights(columns, scale=0.1))

    def normalised(self, x: Value) -> Value:
        width = int(x.type.shape[-1])
        return apply(
            LayerNormalization(x.type.rank - 1, 1e-12),
            x,
            self.weights(width, scale=0.5),
            self.weights(width, scale=0.1),
        )


def resnet(batch: int, depth: int = 50, dtype: DType = FLOAT16, seed: int = 1) -> Graph:
    """ResNet-18 or -50 for images of 224×224 pixels, its batch norms folded."""
    make = Maker(np.random.default_rng(seed), dtype)
    image = input_value("image", TensorType(dtype, (batch, 3, 224, 224)))
    x = apply(Relu(), make.convolution(image, 64, 7, 2))
    x = apply(Pool("max", (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)), x)
    blocks = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
    for stage, count in enumerate(blocks):
        for number in range(count):
            stride = 2 if stage and not number else 1
            x = _basic(make, x, 64 << stage, stride) if depth == 18 else _bottleneck(make, x, 64 << stage, stride)
    pooled = apply(Reduction("mean", (2, 3), keep_dims=False), x)
    return Graph((("image", image),), (("logits", make.linear(pooled, 1000)),), f"resnet{depth}")


def _basic(make: Maker, x: Value, width: int, stride: int) -> Value:
    y = apply(Relu(), make.convolution(x, width, 3, stride))
    y = make.convolution(y, width, 3, 1, 0.2)
    same = stride == 1 and x.type.shape[1] == width
    return apply(Relu(), apply(Binary("add"), y, x if same else make.convolution(x, width, 1, stride, 1.0)))


def _bottleneck(make: Maker, x: Value, width: int, stride: int) -> Value:
    y = apply(Relu(), make.convolution(x, width, 1))
    y = apply(Relu(), make.convolution(y, width, 3, stride))
    y = make.convolution(y, 4 * width, 1, 1, 0.2)
    same = stride == 1 and x.type.shape[1] == 4 * width
    return apply(Relu(), apply(Binary("add"), y, x if same else make.convolution(x, 4 * width, 1, stride, 1.0)))


def bert(batch: int, layers: int = 12, width: int = 768, length: int = 128, dtype: DType = FLOAT16) -> Graph:
    """The encoder of BERT on hidden states ``[batch, length, width]``, heads of 64 (32 for a width of 384)."""
    make, heads = Maker(np.random.default_rng(2), dtype), 12
    hidden = input_value("hidden", TensorType(dtype, (batch, length, width)))
    x = hidden
    for _ in range(layers):
        x = make.normalised(apply(Binary("add"), _attention(make, x, heads), x))
        y = make.linear(apply(Gelu(False), make.linear(x, 4 * width)), width)
        x = make.normalised(apply(Binary("add"), y, x))
    return Graph((("hidden", hidden),), (("hidden_out", x),), "bert")


def _attention(make: Maker, x: Value, heads: int) -> Value:
    batch, length, width = (int(extent) for extent in x.type.shape)
    size = width // heads

    def split(y: Value) -> Value:
        return apply(Transpose((0, 2, 1, 3)), apply(Reshape((batch, length, heads, size)), y))

    q, k, v = (split(make.linear(x, width)) for _ in range(3))
    scores = apply(Binary("mul"), apply(MatMul(transpose_b=True), q, k), make.number(size**-0.5))
    mixed = apply(MatMul(), apply(Softmax(3), scores), v)
    joined = apply(Reshape((batch, length, width)), apply(Transpose((0, 2, 1, 3)), mixed))
    return make.linear(joined, width)


MODELS = {
    "resnet50": lambda batch, dtype: resnet(batch, 50, dtype),
    "resnet18": lambda batch, dtype: resnet(batch, 18, dtype),
    "bert": lambda batch, dtype: bert(batch, dtype=dtype),
    "minilm": lambda batch, dtype: bert(batch, 6, 384, dtype=dtype),
}
TYPES = {"f16": FLOAT16, "f32": FLOAT32, "tf32": FLOAT32}
"""By name; "tf32" is float32 that tensor cores may read as TF32."""
