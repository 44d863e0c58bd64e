"""Pooling: windows that overlap, are cut by padding, reach over the end or are larger than the image; in all modes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from regions.example import BytesExample, Example, examples
from regions.following import followed
from tensorwright.graph.graph import apply, input_value
from tensorwright.graph.region import Region
from tensorwright.ops.pooling import Pool
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import FLOAT32, INT8, UINT8, DType
from tensorwright.tensor.type import TensorType

BATCH = symbol("batch", 1, 2, 5)
Ints = tuple[int, ...]


@dataclass(frozen=True)
class Pooling:
    """A pooling of an input, and what follows, in words: see `following`."""

    x: tuple[Dim, ...]
    window: Ints
    strides: Ints = (1, 1)
    begin: Ints = (0, 0)
    end: Ints | None = None
    dilations: Ints = (1, 1)
    ceil: bool = False
    tail: str = ""
    mode: Literal["max", "average", "lp"] = "max"
    include: bool = False
    dtype: DType = FLOAT32

    def region(self, rng: np.random.Generator) -> Region:
        end = self.begin if self.end is None else self.end
        op = Pool(self.mode, self.window, self.strides, self.begin, end, self.dilations, self.ceil, self.include)
        return followed(apply(op, input_value("x", TensorType(self.dtype, self.x))), self.tail, rng)


MAXIMA = {
    "2x2": Pooling((1, 20, 12, 38), (2, 2), (2, 2)),
    "3x3": Pooling((BATCH, 17, 5, 35), (3, 3), (2, 2), (1, 1), tail="relu"),
    "3x3-even": Pooling((2, 16, 8, 66), (3, 3), (2, 2), (1, 1)),
    "3x3-dense": Pooling((1, 18, 3, 20), (3, 3), (1, 1), (1, 1), tail="add relu"),
    "5x5-narrow": Pooling((1, 5, 6, 4), (5, 5), (1, 1), (2, 2)),
    "ceil": Pooling((2, 3, 8, 37), (3, 3), (2, 2), ceil=True),
    "ceil-padded": Pooling((1, 18, 6, 39), (3, 3), (2, 2), (1, 1), (0, 1), ceil=True),
    "ceil-sparse": Pooling((1, 16, 5, 7), (2, 2), (3, 3), (1, 0), (1, 1), ceil=True),
    "ceil-dilated": Pooling((1, 4, 9, 20), (2, 3), (2, 1), (1, 2), (1, 3), (3, 2), ceil=True),
    "lopsided": Pooling((1, 3, 5, 21), (2, 3), (1, 2), (1, 0), (0, 2), tail="row"),
    "far-padding": Pooling((1, 4, 3, 24), (3, 3), (1, 1), (2, 24), (2, 24), (2, 24)),
    "wide-stride": Pooling((1, 6, 11, 70), (4, 3), (3, 4), (0, 1)),
    "too-wide-stride": Pooling((1, 6, 11, 40), (3, 3), (5, 5)),
    "global": Pooling((BATCH, 20, 7, 7), (7, 7)),
    "tall": Pooling((1, 3, 20, 18), (9, 2), (4, 1), (3, 1)),
    "many-rows": Pooling((1, 3, 10, 18), (9, 3), (1, 1), (4, 1), tail="relu"),
    "deep": Pooling((1, 3, 4, 9, 6), (3, 8, 2), (1, 1, 2), (1, 4, 1), (1, 3, 1), (1, 1, 1)),
    "line": Pooling((3, 9, 41), (3,), (2,), (1,), (0,), (1,)),
    "volume": Pooling((1, 5, 4, 5, 18), (2, 3, 2), (1, 2, 1), (1, 1, 0), (0, 1, 1), (1, 1, 2), tail="relu"),
    "far-window": Pooling((1, 18, 3, 7), (20, 9), (20, 9), ceil=True),
    "far-window-padded": Pooling((1, 4, 5, 20), (30, 14), (2, 2), (14, 6), (15, 5)),
    "point": Pooling((2, 16, 5, 5), (1, 1), (2, 2)),
}
AVERAGES = {name: replace(maximum, mode="average") for name, maximum in MAXIMA.items()}
COUNTING_PADDING = {
    name: replace(AVERAGES[name], include=True)
    for name in ("3x3-even", "ceil-padded", "ceil-dilated", "far-padding", "far-window-padded", "many-rows", "deep")
}
NESTS = {
    "average-by-four": Pooling((1, 3, 18, 75), (3, 3), (4, 4), mode="average"),
    "padding-everywhere": Pooling((1, 16, 2, 3), (3, 3), (1, 1), (2, 2)),
}

BYTES = {
    "3x3": Pooling((BATCH, 17, 5, 35), (3, 3), (2, 2), (1, 1), dtype=UINT8),
    "ceil": Pooling((1, 20, 6, 39), (3, 3), (2, 2), (1, 1), (0, 1), ceil=True, dtype=UINT8),
    "signed": Pooling((1, 6, 9, 20), (2, 3), (2, 1), (1, 2), (1, 3), (3, 2), dtype=INT8),
}
TO_BYTES = {
    "max": Pooling((2, 16, 8, 66), (3, 3), (2, 2), (1, 1), tail="relu bytes"),
    "average": Pooling((1, 17, 6, 9), (2, 2), (2, 2), mode="average", tail="bytes"),
}

EXAMPLES = (
    *(BytesExample(f"bytes-pooling-{name}", pooling) for name, pooling in BYTES.items()),
    *(Example(f"pooling-to-bytes-{name}", pooling) for name, pooling in TO_BYTES.items()),
    *examples("max", MAXIMA),
    *examples("average", AVERAGES),
    *examples("average-of-all", COUNTING_PADDING),
    *examples("pooling", NESTS),
)
