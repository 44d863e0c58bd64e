"""Operators with positions in data: negative and repeated indices, ties, every reduction of the scatters."""

from __future__ import annotations

import numpy as np

from cases.case import Case, Fixed, Operand, f32, i64
from tensorwright.ops.indexing import (
    Gather,
    GatherElements,
    GatherNd,
    IndexRange,
    OneHot,
    ScatterElements,
    ScatterNd,
    TopKIndices,
    Trilu,
)
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BOOL, FLOAT64, INT32, INT64, UINT8

BATCH = symbol("batch", 1, 2, 4)
LENGTH = symbol("length", 1, 5, 20)
VALUES = {"batch": 3, "length": 7}
OFF_ON = Fixed(np.array([-0.5, 2.0], dtype=np.float32))
TIES = np.array([[1, 3, 3, 0, 1], [2, 2, 2, 2, 2], [0, 0, -1, -1, 5]], dtype=np.float32)
GAPS = np.array([[1, np.nan, 3, np.nan, 1], [np.nan] * 5, [np.inf, np.nan, -np.inf, 0, 2]], dtype=np.float32)
REDUCTIONS = ("none", "add", "mul", "max", "min")

CASES = (
    Case("rows", Gather(0), (f32(17, 5), i64(7, low=-17, high=17))),
    Case("embedding", Gather(0), (f32(20, 16), i64(BATCH, LENGTH, low=0, high=20)), symbols=VALUES),
    Case("columns", Gather(1), (f32(3, 5, 2), Operand(INT32, (2, 2), -5, 5))),
    Case("scalar-index", Gather(1), (f32(3, 5, 2), i64(low=-5, high=5))),
    Case("symbolic-axis", Gather(1), (f32(2, LENGTH, 3), i64(4, low=-7, high=7)), symbols=VALUES),
    Case("unsigned", Gather(0), (f32(9), Operand(UINT8, (4,), 0, 9))),
    Case("last", GatherElements(2), (f32(2, 3, 5), i64(2, 3, 4, low=-5, high=5))),
    Case("narrower", GatherElements(0), (f32(4, 3), i64(7, 2, low=-4, high=4))),
    Case("symbolic", GatherElements(1), (f32(BATCH, LENGTH), i64(BATCH, 3, low=-7, high=7)), symbols=VALUES),
    Case("rows", GatherNd(), (f32(5, 6, 3), i64(4, 1, low=-5, high=5))),
    Case("whole", GatherNd(), (f32(2, 3), i64(2, 1, 0))),
    Case("batch-whole", GatherNd(1), (f32(2, 3), i64(2, 4, 0))),
    Case("elements", GatherNd(), (f32(3, 3, 3), i64(2, 4, 3, low=-3, high=3))),
    Case("batch", GatherNd(1), (f32(2, 5, 4), i64(2, 3, 1, low=-5, high=5))),
    Case("batch-elements", GatherNd(1), (f32(2, 3, 4), i64(2, 2, low=-3, high=3))),
    Case("all", IndexRange(along_axes=False), (i64(3, 5, low=-9, high=9),)),
    Case("scalar", IndexRange(along_axes=False), (i64(low=-9, high=9),)),
    Case("unsigned", IndexRange(along_axes=False), (Operand(UINT8, (40,), 0, 255),)),
    Case("axes", IndexRange(along_axes=True), (i64(3, 4, 2, low=-9, high=9),)),
    Case("symbolic", IndexRange(along_axes=True), (i64(BATCH, LENGTH, 3, low=-7, high=7),), symbols=VALUES),
    Case("last", OneHot(6, 1), (i64(5, low=-6, high=6), OFF_ON)),
    Case("first", OneHot(4, 0), (Operand(INT32, (2, 3), -6, 6), OFF_ON)),
    Case("middle", OneHot(5, 1), (f32(2, 3, low=0, high=5), OFF_ON)),
    Case("symbolic", OneHot(LENGTH, 1), (i64(BATCH, low=-7, high=7), OFF_ON), symbols=VALUES),
    Case("largest", TopKIndices(5, 1), (f32(3, 17),)),
    Case("smallest", TopKIndices(3, 0, largest=False), (f32(7, 4),)),
    Case("all", TopKIndices(5, 1), (Fixed(TIES),)),
    Case("ties-smallest", TopKIndices(4, 1, largest=False), (Fixed(TIES),)),
    Case("nan", TopKIndices(4, 1), (Fixed(GAPS),)),
    Case("nan-smallest", TopKIndices(4, 1, largest=False), (Fixed(GAPS),)),
    Case("int", TopKIndices(4, 1), (Operand(INT32, (2, 9), -3, 4),)),
    Case("int64", TopKIndices(4, 1, largest=False), (Operand(INT64, (2, 9), -3, 4),)),
    Case("float64", TopKIndices(4, 0), (Operand(FLOAT64, (9, 2)),)),
    Case("symbolic", TopKIndices(3, 1), (f32(BATCH, LENGTH),), symbols=VALUES),
    Case("upper", Trilu(upper=True), (f32(2, 5, 7),)),
    Case("lower", Trilu(upper=False, k=1), (f32(7, 5),)),
    Case("upper-below", Trilu(upper=True, k=-2), (f32(5, 5),)),
    Case("lower-bool", Trilu(upper=False), (Operand(BOOL, (LENGTH, LENGTH)),), symbols=VALUES),
    *(
        Case(f"{r}", ScatterElements(1, r), (f32(3, 5), i64(3, 4, low=-5, high=5), f32(3, 4)))
        for r in REDUCTIONS
    ),
    Case("narrower", ScatterElements(0), (f32(5, 4), i64(3, 2, low=-5, high=5), f32(3, 2))),
    Case("narrower-add", ScatterElements(0, "add"), (f32(5, 4), i64(3, 2, low=-5, high=5), f32(3, 2))),
    Case("symbolic", ScatterElements(1), (f32(2, LENGTH), i64(2, 3, low=-7, high=7), f32(2, 3)), symbols=VALUES),
    *(Case(f"rows-{r}", ScatterNd(r), (f32(5, 3), i64(4, 1, low=-5, high=5), f32(4, 3))) for r in REDUCTIONS),
    Case("elements", ScatterNd(), (f32(3, 4, 2), i64(2, 3, 2, low=-3, high=3), f32(2, 3, 2))),
    Case("int", ScatterNd("add"), (Operand(INT64, (6,)), i64(9, 1, low=-6, high=6), i64(9))),
)  # fmt: skip
