"""Products by constant weights of a few bits: bits, blocks, zero points, rows and columns around tiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regions.example import examples
from regions.following import followed
from tensorwright.graph.graph import apply, constant_value, input_value
from tensorwright.graph.region import Region
from tensorwright.ops.blocks import BlockMatMul
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

ROWS = symbol("rows", 1, 2, 9)


@dataclass(frozen=True)
class Weights:
    """Activations of a shape times weights of so many columns."""

    a: tuple[Dim, ...]
    columns: int
    bits: int = 4
    block: int = 32
    zeros: bool = False
    tail: str = ""

    def region(self, rng: np.random.Generator) -> Region:
        depth = self.a[-1]
        assert isinstance(depth, int)
        shape = (self.columns, -(-depth // self.block))
        arrays = [
            rng.integers(0, 256, (self.columns, depth * self.bits // 8)).astype(np.uint8),
            rng.uniform(0.01, 0.1, shape).astype(np.float32),
        ]
        if self.zeros:
            arrays.append(rng.integers(0, 1 << self.bits, shape).astype(np.uint8))
        constants = [constant_value(weights_of(array)) for array in arrays]
        x = input_value("a", TensorType(FLOAT32, self.a))
        return followed(apply(BlockMatMul(self.bits, self.block), x, *constants), self.tail, rng)


EXAMPLES = examples(
    "weight-blocks",
    {
        "one-row": Weights((1, 64), 70, tail="columns"),
        "zeros": Weights((1, 96), 64, zeros=True, tail="columns relu"),
        "rows": Weights((6, 64), 37, tail="rows add"),
        "open-rows": Weights((ROWS, 40), 33, block=16, zeros=True),
        "open-batch": Weights((ROWS, 3, 32), 20, tail="add"),
        "short-last-block": Weights((2, 72), 17, block=32),
        "eight-bits": Weights((3, 44), 50, bits=8, block=16, zeros=True, tail="columns"),
        "eight-bits-one-block": Weights((1, 64), 20, bits=8, block=64),
        "two-bits": Weights((2, 64), 20, bits=2, block=32),
        "not-in-words": Weights((2, 12), 20, block=4),
    },
)
