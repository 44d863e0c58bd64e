"""Instructions of the tensor cores: products of fragments that lie in the registers of a warp.

Fragments are as in the PTX manual under "Matrix fragments for mma.m16n8k16": with g = lane / 4 and q = lane mod 4, a
thread has rows g and g + 8 of the left tile, column g of the right one, and columns 2q and 2q + 1 of the sums.
"""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.codegen.cuda.threads import ThreadBuilder
from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Register, literal
from tensorwright.tensor.dtype import BFLOAT16, FLOAT8, FLOAT16, FLOAT32, INT8, INT32, UINT8, DType

_FLOAT_SUMS = "{ float, float, float, float }"
_SIGNED, _UNSIGNED, _TURNED = "s8", "u8.s8", "s8.u8"


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


def multiply_16x8(
    builder: FunctionBuilder,
    target: CudaTarget,
    dtype: DType,
    left: Sequence[Register],
    right: Sequence[Register],
    sums: Sequence[Register],
    *,
    turned: bool = False,
) -> list[Register]:
    """``sums + left · right`` for 16 rows, 8 columns and 32 bytes of the depth, in float32, or int32 for bytes.

    Like `multiply_16x8x16`, and for float32, which is read as TF32, with one element instead of each pair; for bytes,
    whose right factors are signed, or if they are `turned` the left ones, with four; so for numbers of 8 bits, from
    sm_89 on.
    """
    if dtype == FLOAT8:
        return _multiply_float8(builder, left, right, sums)
    if dtype in (INT8, UINT8):
        kind = _SIGNED if dtype == INT8 else _TURNED if turned else _UNSIGNED
        if target.capability < 80:
            return _multiply_quarters(builder, kind, left, right, sums)
        return _multiply(builder, f"m16n8k32.row.col.{kind}", [register.typed for register in (*left, *right)], sums)
    if dtype == FLOAT32:
        return _multiply(builder, "m16n8k8.row.col.tf32", [register.typed for register in (*left, *right)], sums)
    return multiply_16x8x16(builder, target, dtype, left, right, sums)


def load_matrices(builder: ThreadBuilder, address: Register, *, transposed: bool = False) -> list[Register]:
    """Four matrices of 8 rows of 16 bytes from shared memory: for each, thread (g, q) gets word q of row g, an i32.

    address: the thread's, in shared memory, i32; that of thread t is where row t mod 8 of matrix t / 8 lies.
    transposed: the two-byte elements (2q, g) and (2q + 1, g) instead.
    """
    turned, kind = ".trans" if transposed else "", "{ i32, i32, i32, i32 }"
    name = f"@llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4{turned}.b16.p3"
    builder.declare(f"declare {kind} {name}(ptr addrspace(3))")
    pointer, result = builder.in_shared(address), builder.fresh()
    builder.emit(f"{result} = call {kind} {name}(ptr addrspace(3) {pointer})")
    return [builder.value(f"extractvalue {kind} {result}, {part}", INT32) for part in range(4)]


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


def rounded_to_tf32(builder: FunctionBuilder, value: Register) -> Register:
    """A float32 rounded to the nearest that TF32 has, ties away from zero."""
    name = "@llvm.nvvm.f2tf32.rna"
    builder.declare(f"declare i32 {name}(float)")
    return builder.bitcast(builder.value(f"call i32 {name}({value.typed})", INT32), FLOAT32)


def word_rounded_to_tf32(builder: FunctionBuilder, word: Register) -> Register:
    """The same of a float32 that is an i32."""
    return builder.bitcast(rounded_to_tf32(builder, builder.bitcast(word, FLOAT32)), INT32)


def below_tf32(builder: FunctionBuilder, word: Register) -> Register:
    """What tensor cores drop of a float32 that they read as TF32, exactly; both as i32. NaN for infinity."""
    kept = builder.bitcast(builder.binary("and", word, ~0x1FFF), FLOAT32)
    return builder.bitcast(builder.sub(builder.bitcast(word, FLOAT32), kept), INT32)


def power_of_two(builder: FunctionBuilder, exponent: Register) -> Register:
    """2 to a float32, within two units of the last digit; 0 for minus infinity."""
    name = "@llvm.nvvm.ex2.approx.ftz.f"
    builder.declare(f"declare float {name}(float)")
    return builder.value(f"call float {name}({exponent.typed})", FLOAT32)


def _multiply_quarters(
    builder: FunctionBuilder, kind: str, left: Sequence[Register], right: Sequence[Register], sums: Sequence[Register]
) -> list[Register]:
    """Products of bytes by the instruction of sm_75, for 8 rows and half of the depth."""
    found = list(sums)
    for half in range(2):
        for rows in range(2):
            operands, own = [left[2 * half + rows].typed, right[half].typed], slice(2 * rows, 2 * rows + 2)
            found[own] = _multiply(builder, f"m8n8k16.row.col.{kind}", operands, found[own])
    return found


def _multiply_float8(
    builder: FunctionBuilder, left: Sequence[Register], right: Sequence[Register], sums: Sequence[Register]
) -> list[Register]:
    """By assembly, since LLVM has no intrinsic; added up in float32, since tensor cores add with fewer bits."""
    text = (
        "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 "
        "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
    )
    constraints = ",".join(["=f"] * 4 + ["r"] * 6 + ["f"] * 4)
    zeros = [literal(0.0, FLOAT32)] * len(sums)
    operands, result = ", ".join(register.typed for register in (*left, *right, *zeros)), builder.fresh()
    call = f'call {_FLOAT_SUMS} asm "{text}", "{constraints}"({operands}) convergent nounwind memory(none)'
    builder.emit(f"{result} = {call}")
    parts = [builder.value(f"extractvalue {_FLOAT_SUMS} {result}, {part}", FLOAT32) for part in range(4)]
    return [builder.add(own, part) for own, part in zip(sums, parts, strict=True)]


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
    name, dtype = f"@llvm.nvvm.mma.{shape}", sums[0].dtype
    own = [sums[0].type] * len(sums)
    kind = f"{{ {', '.join(own)} }}"
    types = ", ".join([*(operand.rsplit(" ", 1)[0] for operand in operands), *own])
    builder.declare(f"declare {kind} {name}({types})")
    result = builder.fresh()
    arguments = ", ".join([*operands, *(register.typed for register in sums)])
    builder.emit(f"{result} = call {kind} {name}({arguments})")
    return [builder.value(f"extractvalue {kind} {result}, {part}", dtype) for part in range(len(sums))]
