"""Reductions that need care: of blocked maps, and along the lanes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regions.example import examples
from regions.following import followed
from tensorwright.graph.graph import apply, input_value
from tensorwright.graph.region import Region
from tensorwright.ops.reduction import Reduction
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import FLOAT32, DType
from tensorwright.tensor.type import TensorType

BATCH = symbol("batch", 1, 2, 5)


@dataclass(frozen=True)
class Reduced:
    op: Reduction
    shape: tuple[Dim, ...]
    tail: str = ""
    dtype: DType = FLOAT32

    def region(self, rng: np.random.Generator) -> Region:
        return followed(apply(self.op, input_value("x", TensorType(self.dtype, self.shape))), self.tail, rng)


REDUCTIONS = {
    "mean-of-maps": Reduced(Reduction("mean", (2, 3), True), (2, 32, 5, 7)),
    "mean-of-maps-without-axes": Reduced(Reduction("mean", (2, 3), False), (BATCH, 48, 3, 3)),
    "mean-of-odd-maps": Reduced(Reduction("mean", (2, 3), True), (2, 20, 5, 7), "relu"),
    "along-lanes": Reduced(Reduction("sum_square", (2,), False), (BATCH, 3, 37)),
    "along-few-lanes": Reduced(Reduction("max", (1,), True), (5, 9), "half"),
}

EXAMPLES = examples("reduction", REDUCTIONS)
