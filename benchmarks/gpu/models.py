"""Networks with random weights, built without any framework, in the type asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tensorwright.graph.graph import Graph, Value, apply, constant_value, input_value, weights_in
from tensorwright.ops.activation import Clip, Gelu, Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import LayerNormalization, Softmax
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Concatenation, Reshape, Slice, Transpose
from tensorwright.passes.quantise import quantised
from tensorwright.tensor.dtype import FLOAT16, FLOAT32, DType
from tensorwright.tensor.range import Range
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

    def convolution(
        self, x: Value, outputs: int, kernel: int, stride: int = 1, gain: float = 2.0, groups: int = 1
    ) -> Value:
        """Padded unless it is of patches, whose kernel is as large as its stride."""
        channels = int(x.type.shape[1]) // groups
        weights = self.weights(outputs, channels, kernel, kernel, scale=(gain / (channels * kernel * kernel)) ** 0.5)
        pads = (0 if stride == kernel else kernel // 2,) * 2
        op = Convolution((stride, stride), pads, pads, (1, 1), groups)
        return apply(op, x, weights, self.weights(outputs, scale=0.1))

    def linear(self, x: Value, columns: int) -> Value:
        depth = int(x.type.shape[-1])
        product = apply(MatMul(), x, self.weights(depth, columns, scale=depth**-0.5))
        return apply(Binary("add"), product, self.weights(columns, scale=0.1))

    def normalised(self, x: Value, epsilon: float = 1e-12) -> Value:
        width = int(x.type.shape[-1])
        return apply(
            LayerNormalization(x.type.rank - 1, epsilon),
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


def mobilenet(batch: int, dtype: DType = FLOAT16) -> Graph:
    """MobileNetV2 for images of 224×224 pixels, its batch norms folded."""
    make = Maker(np.random.default_rng(3), dtype)
    image = input_value("image", TensorType(dtype, (batch, 3, 224, 224)))
    six = Clip(0.0, 6.0)
    x = apply(six, make.convolution(image, 32, 3, 2))
    blocks = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for wider, outputs, count, first in blocks:
        for number in range(count):
            channels, stride = int(x.type.shape[1]), first if not number else 1
            y = apply(six, make.convolution(x, wider * channels, 1)) if wider > 1 else x
            y = apply(six, make.convolution(y, wider * channels, 3, stride, groups=wider * channels))
            y = make.convolution(y, outputs, 1, 1, 0.5)
            x = apply(Binary("add"), x, y) if stride == 1 and outputs == channels else y
    x = apply(six, make.convolution(x, 1280, 1))
    pooled = apply(Reduction("mean", (2, 3), keep_dims=False), x)
    return Graph((("image", image),), (("logits", make.linear(pooled, 1000)),), "mobilenetv2")


TO_ROWS, TO_IMAGE = Transpose((0, 2, 3, 1)), Transpose((0, 3, 1, 2))


def convnext(batch: int, dtype: DType = FLOAT16) -> Graph:
    """ConvNeXt-Tiny for images of 224×224 pixels."""
    make = Maker(np.random.default_rng(4), dtype)
    image = input_value("image", TensorType(dtype, (batch, 3, 224, 224)))

    def normalised(x: Value) -> Value:
        return apply(TO_IMAGE, make.normalised(apply(TO_ROWS, x), 1e-6))

    x = normalised(make.convolution(image, 96, 4, 4))
    for stage, count in enumerate((3, 3, 9, 3)):
        width = 96 << stage
        if stage:
            x = make.convolution(normalised(x), width, 2, 2)
        for _ in range(count):
            y = make.normalised(apply(TO_ROWS, make.convolution(x, width, 7, groups=width)), 1e-6)
            y = make.linear(apply(Gelu(False), make.linear(y, 4 * width)), width)
            x = apply(Binary("add"), x, apply(TO_IMAGE, apply(Binary("mul"), y, make.weights(width, scale=0.1))))
    pooled = make.normalised(apply(Reduction("mean", (2, 3), keep_dims=False), x), 1e-6)
    return Graph((("image", image),), (("logits", make.linear(pooled, 1000)),), "convnext_tiny")


def vit(batch: int, dtype: DType = FLOAT16, layers: int = 12, width: int = 768) -> Graph:
    """ViT-Base for images of 224×224 pixels: 197 tokens of 768, 12 layers of 12 heads."""
    make = Maker(np.random.default_rng(5), dtype)
    image = input_value("image", TensorType(dtype, (batch, 3, 224, 224)))
    patches = apply(Reshape((batch, width, 196)), make.convolution(image, width, 16, 16, 1.0))
    first = constant_value(weights_of(np.repeat(weights_in(make.weights(1, 1, width, scale=0.5)).array, batch, 0)))
    x = apply(Concatenation(1), first, apply(Transpose((0, 2, 1)), patches))
    x = apply(Binary("add"), x, make.weights(1, 197, width, scale=0.5))
    for _ in range(layers):
        x = apply(Binary("add"), _attention(make, make.normalised(x), 12), x)
        y = make.linear(apply(Gelu(False), make.linear(make.normalised(x), 4 * width)), width)
        x = apply(Binary("add"), y, x)
    first_token = apply(Slice((0, 0, 0), (batch, 1, width), (1, 1, 1)), make.normalised(x))
    return Graph((("image", image),), (("logits", make.linear(first_token, 1000)),), "vit_base")


MODELS = {
    "resnet50": lambda batch, dtype: resnet(batch, 50, dtype),
    "resnet18": lambda batch, dtype: resnet(batch, 18, dtype),
    "mobilenetv2": mobilenet,
    "convnext_tiny": convnext,
    "vit_base": vit,
    "bert": lambda batch, dtype: bert(batch, dtype=dtype),
    "minilm": lambda batch, dtype: bert(batch, 6, 384, dtype=dtype),
}
TYPES = {"f16": FLOAT16, "f32": FLOAT32, "tf32": FLOAT32, "int8": FLOAT32}
"""By name; "tf32" is float32 that tensor cores may read as TF32, "int8" float32 whose products are quantised."""
RANGE = 8.0
"""The largest magnitude of all tensors that are quantised: random weights were drawn so that it suits them."""


def in_integers(graph: Graph) -> Graph:
    """The network with its products quantised."""
    return quantised(graph, dict.fromkeys(graph.order(), Range.within(RANGE))).graph
