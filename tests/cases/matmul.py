"""Matrix products: ranks, broadcasting batches, transposed operands, extents around the register tiles."""

from __future__ import annotations

from cases.case import Case, Operand, f32
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, INT8, INT32, UINT8

BATCH = symbol("batch", 1, 2, 4)
LENGTH = symbol("length", 1, 5, 20)

CASES = (
    Case("plain", MatMul(), (f32(17, 20), f32(20, 33))),
    Case("one-row", MatMul(), (f32(1, 37), f32(37, 20))),
    Case("one-column", MatMul(), (f32(20, 37), f32(37, 1))),
    Case("one-inner", MatMul(), (f32(3, 1), f32(1, 16))),
    Case("one", MatMul(), (f32(1, 1), f32(1, 1))),
    Case("tiles", MatMul(), (f32(16, 16), f32(16, 32))),
    Case("transpose-a", MatMul(transpose_a=True), (f32(20, 17), f32(20, 16))),
    Case("transpose-b", MatMul(transpose_b=True), (f32(17, 20), f32(33, 20))),
    Case("transpose-both", MatMul(transpose_a=True, transpose_b=True), (f32(5, 3), f32(7, 5))),
    Case("batch", MatMul(), (f32(2, 3, 7, 5), f32(2, 3, 5, 9))),
    Case("batch-broadcast", MatMul(), (f32(2, 1, 4, 5), f32(3, 5, 6))),
    Case("batch-and-weights", MatMul(), (f32(2, 7, 20), f32(20, 17))),
    Case("weights-and-batch", MatMul(transpose_b=True), (f32(7, 20), f32(3, 5, 20))),
    Case("symbolic-batch", MatMul(), (f32(BATCH, 20), f32(20, 17)), symbols={"batch": 3}),
    Case(
        "attention", MatMul(transpose_b=True), (f32(BATCH, 2, LENGTH, 16), f32(BATCH, 2, LENGTH, 16)),
        symbols={"batch": 2, "length": 7},
    ),
    Case("symbolic-inner", MatMul(), (f32(3, LENGTH), f32(LENGTH, 4)), symbols={"length": 11}),
    Case("float16", MatMul(), (Operand(FLOAT16, (17, 20)), Operand(FLOAT16, (20, 16)))),
    Case("bfloat16", MatMul(), (Operand(BFLOAT16, (17, 20)), Operand(BFLOAT16, (20, 16)))),
    *(
        Case(f"bytes-{name}", MatMul(transpose_b=turned), (Operand(UINT8, (*lead, 6, k), 0, 256), right), 0)
        for name, lead, k, turned, right in (
            ("whole", (), 64, False, Operand(INT8, (64, 48), -128, 128)),
            ("tails", (3,), 20, False, Operand(INT8, (20, 37), -128, 128)),
            ("transposed", (), 12, True, Operand(INT8, (19, 12), -128, 128)),
            ("not-in-fours", (), 7, False, Operand(INT8, (7, 18), -128, 128)),
        )
    ),
    Case("bytes-signed", MatMul(), (Operand(INT8, (5, 8), -128, 128), Operand(INT8, (8, 17), -128, 128)), 0),
    Case("bytes-unsigned", MatMul(), (Operand(INT8, (5, 8), -128, 128), Operand(UINT8, (8, 17), 0, 256)), 0),
    Case("int32", MatMul(), (Operand(INT32, (5, 7), -9, 9), Operand(INT32, (7, 3), -9, 9))),
)  # fmt: skip
