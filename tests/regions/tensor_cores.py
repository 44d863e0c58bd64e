"""Products and convolutions of the extents and types that tensor cores need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cases.case import Array
from regions.convolutions import BytesWindow, Window
from regions.example import BytesExample, Example, Spec, Symbols
from regions.following import constant, followed
from regions.products import Bytes, Product, linear
from tensorwright.graph.graph import apply, input_value, is_constant
from tensorwright.graph.region import Region
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.float8 import Float8Product, encoded
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, INT8, UINT8
from tensorwright.tensor.type import TensorType

BATCH = symbol("batch", 1, 2, 5)
MANY = symbol("batch", 1, 20, 24)

REGIONS: Mapping[str, Spec] = {
    "product": linear((128, 768), 768, "columns", FLOAT16),
    "product-few-rows": linear((3, 64), 96, "columns gelu", FLOAT16),
    "product-one-row": linear((1, 2048), 1000, "columns", FLOAT16),
    "product-batches": linear((2, 5, 40), 24, "columns add relu", FLOAT16),
    "product-symbolic": Product((BATCH, 7, 96), (64, 96), True, False, True, "columns add", FLOAT16),
    "product-symbolic-rows": Product((MANY, 7, 40), (32, 40), True, False, True, "columns", FLOAT16),
    "product-bfloat16": linear((33, 72), 40, "relu", BFLOAT16),
    "pointwise": Window((1, 64, 14, 14), 128, (1, 1), tail="bias add relu", dtype=FLOAT16),
    "pointwise-stride": Window((2, 64, 9, 7), 40, (1, 1), (2, 2), dtype=FLOAT16),
    "window": Window((1, 64, 14, 13), 64, (3, 3), begin=(1, 1), tail="bias relu", dtype=FLOAT16),
    "window-stride": Window((1, 24, 13, 10), 40, (3, 3), (2, 2), (1, 1), tail="bias add relu", dtype=FLOAT16),
    "window-uneven": Window((2, 40, 9, 8), 96, (3, 2), begin=(1, 1), end=(0, 0), tail="bias image", dtype=FLOAT16),
    "window-dilated": Window((1, 32, 12, 12), 32, (3, 3), begin=(2, 2), dilations=(2, 2), tail="", dtype=FLOAT16),
    "window-depth": Window((1, 256, 7, 7), 64, (3, 3), begin=(1, 1), dtype=FLOAT16),
    "window-symbolic": Window((BATCH, 32, 6, 6), 32, (3, 3), begin=(1, 1), tail="bias add", dtype=FLOAT16),
    "one-axis": Window((1, 48, 30), 64, (5,), (2,), (2,), None, (1,), dtype=FLOAT16),
    "three-axes": Window((1, 16, 4, 5, 6), 32, (3,) * 3, (1,) * 3, (1,) * 3, None, (1,) * 3, dtype=FLOAT16),
    "window-bfloat16": Window((1, 32, 8, 8), 32, (3, 3), begin=(1, 1), dtype=BFLOAT16),
}

TILED_REGIONS: Mapping[str, Spec] = {
    **REGIONS,
    "product-float32": linear((130, 100), 104, "columns gelu"),
    "product-float32-deep": Product((20, 520), (64, 520), constant=True, transpose_b=True, tail="columns"),
    "window-float32": Window((2, 36, 9, 11), 72, (3, 3), (2, 2), (1, 1), tail="bias add relu"),
    "two-float32": Product((2, 3, 70, 36), (2, 3, 36, 40)),
    "two-transposed-float32": Product((2, 3, 33, 68), (3, 72, 68), transpose_b=True, tail="relu"),
    "two-shared-float32": Product((BATCH, 1, 20, 64), (2, 64, 32), tail="columns"),
    "two-transposed": Product((BATCH, 66, 72), (BATCH, 136, 72), transpose_b=True, tail="add", dtype=FLOAT16),
    "two-matrices": Product((BATCH * 5, 64), (64, 64), transpose_b=True, dtype=FLOAT16),
    "pointwise-float32": Window((1, 64, 8, 9), 128, (1, 1), tail="bias relu"),
}
"""With float32, which fragments are not for."""


@dataclass(frozen=True)
class Float8:
    """A product, or convolution, of bytes that stand for numbers by a constant of such, and what follows, in words."""

    op: MatMul | Convolution
    x: tuple[Dim, ...]
    right: tuple[int, ...]
    tail: str = ""

    def region(self, rng: np.random.Generator) -> Region:
        right = constant(encoded(rng.uniform(-0.2, 1, self.right).astype(np.float32)))
        total = apply(Float8Product(self.op), input_value("x", TensorType(UINT8, self.x)), right)
        return followed(total, self.tail, rng)


class Float8Example(Example):
    """Bytes of numbers between 0 and 2, whose sums grow."""

    def inputs(self, region: Region, symbols: Symbols, rng: np.random.Generator) -> list[Array]:
        drawn = super().inputs(region, symbols, rng)
        return [
            encoded(rng.uniform(0, 2, array.shape).astype(np.float32))
            if array.dtype == np.uint8 and not is_constant(value)
            else array
            for value, array in zip(region.inputs, drawn, strict=True)
        ]


BYTES: Mapping[str, Spec] = {
    "bytes-product": Bytes((130, 272), 104),
    "bytes-product-signed": Bytes((BATCH, 9, 80), 64, transpose_b=True, left=INT8),
    "bytes-window": BytesWindow((1, 72, 9, 8), 96, (3, 3), (2, 2), (1, 1), tail="residual relu bytes"),
    "bytes-window-signed": BytesWindow((2, 160, 5, 6), 40, (1, 1), left=INT8),
    "float8-product": Float8(MatMul(), (130, 272), (272, 104), "columns"),
    "float8-product-deep": Float8(MatMul(), (8, 4096), (4096, 32)),
    "float8-product-batch": Float8(MatMul(), (BATCH, 9, 80), (80, 64), "columns gelu"),
    "float8-window": Float8(
        Convolution((2, 2), (1, 1), (1, 1), (1, 1)), (1, 80, 9, 8), (96, 80, 3, 3), "scale relu float8"
    ),
    "float8-pointwise": Float8(Convolution((1, 1), (0, 0), (0, 0), (1, 1)), (2, 64, 5, 6), (40, 64, 1, 1), "add"),
}
"""Of every channel count, since what lies behind the last one is multiplied by 0."""

EXAMPLES = (
    *(Example(f"tensor-cores-{name}", spec) for name, spec in TILED_REGIONS.items()),
    *(
        (Float8Example if "float8" in name else BytesExample)(f"tensor-cores-{name}", spec)
        for name, spec in BYTES.items()
    ),
)
