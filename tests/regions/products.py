"""Matrix products: linear layers, batches, transposed factors, extents around the tiles, symbolic rows and lengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regions.example import BytesExample, Example, examples
from regions.following import followed, weights
from tensorwright.graph.graph import apply, constant_value, input_value
from tensorwright.graph.region import Region
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import FLOAT32, UINT8, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

BATCH = symbol("batch", 1, 3, 40)
ROWS = symbol("batch", 1, 70, 300)
SEQUENCES = symbol("batch", 1, 4, 20)
LENGTH = symbol("length", 1, 24, 133)
EVERYTHING = "half columns gelu add relu"


@dataclass(frozen=True)
class Product:
    """A product and what follows it, in words; see `following`."""

    a: tuple[Dim, ...]
    b: tuple[Dim, ...]
    constant: bool = False
    transpose_a: bool = False
    transpose_b: bool = False
    tail: str = ""
    dtype: DType = FLOAT32

    def region(self, rng: np.random.Generator) -> Region:
        a = input_value("a", TensorType(self.dtype, self.a))
        b = weights(rng, self.dtype, *self.b) if self.constant else input_value("b", TensorType(self.dtype, self.b))
        return followed(apply(MatMul(self.transpose_a, self.transpose_b), a, b), self.tail, rng)


def linear(a: tuple[Dim, ...], columns: int, tail: str = "", dtype: DType = FLOAT32) -> Product:
    """A constant right factor, row-major."""
    return Product(a, (a[-1], columns), constant=True, tail=tail, dtype=dtype)


LINEAR = {
    "smallest": linear((1, 1), 2),
    "one-row": linear((1, 37), 20, "columns relu"),
    "few-columns": linear((1, 50), 10, "columns"),
    "one-inner": linear((3, 1), 16),
    "rows-and-columns": linear((2, 19, 33), 197, EVERYTHING),
    "whole-tiles": linear((48, 64), 192, "add columns"),
    "many-rows": linear((600, 5), 40, "columns"),
    "rows-differ": linear((3, 7, 12), 40, "rows columns"),
    "transposed": Product((1, 19, 24), (70, 24), constant=True, transpose_b=True, tail="columns"),
    "both-transposed": Product((1, 24, 19), (1, 70, 24), True, True, True, "columns"),
    "transposed-row": Product((1, 64), (500, 64), constant=True, transpose_b=True, tail="columns"),
    "batch": linear((BATCH, 20), 50, "columns relu add"),
    "batch-of-rows": linear((BATCH, 17, 20), 50, "rows columns"),
    "batch-of-few-rows": linear((BATCH, 2, 20), 50, "rows add"),
}

BATCHED = {
    "matrices": Product((19, 33), (33, 40), tail=EVERYTHING),
    "transposed-matrices": Product((19, 33), (197, 33), transpose_b=True, tail=EVERYTHING),
    "both-transposed": Product((33, 19), (37, 33), transpose_a=True, transpose_b=True),
    "scores": Product((2, 3, 21, 64), (2, 3, 21, 64), transpose_b=True, tail="half rows"),
    "values": Product((2, 3, 21, 21), (2, 3, 21, 64), tail="add"),
    "values-of-odd-width": Product((3, 21, 21), (3, 21, 20)),
    "rows-of-odd-depth": Product((3, 4, 77), (3, 17, 77), transpose_b=True, tail=EVERYTHING),
    "long-rows": Product((2, 1, 1, 200), (2, 3, 9, 200), transpose_b=True),
    "shared-rows": Product((BATCH, 3, 33), (70, 33), transpose_b=True, tail="rows add"),
    "short-depth": Product((3, 5, 3), (3, 9, 3), transpose_b=True),
    "batches-broadcast": Product((2, 1, 7, 20), (3, 20, 24), tail="add"),
    "one-left": Product((7, 20), (3, 20, 24)),
    "constant-right-per-batch": Product((3, 7, 20), (3, 20, 24), constant=True),
    "shared-right": Product((BATCH, 7, 20), (1, 20, 40), tail="rows"),
    "batch": Product((BATCH, 3, 9, 20), (BATCH, 3, 17, 20), transpose_b=True, tail="half"),
    "unknown-scores": Product((2, 2, LENGTH, 20), (2, 2, LENGTH, 20), transpose_b=True, tail="half"),
    "unknown-values": Product((SEQUENCES, 2, LENGTH, LENGTH), (SEQUENCES, 2, LENGTH, 32)),
    "unknown-columns": Product((2, 7, 20), (2, 20, LENGTH), tail="add"),
    "unknown-rows": Product((2, BATCH, 20), (2, 20, 32), tail="add"),
}

LARGE = {
    "even": linear((64, 64), 128, "columns"),
    "odd": linear((67, 71), 197, EVERYTHING),
    "odd-vectors": linear((2, 41, 96), 80, "rows add"),
    "blocks": linear((1, 531, 64), 64, "columns"),
    "transposed": Product((70, 66), (150, 66), constant=True, transpose_b=True, tail="add"),
    "batch-of-rows": linear((SEQUENCES, 17, 64), 130, "rows add"),
    "layer": linear((65, 768), 200, "columns"),
}
"""Large enough for products by fewer multiplications, whose thresholds the tests lower: all but the last one."""


@dataclass(frozen=True)
class Bytes:
    """Bytes times a constant of signed ones, without what follows: sums are integers."""

    a: tuple[Dim, ...]
    columns: int
    transpose_b: bool = False
    left: DType = UINT8

    def region(self, rng: np.random.Generator) -> Region:
        shape = (self.columns, self.a[-1]) if self.transpose_b else (self.a[-1], self.columns)
        right = constant_value(weights_of(rng.integers(-128, 128, shape).astype(np.int8)))
        left = input_value("a", TensorType(self.left, self.a))
        return followed(apply(MatMul(False, self.transpose_b), left, right), "", rng)


BYTES = {
    "whole": Bytes((6, 64), 48),
    "tails": Bytes((3, 6, 20), 37),
    "transposed": Bytes((6, 12), 19, transpose_b=True),
    "not-in-fours": Bytes((6, 7), 18),
    "batch": Bytes((BATCH, 2, 24), 70),
}
LARGE_SIZES = tuple({"batch": rows} for rows in (1, 2, 75, 300))

EXAMPLES = (
    *examples("linear", LINEAR),
    *examples("batched", BATCHED),
    *examples("large", LARGE),
    Example("large-batch", linear((ROWS, 65), 70, "columns relu"), LARGE_SIZES),
    *(BytesExample(f"bytes-{name}", product) for name, product in BYTES.items()),
)
