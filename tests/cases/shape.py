"""Operators that move elements, on static and symbolic shapes."""

from __future__ import annotations

from cases.case import Case, Operand, f32
from tensorwright.ops.shape import Concatenation, DimensionTensor, Expand, Pad, Reshape, Slice, Tile, Transpose
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BOOL, FLOAT16, INT64, UINT8

BATCH = symbol("batch", 1, 2, 4)
LENGTH = symbol("length", 1, 5, 20)
VALUES = {"batch": 3, "length": 7}

CASES = (
    Case("flatten", Reshape((2, 60)), (f32(2, 3, 4, 5),)),
    Case("regroup", Reshape((5, 4, 3)), (f32(3, 4, 5),)),
    Case("squeeze", Reshape((3, 5)), (f32(1, 3, 1, 5, 1),)),
    Case("unsqueeze", Reshape((1, 3, 1, 5)), (f32(3, 5),)),
    Case("to-scalar", Reshape(()), (f32(1, 1),)),
    Case("from-scalar", Reshape((1, 1)), (f32(),)),
    Case("empty", Reshape((0, 3)), (f32(3, 0, 2),)),
    Case("flatten-symbolic", Reshape((BATCH, 48)), (f32(BATCH, 3, 4, 4),), symbols=VALUES),
    Case("heads", Reshape((BATCH, LENGTH, 4, 5)), (f32(BATCH, LENGTH, 20),), symbols=VALUES),
    Case("merge-symbols", Reshape((BATCH * LENGTH, 3)), (f32(BATCH, LENGTH, 3),), symbols=VALUES),
    Case("split-symbols", Reshape((BATCH, LENGTH, 3)), (f32(BATCH * LENGTH, 3),), symbols=VALUES),
    Case("across-symbols", Reshape((2, BATCH, 3)), (f32(BATCH, 2, 3),), symbols=VALUES),
    Case("matrix", Transpose((1, 0)), (f32(5, 17),)),
    Case("nchw-to-nhwc", Transpose((0, 2, 3, 1)), (f32(2, 17, 3, 4),)),
    Case("cycle", Transpose((2, 0, 1)), (Operand(UINT8, (3, 4, 5), 0, 200),)),
    Case("heads", Transpose((0, 2, 1, 3)), (f32(BATCH, LENGTH, 2, 3),), symbols=VALUES),
    Case("crop", Slice((0, 1, 2), (2, 3, 4), (1, 1, 1)), (f32(2, 5, 7),)),
    Case("steps", Slice((1, 0), (3, 4), (2, 3)), (f32(7, 10),)),
    Case("backwards", Slice((4, 6), (5, 3), (-1, -3)), (f32(5, 7),)),
    Case("none", Slice((0, 3), (2, 0), (1, 1)), (f32(2, 3),)),
    Case("symbolic", Slice((0, LENGTH - 1), (BATCH, LENGTH), (1, -1)), (f32(BATCH, LENGTH),), symbols=VALUES),
    Case("symbolic-tail", Slice((0, LENGTH - 1, 0), (BATCH, 1, 4), (1, 1, 1)), (f32(BATCH, LENGTH, 4),),
         symbols=VALUES),
    Case("channels", Concatenation(1), (f32(2, 3, 4, 4), f32(2, 17, 4, 4), f32(2, 1, 4, 4))),
    Case("last", Concatenation(2), (f32(2, 3, 4), f32(2, 3, 1))),
    Case("first", Concatenation(0), (Operand(INT64, (3,)), Operand(INT64, (1,)), Operand(INT64, (4,)))),
    Case("one", Concatenation(0), (f32(3, 2),)),
    Case("with-empty", Concatenation(0), (f32(0, 2), f32(3, 2), f32(0, 2))),
    Case("many", Concatenation(1), tuple(f32(2, 1 + number % 3) for number in range(11))),
    Case("symbolic", Concatenation(1), (f32(BATCH, LENGTH, 2), f32(BATCH, 3, 2), f32(BATCH, LENGTH, 2)),
         symbols=VALUES),
    Case("constant", Pad((0, 1, 2), (1, 0, 3), value=1.5), (f32(2, 3, 4),)),
    Case("crop", Pad((1, -1), (-2, 2)), (f32(5, 4),)),
    Case("constant-bool", Pad((1,), (2,), value=1), (Operand(BOOL, (4,)),)),
    Case("minus-infinity", Pad((1,), (2,), value=float("-inf")), (f32(4),)),
    Case("reflect", Pad((0, 2), (1, 3), "reflect"), (f32(3, 4),)),
    Case("reflect-crop", Pad((-1, 2), (1, -1), "reflect"), (f32(4, 5),)),
    Case("edge", Pad((3, 1), (0, 2), "edge"), (f32(2, 3),)),
    Case("wrap", Pad((5, 1), (1, 7), "wrap"), (f32(2, 3),)),
    Case("symbolic", Pad((0, 2), (0, 1)), (f32(BATCH, LENGTH),), symbols=VALUES),
    Case("reflect-symbolic", Pad((0, 2), (0, 1), "reflect"), (f32(BATCH, LENGTH),), symbols=VALUES),
    Case("wrap-symbolic", Pad((0, 2), (0, 1), "wrap"), (f32(BATCH, LENGTH),), symbols=VALUES),
    Case("edge-symbolic", Pad((0, 2), (0, 1), "edge"), (f32(BATCH, LENGTH),), symbols=VALUES),
    Case("reflect-short", Pad((2, 7), (-1, 5), "reflect"), (f32(BATCH, LENGTH),), symbols={"batch": 3, "length": 3}),
    Case("wrap-short", Pad((4, 7), (9, 5), "wrap"), (f32(BATCH, LENGTH),), symbols={"batch": 2, "length": 3}),
    Case("edge-short", Pad((-1, 7), (9, 5), "edge"), (f32(BATCH, LENGTH),), symbols={"batch": 2, "length": 1}),
    Case("rank", Expand((2, 3, 4)), (f32(3, 1),)),
    Case("both-ways", Expand((1, 4)), (f32(3, 1),)),
    Case("scalar", Expand((2, 2)), (f32(),)),
    Case("symbolic", Expand((BATCH, LENGTH, 3)), (f32(1, 3),), symbols=VALUES),
    Case("some", Tile((2, 1, 3)), (f32(2, 3, 4),)),
    Case("one-element", Tile((4, 1)), (f32(1, 3),)),
    Case("symbolic", Tile((1, LENGTH)), (f32(BATCH, 3),), symbols=VALUES),
    Case("vector", DimensionTensor((BATCH, 3, BATCH * LENGTH + 1)), (), symbols=VALUES),
    Case("scalar", DimensionTensor((LENGTH,), is_scalar=True), (), symbols=VALUES),
    Case("none", DimensionTensor(()), ()),
    Case("float16", Transpose((1, 0)), (Operand(FLOAT16, (5, 17)),)),
)  # fmt: skip
