"""Pooling: all modes with overlapping, strided, dilated and padded windows, ceil mode and both ways of counting."""

from __future__ import annotations

from cases.case import Case, Operand, f32
from tensorwright.ops.pooling import Pool
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import FLOAT16, INT8

BATCH = symbol("batch", 1, 2, 4)
WIDTH = symbol("width", 5, 7, 12)


def pool(
    mode, window, strides=(1, 1), begin=(0, 0), end=None, dilations=(1, 1), ceil=False, include=False, p=2
) -> Pool:
    return Pool(mode, window, strides, begin, begin if end is None else end, dilations, ceil, include, p)


SYMBOLIC = f32(BATCH, 3, 6, WIDTH)
VALUES = {"batch": 2, "width": 8}

CASES = (
    Case("max-2x2", pool("max", (2, 2), (2, 2)), (f32(1, 20, 6, 8),)),
    Case("max-3x3", pool("max", (3, 3), (2, 2), (1, 1)), (f32(1, 17, 9, 7),)),
    Case("max-ceil", pool("max", (3, 3), (2, 2), ceil=True), (f32(2, 3, 8, 10),)),
    Case("max-ceil-clipped", pool("max", (2, 2), (3, 3), (1, 0), (1, 1), ceil=True), (f32(1, 16, 5, 7),)),
    Case("max-lopsided", pool("max", (2, 3), (1, 2), (1, 0), (0, 2)), (f32(1, 3, 5, 6),)),
    Case("max-dilated", pool("max", (2, 3), (1, 2), (1, 1), dilations=(3, 2)), (f32(1, 3, 8, 9),)),
    Case("max-1d", Pool("max", (3,), (2,), (1,), (0,), (1,)), (f32(2, 3, 9),)),
    Case("max-3d", Pool("max", (2, 2, 2), (1, 2, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)), (f32(1, 2, 3, 4, 5),)),
    Case("max-int8", pool("max", (3, 3), (2, 2), (1, 1)), (Operand(INT8, (1, 3, 7, 7), -100, 100),)),
    Case("max-symbolic", pool("max", (3, 3), (2, 2), (1, 1)), (SYMBOLIC,), symbols=VALUES),
    Case("max-symbolic-ceil", pool("max", (3, 3), (2, 2), ceil=True), (SYMBOLIC,), symbols=VALUES),
    Case("max-float16", pool("max", (3, 3), (2, 2), (1, 1)), (Operand(FLOAT16, (1, 16, 7, 7)),)),
    Case("average-2x2", pool("average", (2, 2), (2, 2)), (f32(1, 16, 6, 6),)),
    Case("average-3x3", pool("average", (3, 3), (1, 1), (1, 1)), (f32(1, 17, 5, 6),)),
    Case("average-include", pool("average", (3, 3), (2, 2), (1, 1), include=True), (f32(1, 3, 7, 7),)),
    Case("average-ceil", pool("average", (3, 3), (2, 2), (1, 0), ceil=True), (f32(1, 3, 8, 6),)),
    Case("average-ceil-include", pool("average", (3, 3), (2, 2), (1, 1), (0, 1), ceil=True, include=True),
         (f32(1, 3, 6, 7),)),
    Case("average-dilated", pool("average", (2, 3), (1, 1), (1, 2), dilations=(2, 2)), (f32(1, 3, 6, 7),)),
    Case("average-global", pool("average", (7, 7)), (f32(2, 20, 7, 7),)),
    Case("average-1d", Pool("average", (4,), (3,), (2,), (1,), (1,)), (f32(2, 3, 10),)),
    Case("average-symbolic", pool("average", (3, 3), (2, 2), (1, 1)), (SYMBOLIC,), symbols=VALUES),
    Case("average-symbolic-ceil", pool("average", (3, 2), (2, 3), ceil=True, include=True), (SYMBOLIC,),
         symbols=VALUES),
    Case("average-float16", pool("average", (3, 3), (1, 1), (1, 1)), (Operand(FLOAT16, (1, 3, 5, 5)),)),
    Case("average-far-window", pool("average", (90, 1280), (90, 1280), ceil=True, include=True),
         (f32(1, 20, 7, 6),)),
    Case("average-far-padding", pool("average", (40, 12), (3, 2), (20, 10), (21, 11), (1, 2)), (f32(1, 3, 4, 5),)),
    Case("average-far-padding-include", pool("average", (40, 30), (1, 1), (20, 15), include=True), (f32(1, 3, 4, 5),)),
    Case("max-far-window", pool("max", (300, 9), (1, 1), (150, 4), (149, 4)), (f32(1, 16, 5, 6),)),
    Case("average-far-window-symbolic", pool("average", (3, 400), (2, 400), ceil=True), (SYMBOLIC,),
         symbols=VALUES),
    Case("lp1", pool("lp", (2, 2), (1, 2), (1, 1), p=1), (f32(1, 3, 5, 6),)),
    Case("lp2", pool("lp", (3, 3), (2, 2), (1, 1)), (f32(1, 17, 7, 5),)),
    Case("lp3", pool("lp", (2, 2), (2, 2), p=3), (f32(1, 3, 6, 4),)),
)  # fmt: skip
