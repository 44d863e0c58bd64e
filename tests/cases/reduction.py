"""Reductions over leading, middle, trailing and all axes; arguments of extremes with ties; running sums."""

from __future__ import annotations

import numpy as np

from cases.case import Case, Fixed, Operand, f32
from tensorwright.ops.reduction import ArgReduction, CumulativeSum, Reduction
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BFLOAT16, BOOL, FLOAT16, INT32, INT64, UINT8

BATCH = symbol("batch", 1, 2, 4)
LENGTH = symbol("length", 1, 5, 20)
VALUES = {"batch": 3, "length": 7}
EVERY = ("add", "mean", "max", "min", "mul", "l1", "l2", "sum_square", "log_sum_exp")
TIES = np.array([[1, 3, 3, 0], [2, 2, 2, 2], [0, 0, -1, -1]], dtype=np.float32)

CASES = (
    *(Case(f"{f}-last", Reduction(f, (2,)), (f32(3, 5, 17),)) for f in EVERY),
    *(Case(f"{f}-spatial", Reduction(f, (2, 3), keep_dims=False), (f32(2, 17, 3, 4),)) for f in EVERY),
    *(Case(f"{f}-first", Reduction(f, (0,)), (f32(7, 20),)) for f in ("add", "mean", "max")),
    *(Case(f"{f}-all", Reduction(f, (0, 1, 2), keep_dims=False), (f32(3, 4, 5),)) for f in ("add", "l2", "min")),
    Case("log-sum", Reduction("log_sum", (1,)), (f32(3, 17, low=0.1, high=3),)),
    Case("log-sum-exp-far", Reduction("log_sum_exp", (1,)), (f32(3, 17, low=-500, high=500),)),
    Case("none", Reduction("add", ()), (f32(3, 5),)),
    Case("unit-axis", Reduction("mean", (1,)), (f32(3, 1, 5),)),
    Case("gap", Reduction("add", (0, 2), keep_dims=False), (f32(3, 4, 5, 2),)),
    Case("max-int", Reduction("max", (1,)), (Operand(INT32, (3, 7), -50, 50),)),
    Case("mean-int", Reduction("mean", (1,)), (Operand(INT64, (5, 4), -9, 9),)),
    Case("min-uint8", Reduction("min", (0,)), (Operand(UINT8, (5, 7), 0, 200),)),
    Case("max-bool", Reduction("max", (1,), keep_dims=False), (Operand(BOOL, (5, 3)),)),
    Case("mean-symbolic", Reduction("mean", (1,)), (f32(BATCH, LENGTH, 3),), symbols=VALUES),
    Case("max-symbolic", Reduction("max", (1,), keep_dims=False), (f32(BATCH, LENGTH, 3),), symbols=VALUES),
    Case("mean-float16", Reduction("mean", (1,)), (Operand(FLOAT16, (3, 37)),)),
    Case("add-bfloat16", Reduction("add", (1,)), (Operand(BFLOAT16, (3, 37)),)),
    Case("arg-max", ArgReduction("max", 1), (f32(3, 17, 4),)),
    Case("arg-min", ArgReduction("min", 0, keep_dims=False), (f32(7, 5),)),
    Case("arg-max-ties", ArgReduction("max", 1, keep_dims=False), (Fixed(TIES),)),
    Case("arg-min-ties", ArgReduction("min", 1), (Fixed(TIES),)),
    Case("arg-max-last", ArgReduction("max", 1, select_last=True), (Fixed(TIES),)),
    Case("arg-min-last", ArgReduction("min", 1, keep_dims=False, select_last=True), (Fixed(TIES),)),
    Case("arg-max-int", ArgReduction("max", 0), (Operand(INT32, (9, 3), -3, 4),)),
    Case("arg-max-unit", ArgReduction("max", 1), (f32(3, 1),)),
    Case("arg-max-symbolic", ArgReduction("max", 1), (f32(BATCH, LENGTH),), symbols=VALUES),
    Case("sum", CumulativeSum(1), (f32(3, 17),)),
    Case("sum-exclusive", CumulativeSum(0, exclusive=True), (f32(7, 3),)),
    Case("sum-reverse", CumulativeSum(1, reverse=True), (f32(2, 7, 3),)),
    Case("sum-both", CumulativeSum(2, exclusive=True, reverse=True), (f32(2, 3, 7),)),
    Case("sum-int", CumulativeSum(0), (Operand(INT32, (9,), -9, 9),)),
    Case("sum-symbolic", CumulativeSum(1), (f32(BATCH, LENGTH),), symbols=VALUES),
)
