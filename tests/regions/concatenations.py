"""Concatenations of channels whose blocks begin anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regions.example import examples
from regions.following import followed
from tensorwright.graph.graph import apply, input_value
from tensorwright.graph.region import Region
from tensorwright.ops.shape import Concatenation
from tensorwright.tensor.dim import Dim, minimum, symbol
from tensorwright.tensor.dtype import BOOL, FLOAT16, FLOAT32, FLOAT64, INT8, INT64, DType
from tensorwright.tensor.type import TensorType

BATCH, COUNT = symbol("batch", 1, 2, 5), symbol("count", 1, 3, 40)


@dataclass(frozen=True)
class Concatenated:
    """Operands of so many channels, one after another, or one of them several times; what follows, in words."""

    channels: tuple[Dim, ...]
    spatial: tuple[Dim, ...]
    batch: Dim = 1
    tail: str = ""
    axis: int = 1
    times: int = 1
    dtype: DType = FLOAT32

    def region(self, rng: np.random.Generator) -> Region:
        inputs = [
            input_value(f"x{number}", TensorType(self.dtype, (self.batch, count, *self.spatial)))
            for number, count in enumerate(self.channels)
        ]
        return followed(apply(Concatenation(self.axis), *inputs * self.times), self.tail, rng)


CONCATENATIONS = {
    "whole-blocks": Concatenated((32, 16, 48), (7, 9), batch=2),
    "half-blocks": Concatenated((24, 40), (5, 28)),
    "dense-block": Concatenated((64, 12, 12, 12, 12), (4, 14), tail="scale relu"),
    "odd": Concatenated((17, 9, 30), (7, 7), batch=3, tail="add"),
    "many-in-a-block": Concatenated((3, 1, 2, 5, 1, 6), (3, 10)),
    "batch": Concatenated((20, 21), (6, 7), batch=BATCH, tail="scale row relu"),
    "line": Concatenated((5, 40), (19,)),
    "volume": Concatenated((18, 6), (2, 3, 11), tail="relu"),
    "point": Concatenated((100, 28), (1, 1), batch=2),
    "twice": Concatenated((10,), (3, 5), batch=2, times=2),
    "other-axis": Concatenated((8, 8), (4, 4), axis=2),
    "open": Concatenated((COUNT, 5, COUNT + BATCH), (3,), batch=2),
    "open-bytes": Concatenated((minimum(COUNT, 7), 1, COUNT), (70,), dtype=INT8),
    "open-halves": Concatenated((COUNT, 2), (), batch=BATCH, dtype=FLOAT16),
    "open-wide": Concatenated((3, COUNT, COUNT), (500, BATCH)),
    "open-twice": Concatenated((COUNT,), (2, 3), batch=3, times=2, dtype=INT64),
    "open-last": Concatenated((2, 2), (BATCH, COUNT), axis=3, dtype=BOOL),
    "open-first": Concatenated((5, 5, 5), (17,), batch=BATCH, axis=0, dtype=FLOAT64),
    "open-tail": Concatenated((COUNT, 5), (8,), tail="relu"),
}

EXAMPLES = examples("concatenation", CONCATENATIONS)
