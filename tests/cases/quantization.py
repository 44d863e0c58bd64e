"""Quantised tensors: one scale or several, with and without zero points, at both ends of the range."""

from __future__ import annotations

import numpy as np

from cases.case import Case, Fixed, Operand, f32
from tensorwright.ops.quantization import Dequantize, Quantize
from tensorwright.tensor.dtype import INT8, INT16, INT32, UINT8, UINT16

SCALE = Fixed(np.float32(0.03))
SCALES = Fixed(np.linspace(0.01, 0.2, 7, dtype=np.float32))
HALVES = Fixed(np.arange(-40, 40, dtype=np.float32) / 2)

CASES = [
    *(
        Case(f"{dtype}", Dequantize(), (Operand(dtype, (5, 7), low, 200), SCALE))
        for dtype, low in ((UINT8, 0), (UINT16, 0), (INT16, -200), (INT32, -200))
    ),
    Case("zero", Dequantize(), (Operand(UINT8, (5, 7), 0, 256), SCALE, Fixed(np.uint8(131)))),
    Case("per-column", Dequantize(), (Operand(INT8, (5, 7), -128, 128), SCALES, Operand(INT8, (7,), -9, 9))),
    Case("sums", Dequantize(), (Operand(INT32, (5, 7), -9000, 9000), SCALES, Operand(INT32, (7,), -999, 999))),
    *(
        Case(f"to-{dtype}", Quantize(dtype), (f32(5, 7, low=-9, high=9), SCALE, Fixed(np.asarray(3, dtype.numpy))), 0)
        for dtype in (UINT8, INT8, UINT16, INT16)
    ),
    Case("halves", Quantize(INT8), (HALVES, Fixed(np.float32(1.0))), 0),
    Case("several-scales", Quantize(UINT8), (f32(5, 7, low=-9, high=9), SCALES), 0),
]
