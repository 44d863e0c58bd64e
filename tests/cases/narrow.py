"""Bits read as another type; small floating-point formats: their numbers, what lies between, and what lies beyond."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from cases.case import Case, Fixed, Operand, f32
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import BitCast
from tensorwright.ops.float8 import Float8Product, ToFloat8
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.narrow import SMALL_FLOATS, NarrowFloat
from tensorwright.tensor.dtype import FLOAT32, FLOAT64, INT32, INT64, UINT32


def around(format: str) -> np.ndarray:
    """The numbers of a format, the halves between neighbours, and the float32 next to each of these."""
    dtype = np.dtype(getattr(ml_dtypes, format))
    codes = np.arange(256 if "8" in format else 16, dtype=np.uint8).view(dtype).astype(np.float32)
    numbers = np.unique(codes[np.isfinite(codes)])
    exact = np.concatenate([numbers, (numbers[1:] + numbers[:-1]) / 2])
    near = [exact, np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(-np.inf))]
    return np.concatenate([*near, np.float32([-0.0, 1e6, -1e30, np.inf, -np.inf, np.nan, 1e-30, 1e-44])])


ALL_BYTES = np.arange(256, dtype=np.uint8)
ALL_NUMBERS = ALL_BYTES[(ALL_BYTES & 127) != 127][:, None]

CASES = [
    Case("to-bytes", ToFloat8(), (Fixed(around("float8_e4m3fn")),), 0),
    Case("bytes-by-one", Float8Product(MatMul()), (Fixed(ALL_NUMBERS), Fixed(np.uint8([[0x38]]))), 0),
    Case(
        "bytes-by-bytes",
        Float8Product(MatMul()),
        (Fixed(ALL_BYTES[:40].reshape(5, 8)), Fixed(ALL_BYTES[64:88].reshape(8, 3))),
    ),
    Case(
        "convolution-of-bytes",
        Float8Product(Convolution((1, 1), (1, 1), (1, 0), (1, 1))),
        (Fixed(ALL_BYTES[:60].reshape(1, 3, 4, 5)), Fixed(ALL_BYTES[130:166].reshape(3, 3, 2, 2))),
    ),
    *(Case(f"{f}-{s}", NarrowFloat(f, s), (Fixed(around(f)),), 0) for f in SMALL_FLOATS for s in (True, False)),
    Case("float", BitCast(INT32, FLOAT32), (Operand(INT32, (5, 7), 0, 1 << 30),), 0),
    Case("double", BitCast(FLOAT64, INT64), (Operand(FLOAT64, (5, 7)),), 0),
    Case("unsigned", BitCast(FLOAT32, UINT32), (f32(3, 9),), 0),
    Case("matrix", NarrowFloat("float8_e4m3fn"), (f32(5, 7, low=-500, high=500),), 0),
]
