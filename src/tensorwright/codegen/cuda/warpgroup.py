"""Products of tiles in shared memory by a warpgroup, 128 threads, of sm_90: `wgmma`, which runs beside the threads.

Both tiles have their depth innermost, 128 bytes a row, the 16-byte pieces of row r exchanged by XOR with r mod 8
("128-byte swizzle" in the PTX manual under "Asynchronous warpgroup-level matrix shared memory layout"), and begin at a
multiple of 1024 bytes. Sums are as those of `codegen.cuda.matrix`, 16 rows for each warp, 8 columns after 8 columns.
"""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Register, register_name
from tensorwright.tensor.dtype import BFLOAT16, FLOAT8, FLOAT16, FLOAT32, INT8, INT64, UINT8, DType

ROW_BYTES = 128
STEP_BYTES = 32
"""Bytes of the depth that one instruction consumes."""
_EIGHT_ROWS = 8 * ROW_BYTES
_DESCRIPTOR = 1 << 62 | (_EIGHT_ROWS >> 4) << 32 | 1 << 16
"""A swizzle of 128 bytes; from 8 rows to the next 8; a distance that is not used."""
_FLAGS = ", 1, 1"
_KINDS = {
    FLOAT16: ("k16.f32.f16.f16", f"{_FLAGS}, 0, 0"),
    BFLOAT16: ("k16.f32.bf16.bf16", f"{_FLAGS}, 0, 0"),
    FLOAT32: ("k8.f32.tf32.tf32", _FLAGS),
    FLOAT8: ("k32.f32.e4m3.e4m3", _FLAGS),
    INT8: ("k32.s32.s8.s8", ""),
    UINT8: ("k32.s32.u8.s8", ""),
}
"""Of each type: depth and types of the instruction; whether factors are not negated, and not transposed."""


def tile_descriptor(builder: FunctionBuilder, address: Register) -> Register:
    """What the instruction wants to know of a tile. address: in shared memory, i32."""
    sixteenths = builder.binary("lshr", address, 4)
    wide = builder.value(f"zext {sixteenths.typed} to i64", INT64)
    return builder.binary("or", wide, _DESCRIPTOR)


def advanced(builder: FunctionBuilder, descriptor: Register, distance: int) -> Register:
    """The descriptor of a tile so many bytes further."""
    return builder.add(descriptor, distance >> 4) if distance else descriptor


def begin_products(builder: FunctionBuilder) -> None:
    """What the threads wrote into registers may be read by the products that follow."""
    _call(builder, "wgmma.fence.sync.aligned")


def multiply_rows(
    builder: FunctionBuilder,
    dtype: DType,
    left: Register,
    right: Register,
    sums: Sequence[Register],
    *,
    from_zero: bool = False,
) -> list[Register]:
    """Begin ``sums + left · rightᵀ`` for 64 rows and a depth of `STEP_BYTES`; or only the product, whatever `sums` are.

    left, right: descriptors; dtype: of both, but of the left one alone for bytes, which are multiplied by signed ones;
    float32 is read as TF32. sums: float32, or int32 for bytes; 4 for every 8 columns; the new ones hold
    nothing before `wait_for_products` says so.
    """
    kind, flags = _KINDS[dtype]
    count = len(sums)
    places = ", ".join(f"${number}" for number in range(count))
    text = (
        f"wgmma.mma_async.sync.aligned.m64n{2 * count}{kind} "
        f"{{{places}}}, ${2 * count}, ${2 * count + 1}, ${2 * count + 2}{flags};"
    )
    given = [Register("poison", sums[0].dtype)] * count if from_zero else sums
    others = [left.typed, right.typed, "i1 false" if from_zero else "i1 true"]
    return _in_place(builder, text, given, others, "l,l,b")


def end_products(builder: FunctionBuilder) -> None:
    """The products begun since the last group are one."""
    _call(builder, "wgmma.commit_group.sync.aligned")


def wait_for_products(builder: FunctionBuilder, unfinished: int, sums: Sequence[Register]) -> list[Register]:
    """Wait until all groups but so many of the latest are done; returns the sums, finished if none is left."""
    text = f"wgmma.wait_group.sync.aligned {unfinished};"
    return _in_place(builder, text, sums, [], "")


def publish_to_tensor_cores(builder: FunctionBuilder) -> None:
    """What this thread wrote to shared memory may be read by products, once threads have met."""
    builder.emit('call void asm sideeffect "fence.proxy.async.shared::cta;", "~{memory}"() convergent nounwind')


def _call(builder: FunctionBuilder, name: str) -> None:
    intrinsic = f"@llvm.nvvm.{name}"
    builder.declare(f"declare void {intrinsic}()")
    builder.emit(f"call void {intrinsic}()")


def _in_place(
    builder: FunctionBuilder, text: str, sums: Sequence[Register], others: Sequence[str], constraint: str
) -> list[Register]:
    """Assembly that changes its first operands, the sums."""
    dtype, count = sums[0].dtype, len(sums)
    kind = "{ " + ", ".join([register_name(dtype)] * count) + " }"
    out = "=f" if dtype == FLOAT32 else "=r"
    constraints = ",".join([*[out] * count, *map(str, range(count)), *([constraint] if others else []), "~{memory}"])
    result = builder.fresh()
    arguments = ", ".join([*(register.typed for register in sums), *others])
    builder.emit(f'{result} = call {kind} asm sideeffect "{text}", "{constraints}"({arguments}) convergent nounwind')
    return [builder.value(f"extractvalue {kind} {result}, {part}", dtype) for part in range(count)]
