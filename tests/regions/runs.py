"""Small networks, all of whose regions one kernel computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from regions.example import Example, Spec
from regions.following import weights
from tensorwright.graph.graph import Graph, Value, apply, input_value
from tensorwright.graph.region import Region, joined
from tensorwright.ops.activation import Gelu, Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import LayerNormalization, Softmax
from tensorwright.ops.pooling import Pool
from tensorwright.ops.shape import Reshape
from tensorwright.passes.fuse import partition
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType
from tensorwright.tensor.type import TensorType

BATCH = symbol("batch", 1, 2, 5)
Make = Callable[[np.random.Generator, DType], Value]


@dataclass(frozen=True)
class Network:
    """make: draws constants and gives the result."""

    make: Make
    dtype: DType = FLOAT32

    def region(self, rng: np.random.Generator) -> Region:
        graph = Graph((), (("y", self.make(rng, self.dtype)),))
        return joined(partition(graph))


def _linear(x: Value, columns: int, rng: np.random.Generator) -> Value:
    depth, dtype = x.type.shape[-1], x.type.dtype
    assert isinstance(depth, int)
    bound = 3 / depth**0.5
    product = apply(MatMul(), x, weights(rng, dtype, depth, columns, low=-bound, high=bound))
    return apply(Binary("add"), product, weights(rng, dtype, columns))


def _window(x: Value, channels: int, size: int, pad: int, rng: np.random.Generator) -> Value:
    depth, dtype = x.type.shape[1], x.type.dtype
    assert isinstance(depth, int)
    bound = 3 / (depth * size * size) ** 0.5
    factor = weights(rng, dtype, channels, depth, size, size, low=-bound, high=bound)
    return apply(Convolution((1, 1), (pad, pad), (pad, pad), (1, 1)), x, factor, weights(rng, dtype, channels))


def _pooled(x: Value) -> Value:
    return apply(Pool("max", (2, 2), (2, 2), (0, 0), (0, 0), (1, 1)), x)


def _images(batch: Dim, first: int, second: int) -> Make:
    """Convolution and pooling twice, a hidden layer, ten classes."""

    def make(rng: np.random.Generator, dtype: DType) -> Value:
        x = input_value("x", TensorType(dtype, (batch, 1, 14, 14)))
        x = _pooled(_window(x, first, 3, 1, rng))
        x = _pooled(apply(Relu(), _window(x, second, 3, 0, rng)))
        x = apply(Reshape((batch, second * 4)), x)
        return apply(Softmax(1), _linear(apply(Relu(), _linear(x, 20, rng)), 10, rng))

    return make


def _layers(batch: Dim, width: int, *, residual: bool = False, normalised: bool = False) -> Make:
    """Three layers, of which the second may be added to what it was given."""

    def make(rng: np.random.Generator, dtype: DType) -> Value:
        x = input_value("x", TensorType(dtype, (batch, 24)))
        first = apply(Gelu(False), _linear(x, width, rng))
        second = apply(Relu(), _linear(first, width, rng))
        if residual:
            second = apply(Binary("add"), second, first)
        if normalised:
            second = apply(LayerNormalization(1), second, weights(rng, dtype, width), weights(rng, dtype, width))
        return _linear(second, 8, rng)

    return make


RUNS: Mapping[str, Spec] = {
    "images": Network(_images(1, 20, 24)),
    "images-few-channels": Network(_images(2, 6, 10)),
    "images-symbolic": Network(_images(BATCH, 8, 12)),
    "images-half": Network(_images(1, 16, 24), FLOAT16),
    "layers": Network(_layers(1, 64)),
    "layers-odd": Network(_layers(3, 37, residual=True)),
    "layers-symbolic": Network(_layers(BATCH, 40, residual=True, normalised=True)),
    "layers-half": Network(_layers(5, 64, normalised=True), FLOAT16),
    "layers-bfloat16": Network(_layers(16, 32, residual=True), BFLOAT16),
}

EXAMPLES = tuple(Example(f"run-{name}", spec) for name, spec in RUNS.items())
