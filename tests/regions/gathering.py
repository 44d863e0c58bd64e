"""Rows of constant tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regions.example import examples
from regions.following import weights
from tensorwright.graph.graph import Value, apply, input_value
from tensorwright.graph.region import Region, region_of
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.indexing import Gather
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import FLOAT32, INT64, DType
from tensorwright.tensor.type import TensorType

LENGTH = symbol("length", 1, 3, 9)


@dataclass(frozen=True)
class Table:
    """What is looked up in it is doubled."""

    rows: int
    columns: int
    dtype: DType = FLOAT32

    def region(self, rng: np.random.Generator) -> Region:
        return gathered(weights(rng, self.dtype, self.rows, self.columns))


def gathered(table: Value, axis: int = 0) -> Region:
    """Rows of a table, and a sum with themselves."""
    rows = apply(Gather(axis), table, input_value("tokens", TensorType(INT64, (2, LENGTH))))
    return region_of([rows, apply(Binary("add"), rows, rows)])


TABLES = {
    "blocks-and-one": Table(257, 20),
    "blocks": Table(512, 64),
    "odd": Table(900, 33),
    "one-column": Table(1000, 1),
}

EXAMPLES = examples("gathering", TABLES)
