"""float16 and bfloat16 where LLVM has no instruction for them: rounding to nearest even, mostly with integers.

LLVM would call functions of a run-time library, which generated code does not have.
"""

from __future__ import annotations

from tensorwright.codegen.instructions import InstructionBuilder
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Register
from tensorwright.tensor.dtype import BFLOAT16, FLOAT32, INT16, INT32, DType


def narrowed_bits(builder: InstructionBuilder, value: Register, dtype: DType) -> Register:
    """A float32 value rounded to float16 or bfloat16, as the int16 of the same representation."""
    term, target = Term(builder, value), builder.target
    if dtype == BFLOAT16 and target is not None and target.has_bfloat16_dot and _is_vector(value):
        return _converted(builder, value)
    bits = _bfloat16_bits(term) if dtype == BFLOAT16 else _float16_bits(term)
    return bits.converted("trunc", INT16).register


def _is_vector(value: Register) -> bool:
    """Whether there is an instruction for so many lanes; constants are converted by LLVM."""
    return value.lanes in (8, 16) and not value.is_literal


def _converted(builder: InstructionBuilder, value: Register) -> Register:
    """VCVTNEPS2BF16: numbers below the normal ones become zeros."""
    lanes = value.lanes
    name = f"@llvm.x86.avx512bf16.cvtneps2bf16.{32 * lanes}"
    builder.declare(f"declare <{lanes} x bfloat> {name}(<{lanes} x float>)")
    result = builder.value(f"call <{lanes} x bfloat> {name}({value.typed})", INT16, lanes)
    return builder.value(f"bitcast <{lanes} x bfloat> {result.text} to <{lanes} x i16>", INT16, lanes)


def _bfloat16_bits(value: Term) -> Term:
    bits = value.bits()
    odd = bits.logical_right(16) & 1
    rounded = (bits + 0x7FFF + odd).logical_right(16)
    return value.is_nan().choose(bits.logical_right(16) | 0x40, rounded)


def _float16_bits(value: Term) -> Term:
    bits = value.bits()
    sign = bits.logical_right(16) & 0x8000
    size = bits & 0x7FFFFFFF
    normal = (size - (112 << 23) + 0xFFF + (size.logical_right(13) & 1)).logical_right(13)
    subnormal = (size.bits(FLOAT32) + 0.5).bits() - 0x3F000000
    finite = size.less(113 << 23).choose(subnormal, normal)
    infinite = size.greater(0x7F800000).choose(size.constant(0x7E00), 0x7C00)
    return sign | size.less(143 << 23).choose(finite, infinite)


def widened_float16(builder: InstructionBuilder, bits: Register) -> Register:
    """The float32 value of the float16 whose representation the int16 has."""
    half = Term(builder, bits).converted("zext", INT32)
    size = half & 0x7FFF
    finite = ((size << 13).bits(FLOAT32) * 2.0**112).bits()
    infinite = (size << 13) | 0x7F800000
    value = size.less(0x7C00).choose(finite, infinite)
    return (value | ((half & 0x8000) << 16)).bits(FLOAT32).register
