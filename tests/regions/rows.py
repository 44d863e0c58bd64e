"""Softmax and normalisation of rows that fit into registers, and of long ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regions.example import Example, examples
from regions.following import followed, weights
from tensorwright.graph.graph import apply, input_value
from tensorwright.graph.region import Region, region_of
from tensorwright.ops.activation import Relu
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.normalization import LayerNormalization, Softmax
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType
from tensorwright.tensor.type import TensorType

BATCH = symbol("batch", 1, 2, 5)


@dataclass(frozen=True)
class SoftmaxRows:
    shape: tuple[Dim, ...]
    scaled: bool = False
    dtype: DType = FLOAT32

    def region(self, rng: np.random.Generator) -> Region:
        value = apply(Softmax(len(self.shape) - 1), input_value("x", TensorType(self.dtype, self.shape)))
        values = [value]
        if self.scaled:
            values.append(apply(Binary("mul"), value, weights(rng, self.dtype, self.shape[-1])))
        return region_of(values, value)


@dataclass(frozen=True)
class NormalizedRows:
    """residual: the input is added to the result, then the negative numbers become 0."""

    shape: tuple[Dim, ...]
    bias: bool = True
    residual: bool = False
    tail: str = ""
    dtype: DType = FLOAT32

    def region(self, rng: np.random.Generator) -> Region:
        x, extent = input_value("x", TensorType(self.dtype, self.shape)), self.shape[-1]
        operands = [x, weights(rng, self.dtype, extent)]
        if self.bias:
            operands.append(weights(rng, self.dtype, 1, extent))
        value = apply(LayerNormalization(len(self.shape) - 1), *operands)
        if not self.residual:
            return followed(value, self.tail, rng)
        added = apply(Binary("add"), value, x)
        return region_of([value, added, apply(Relu(), added)], value)


ROWS = {
    "one-vector": SoftmaxRows((3, 16)),
    "partial-vector": SoftmaxRows((2, 3, 5, 49)),
    "attention": SoftmaxRows((BATCH, 4, 21, 64), scaled=True),
    "long": SoftmaxRows((5, 1000), scaled=True),
    "long-and-whole": SoftmaxRows((2, 512)),
    "layer": NormalizedRows((BATCH, 7, 96)),
    "layer-partial": NormalizedRows((9, 50), bias=False),
    "layer-long": NormalizedRows((BATCH, 3, 768), tail="gelu"),
    "layer-long-partial": NormalizedRows((5, 517), bias=False),
    "layer-long-residual": NormalizedRows((2, 3, 399), residual=True),
    "layer-residual": NormalizedRows((2, 9, 33), residual=True),
}

WARPS = {
    "layers": NormalizedRows((3, 7, 768), dtype=FLOAT16),
    "layers-short": NormalizedRows((5, 24), tail="relu", dtype=FLOAT16),
    "layers-odd": NormalizedRows((2, 3, 520), bias=False, tail="add", dtype=BFLOAT16),
    "layers-float32": NormalizedRows((BATCH, 9, 384)),
    "softmax": SoftmaxRows((2, 9, 128), dtype=FLOAT16),
    "softmax-float32": SoftmaxRows((17, 36), scaled=True),
    "softmax-long": SoftmaxRows((3, 1024), dtype=FLOAT16),
}
"""Of whole accesses of GPUs."""

EXAMPLES = (*examples("rows", ROWS), *(Example(f"warps-{name}", rows) for name, rows in WARPS.items()))
