"""Caches: new rows at places that are known or not, at the ends, and products with the first rows of many."""

from __future__ import annotations

from cases.case import Case, Operand, f32
from tensorwright.ops.cache import CachedMatMul, CacheUpdate
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, INT8, INT32, INT64

BATCH, PAST, NEW = symbol("batch", 1, 2, 3), symbol("past", 0, 5, 20), symbol("new", 1, 2, 4)
TOTAL = PAST + NEW
SYMBOLS = {"batch": 2, "past": 7, "new": 3}

CASES = (
    Case("one-row", CacheUpdate(1, 3), (f32(3, 9, 20), f32(3, 1, 20))),
    Case("first-rows", CacheUpdate(2, 0), (f32(1, 2, 6, 16), f32(1, 2, 4, 16))),
    Case("last-row", CacheUpdate(0, 6), (f32(7, 5), f32(1, 5))),
    Case("innermost", CacheUpdate(1, 2), (f32(3, 8), f32(3, 3))),
    Case("symbolic", CacheUpdate(2, PAST), (f32(BATCH, 2, 24, 18), f32(BATCH, 2, NEW, 18)), symbols=SYMBOLS),
    Case("no-room", CacheUpdate(1, PAST), (f32(2, 8, 3), f32(2, 4, 3)), symbols={"past": 6}),
    Case("float16", CacheUpdate(1, 2), (Operand(FLOAT16, (2, 5, 9)), Operand(FLOAT16, (2, 2, 9)))),
    Case("bytes", CacheUpdate(1, 2), (Operand(INT8, (2, 5, 70), -9, 9), Operand(INT8, (2, 2, 70), -9, 9))),
    Case("int64", CacheUpdate(1, 0), (Operand(INT64, (2, 4, 3), -9, 9), Operand(INT64, (2, 4, 3), -9, 9))),
    Case("sequences", CacheUpdate(1, 0), (f32(3, 9, 20), f32(3, 2, 20), Operand(INT64, (3,), 0, 8))),
    Case("heads", CacheUpdate(2, -1), (f32(3, 2, 9, 20), f32(3, 2, 2, 20), Operand(INT32, (3,), -2, 14))),
    Case("symbolic-sequences", CacheUpdate(2, PAST),
         (f32(BATCH, 2, 28, 18), f32(BATCH, 2, NEW, 18), Operand(INT64, (BATCH,), 0, 4)), symbols=SYMBOLS),
    Case("round", CacheUpdate(1, 7, True), (f32(2, 9, 4), f32(2, 4, 4))),
    Case("all-round", CacheUpdate(1, 3, True), (f32(2, 5, 16), f32(2, 5, 16))),
    Case("sequences-round", CacheUpdate(2, 0, True), (f32(4, 2, 7, 5), f32(4, 2, 3, 5), Operand(INT64, (4,), -9, 20))),
    Case("symbolic-round", CacheUpdate(2, 0, True),
         (f32(BATCH, 2, TOTAL, 18), f32(BATCH, 2, NEW, 18), Operand(INT32, (BATCH,), 0, 10)), symbols=SYMBOLS),
    Case("keys", CachedMatMul(7, True), (f32(2, 3, 4, 20), f32(2, 3, 9, 20))),
    Case("values", CachedMatMul(5), (f32(2, 4, 5), f32(2, 9, 33))),
    Case("matrices", CachedMatMul(6), (f32(7, 6), f32(11, 16))),
    Case(
        "symbolic-keys", CachedMatMul(TOTAL, True), (f32(BATCH, 2, 4, 16), f32(BATCH, 2, 24, 16)), symbols=SYMBOLS
    ),
    Case("symbolic-values", CachedMatMul(TOTAL), (f32(BATCH, 2, 4, TOTAL), f32(BATCH, 2, 24, 16)), symbols=SYMBOLS),
    Case("half-keys", CachedMatMul(7, True), (Operand(BFLOAT16, (2, 4, 64)), Operand(BFLOAT16, (2, 9, 64)))),
)  # fmt: skip
