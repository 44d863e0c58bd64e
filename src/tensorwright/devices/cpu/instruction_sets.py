"""The instruction sets that code is generated for: what each needs, has, and is called."""

from __future__ import annotations

from dataclasses import dataclass

_AVX2 = ("abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "popcnt", "sse4_2")
_AVX512 = (*_AVX2, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")
_AVX512_FP16 = (*_AVX512, "avx512_bf16", "avx512_fp16", "avx512_vnni")
TILES = ("amx_bf16", "amx_int8", "amx_tile")
"""What a process may use only once the system has permitted it."""

_LLVM_AVX2 = "+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+popcnt,+sse4.2,+lzcnt,+movbe"
_LLVM_AVX512 = _LLVM_AVX2 + ",+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd,-prefer-256-bit"
_LLVM_AVX512_FP16 = _LLVM_AVX512 + ",+avx512bf16,+avx512vnni,+avx512fp16"


@dataclass(frozen=True)
class InstructionSet:
    """architecture: of the processor; features: what a processor needs, in the names of the Linux kernel.

    llvm_cpu, llvm_features: the same as LLVM spells it. vector_bytes: width of a vector register; registers: how many
    there are; has_fma: fused multiply-add; has_rounding: floor and its like; has_half: conversions from and to float16;
    has_scale: multiplication by powers of two in one instruction; has_lookup: lanes of a full vector that choose
    entries of another; has_bfloat16_dot: dot products of pairs of bfloat16;
    has_integer_dot: dot products of four unsigned and four signed bytes; has_half_arithmetic: products and sums of
    float16, twice as many at once as of float32; has_tiles: products of matrices in tile registers (AMX), of bfloat16
    and of bytes.
    """

    name: str
    architecture: str
    features: tuple[str, ...]
    llvm_cpu: str
    llvm_features: str
    vector_bytes: int
    registers: int
    has_fma: bool = True
    has_rounding: bool = True
    has_half: bool = True
    has_scale: bool = False
    has_lookup: bool = False
    has_bfloat16_dot: bool = False
    has_integer_dot: bool = False
    has_half_arithmetic: bool = False
    has_tiles: bool = False


INSTRUCTION_SETS = {
    known.name: known
    for known in (
        InstructionSet(
            "avx512_amx",
            "x86_64",
            (*_AVX512_FP16, *TILES),
            "x86-64-v4",
            _LLVM_AVX512_FP16 + ",+amx-tile,+amx-bf16,+amx-int8",
            64,
            32,
            has_scale=True,
            has_lookup=True,
            has_bfloat16_dot=True,
            has_integer_dot=True,
            has_half_arithmetic=True,
            has_tiles=True,
        ),
        InstructionSet(
            "avx512_fp16",
            "x86_64",
            _AVX512_FP16,
            "x86-64-v4",
            _LLVM_AVX512_FP16,
            64,
            32,
            has_scale=True,
            has_lookup=True,
            has_bfloat16_dot=True,
            has_integer_dot=True,
            has_half_arithmetic=True,
        ),
        InstructionSet(
            "avx512_bf16",
            "x86_64",
            (*_AVX512, "avx512_bf16", "avx512_vnni"),
            "x86-64-v4",
            _LLVM_AVX512 + ",+avx512bf16,+avx512vnni",
            64,
            32,
            has_scale=True,
            has_lookup=True,
            has_bfloat16_dot=True,
            has_integer_dot=True,
        ),
        InstructionSet(
            "avx512_vnni",
            "x86_64",
            (*_AVX512, "avx512_vnni"),
            "x86-64-v4",
            _LLVM_AVX512 + ",+avx512vnni",
            64,
            32,
            has_scale=True,
            has_lookup=True,
            has_integer_dot=True,
        ),
        InstructionSet("avx512", "x86_64", _AVX512, "x86-64-v4", _LLVM_AVX512, 64, 32, has_scale=True, has_lookup=True),
        InstructionSet("avx2", "x86_64", _AVX2, "x86-64-v3", _LLVM_AVX2, 32, 16),
        InstructionSet(
            "baseline", "x86_64", (), "x86-64", "", 16, 16, has_fma=False, has_rounding=False, has_half=False
        ),
        InstructionSet("aarch64", "aarch64", ("asimd",), "generic", "+neon", 16, 32),
    )
}
"""By name; of each architecture the best first."""
