"""Normalisations over last, middle and several axes, with and without bias."""

from __future__ import annotations

import numpy as np

from cases.case import Case, Fixed, Operand, f32
from tensorwright.ops.normalization import (
    BatchNormalization,
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    LocalResponseNormalization,
    LogSoftmax,
    LpNormalization,
    RmsNormalization,
    Softmax,
)
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16

BATCH = symbol("batch", 1, 2, 4)
LENGTH = symbol("length", 1, 5, 20)
VALUES = {"batch": 3, "length": 7}
POSITIVE = {"low": 0.1, "high": 2.0}
WITH_ZEROS = np.array([[0, 0, 0], [3, 0, -4], [1, 2, 2]], dtype=np.float32)

CASES = (
    Case("last", Softmax(1), (f32(3, 17),)),
    Case("middle", Softmax(1), (f32(2, 5, 3),)),
    Case("first", Softmax(0), (f32(20, 3),)),
    Case("far", Softmax(1), (f32(3, 37, low=-300, high=300),)),
    Case("one", Softmax(1), (f32(3, 1),)),
    Case("attention", Softmax(3), (f32(BATCH, 2, LENGTH, LENGTH),), symbols=VALUES),
    Case("float16", Softmax(1), (Operand(FLOAT16, (3, 17)),)),
    Case("bfloat16", Softmax(1), (Operand(BFLOAT16, (3, 17)),)),
    Case("last", LogSoftmax(1), (f32(3, 17),)),
    Case("middle", LogSoftmax(1), (f32(2, 5, 3),)),
    Case("symbolic", LogSoftmax(1), (f32(BATCH, LENGTH),), symbols=VALUES),
    Case("last", LayerNormalization(2), (f32(2, 3, 20), f32(20), f32(20))),
    Case("no-bias", LayerNormalization(1), (f32(3, 17), f32(17))),
    Case("two-axes", LayerNormalization(1, 1e-3), (f32(3, 4, 5), f32(4, 5), f32(5))),
    Case("shifted", LayerNormalization(1), (f32(3, 33, low=100, high=101), f32(33), f32(33)), tolerance=1e-3),
    Case("symbolic", LayerNormalization(2), (f32(BATCH, LENGTH, 16), f32(16), f32(16)), symbols=VALUES),
    Case("symbolic-axis", LayerNormalization(1), (f32(BATCH, LENGTH), f32(1), f32(1)), symbols=VALUES),
    Case("float16", LayerNormalization(1), (Operand(FLOAT16, (3, 37)), *[Operand(FLOAT16, (37,))] * 2)),
    Case("last", RmsNormalization(2), (f32(2, 3, 20), f32(20))),
    Case("symbolic", RmsNormalization(1), (f32(BATCH, 17), f32(17)), symbols=VALUES),
    Case("image", BatchNormalization(1e-3), (f32(2, 17, 3, 4), f32(17), f32(17), f32(17), f32(17, **POSITIVE))),
    Case("rows", BatchNormalization(), (f32(5, 20), f32(20), f32(20), f32(20), f32(20, **POSITIVE))),
    Case(
        "symbolic", BatchNormalization(), (f32(BATCH, 3, 5, 5), f32(3), f32(3), f32(3), f32(3, **POSITIVE)),
        symbols=VALUES,
    ),
    Case("image", InstanceNormalization(1e-3), (f32(2, 17, 3, 4), f32(17), f32(17))),
    Case("1d", InstanceNormalization(), (f32(2, 3, 9), f32(3), f32(3))),
    Case("symbolic", InstanceNormalization(), (f32(BATCH, 3, LENGTH, 4), f32(3), f32(3)), symbols=VALUES),
    Case("four", GroupNormalization(4), (f32(2, 20, 3, 4), f32(20), f32(20))),
    Case("one", GroupNormalization(1, 1e-3), (f32(2, 3, 5), f32(3), f32(3))),
    Case("each", GroupNormalization(17), (f32(1, 17, 3, 3), f32(17), f32(17))),
    Case("symbolic", GroupNormalization(2), (f32(BATCH, 6, LENGTH), f32(6), f32(6)), symbols=VALUES),
    Case("5", LocalResponseNormalization(5, 0.3, 0.75, 2.0), (f32(2, 17, 3, 4),)),
    Case("4", LocalResponseNormalization(4, 0.5, 0.6, 1.0), (f32(1, 16, 5, 2),)),
    Case("wide", LocalResponseNormalization(9, 0.5, 0.5, 1.0), (f32(1, 3, 2, 2),)),
    Case("far", LocalResponseNormalization(1 << 40, 0.5, 0.5, 1.0), (f32(1, 3, 2, 2),)),
    Case("plain", LocalResponseNormalization(3, 0.5, 1.0, 1.0), (f32(2, 20, 1, 3),)),
    Case("symbolic", LocalResponseNormalization(5, 0.1), (f32(BATCH, 20, 3, 3),), symbols=VALUES),
    Case("l1", LpNormalization(1, 1), (f32(3, 17, 2),)),
    Case("l2", LpNormalization(2), (f32(2, 3, 17),)),
    Case("zeros", LpNormalization(1), (Fixed(WITH_ZEROS),)),
)  # fmt: skip
