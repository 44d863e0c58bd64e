"""Changes of layout and transpositions, with what is fused to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regions.example import BytesExample, examples
from regions.following import constant, weights
from tensorwright.graph.graph import Value, apply, input_value
from tensorwright.graph.op import Op
from tensorwright.graph.region import Region, region_of
from tensorwright.ops.activation import Relu
from tensorwright.ops.elementwise import Binary, Identity
from tensorwright.ops.indexing import GatherElements
from tensorwright.ops.quantization import Quantize
from tensorwright.ops.shape import Tile, Transpose
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import FLOAT32, INT8, INT64, UINT8, DType
from tensorwright.tensor.type import TensorType

BATCH = symbol("batch", 1, 2, 5)


@dataclass(frozen=True)
class Moved:
    """Operators on an input; bias: then a constant for every channel is added."""

    shape: tuple[Dim, ...]
    ops: tuple[Op, ...]
    bias: bool = False
    dtype: DType = FLOAT32

    def region(self, rng: np.random.Generator) -> Region:
        values: list[Value] = []
        value = input_value("x", TensorType(self.dtype, self.shape))
        for op in self.ops:
            value = apply(op, value)
            values.append(value)
        if self.bias:
            bias = weights(rng, self.dtype, value.type.shape[1], *(1,) * (len(self.shape) - 2))
            values.append(apply(Binary("add"), value, bias))
        return region_of(values)


@dataclass(frozen=True)
class Gathered:
    """Elements along the axis that may be blocked, chosen by their indices."""

    dtype: DType = FLOAT32

    def region(self, rng: np.random.Generator) -> Region:
        x = input_value("x", TensorType(self.dtype, (3, 2, 5)))
        return region_of([apply(GatherElements(0), x, input_value("i", TensorType(INT64, (2, 2, 5))))])


@dataclass(frozen=True)
class Quantised:
    """An image becomes bytes."""

    shape: tuple[Dim, ...]

    def region(self, rng: np.random.Generator) -> Region:
        x = input_value("x", TensorType(FLOAT32, self.shape))
        return region_of([apply(Quantize(UINT8), x, constant(np.float32(0.02)), constant(np.uint8(100)))])


TO_LAST, TO_FIRST = Transpose((0, 2, 3, 1)), Transpose((0, 3, 1, 2))
MOVES = {
    "whole-blocks": Moved((2, 32, 8, 4), (Identity(),)),
    "three-channels": Moved((1, 3, 9, 11), (Identity(),)),
    "odd-channels": Moved((2, 20, 5, 7), (Identity(),), bias=True),
    "few-pixels": Moved((1, 33, 1, 2), (Relu(),)),
    "line": Moved((3, 17, 19), (Identity(), Relu())),
    "volume": Moved((1, 18, 2, 3, 5), (Identity(),)),
    "batch": Moved((BATCH, 20, 6, 7), (Relu(),), bias=True),
    "channels-last": Moved((2, 20, 5, 7), (TO_LAST, Relu())),
    "channels-first": Moved((2, 5, 7, 32), (TO_FIRST, Relu())),
    "image-to-last": Moved((2, 3, 9, 13), (TO_LAST, Relu())),
    "image-to-first": Moved((2, 9, 13, 3), (TO_FIRST, Relu()), bias=True),
    "pairs-to-last": Moved((BATCH, 2, 5, 8), (TO_LAST, Relu())),
    "quads-to-first": Moved((BATCH, 3, 5, 4), (TO_FIRST,)),
    "three-columns": Moved((37, 3), (Transpose((1, 0)),)),
    "three-rows": Moved((3, 48), (Transpose((1, 0)), Relu())),
    "middle-three": Moved((2, 3, 4, 17), (Transpose((0, 3, 2, 1)),)),
    "matrix": Moved((33, 18), (Transpose((1, 0)),)),
    "middle": Moved((3, 19, 4, 17), (Transpose((0, 3, 2, 1)),)),
    "tiled-channels": Moved((1, 4, 5, 5, 2), (Tile((1, 3, 1, 1, 1)),)),
    "gathered": Gathered(),
}

BYTES = {
    "three-channels": Quantised((1, 3, 9, 11)),
    "batch": Quantised((BATCH, 20, 6, 7)),
    "odd-channels": Moved((2, 20, 5, 7), (Identity(),), dtype=UINT8),
    "signed": Moved((1, 33, 8, 4), (Identity(),), dtype=INT8),
    "channels-last": Moved((2, 20, 5, 7), (TO_LAST, Relu()), dtype=UINT8),
    "image-to-first": Moved((2, 9, 13, 3), (TO_FIRST, Relu()), dtype=UINT8),
}

EXAMPLES = (
    *(BytesExample(f"bytes-moves-{name}", moved) for name, moved in BYTES.items()),
    *examples("move", MOVES),
)
