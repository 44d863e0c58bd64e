"""Instructions of the tensor cores: products of fragments that lie in the registers of a warp.

Fragments are as in the PTX manual under "Matrix fragments for mma.m16n8k16": with g = lane / 4 and q = lane mod 4, a
thread has rows g and g + 8 of the left tile, column g of the right one, and columns 2q and 2q + 1 of the sums.
"""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Register
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, INT32, DType

_SUMS = "{ float, float, float, float }"


def multiply_16x8x16(
    builder: FunctionBuilder,
    target: CudaTarget,
    dtype: DType,
    left: Sequence[Register],
    right: Sequence[Register],
    sums: Sequence[Register],
) -> list[Register]:
    """``sums + left · right`` for 16 rows, 8 columns and a depth of 16, in float32.

    left: (row g, low), (row g + 8, low), (row g, high), (row g + 8, high), pairs of elements in i32 registers; right:
    (low), (high). dtype: float16, or from sm_80 on bfloat16.
    """
    if target.capability < 80:
        halfway = _multiply(builder, "m16n8k8.row.col.f32.f32", _halves(builder, [*left[:2], right[0]]), sums)
        return _multiply(builder, "m16n8k8.row.col.f32.f32", _halves(builder, [*left[2:], right[1]]), halfway)
    if dtype == BFLOAT16:
        return _multiply(builder, "m16n8k16.row.col.bf16", [register.typed for register in (*left, *right)], sums)
    return _multiply(builder, "m16n8k16.row.col.f32.f32", _halves(builder, [*left, *right]), sums)


def transposed_8x8(builder: FunctionBuilder, pair: Register) -> Register:
    """The transpose of an 8×8 matrix of two-byte elements, of which thread (g, q) has row g, columns 2q and 2q + 1."""
    text = "movmatrix.sync.aligned.m8n8.trans.b16 $0, $1;"
    return builder.value(f'call i32 asm "{text}", "=r,r"({pair.typed}) convergent nounwind memory(none)', INT32)


def packed_pair(builder: FunctionBuilder, dtype: DType, low: Register, high: Register) -> Register:
    """Two float32 rounded to a two-byte type, in an i32."""
    narrow = "half" if dtype == FLOAT16 else "bfloat"
    vector, rounded = builder.fresh(), builder.fresh()
    first = builder.fresh()
    builder.emit(f"{first} = insertelement <2 x float> poison, {low.typed}, i64 0")
    builder.emit(f"{vector} = insertelement <2 x float> {first}, {high.typed}, i64 1")
    builder.emit(f"{rounded} = fptrunc <2 x float> {vector} to <2 x {narrow}>")
    return builder.value(f"bitcast <2 x {narrow}> {rounded} to i32", INT32)


def power_of_two(builder: FunctionBuilder, exponent: Register) -> Register:
    """2 to a float32, within two units of the last digit; 0 for minus infinity."""
    name = "@llvm.nvvm.ex2.approx.ftz.f"
    builder.declare(f"declare float {name}(float)")
    return builder.value(f"call float {name}({exponent.typed})", FLOAT32)


def _halves(builder: FunctionBuilder, registers: Sequence[Register]) -> list[str]:
    found = []
    for register in registers:
        name = builder.fresh()
        builder.emit(f"{name} = bitcast {register.typed} to <2 x half>")
        found.append(f"<2 x half> {name}")
    return found


def _multiply(
    builder: FunctionBuilder, shape: str, operands: Sequence[str], sums: Sequence[Register]
) -> list[Register]:
    name = f"@llvm.nvvm.mma.{shape}"
    types = ", ".join([operand.rsplit(" ", 1)[0] for operand in operands] + ["float"] * 4)
    builder.declare(f"declare {_SUMS} {name}({types})")
    result = builder.fresh()
    arguments = ", ".join([*operands, *(register.typed for register in sums)])
    builder.emit(f"{result} = call {_SUMS} {name}({arguments})")
    return [builder.value(f"extractvalue {_SUMS} {result}, {part}", FLOAT32) for part in range(4)]
