"""Conversions between element types."""

from __future__ import annotations

from dataclasses import replace

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Register, memory_name
from tensorwright.tensor.conversion import limits
from tensorwright.tensor.dtype import BFLOAT16, BOOL, FLOAT16, FLOAT32, FLOAT64, INT32, DType

ROUNDING = 12582912.0
"""1.5 · 2^23: float32 of this size have no digits below one."""


def convert(builder: FunctionBuilder, value: Register, dtype: DType) -> Register:
    """A value as one of the register type of `dtype`.

    Float to integer truncates and saturates, NaN gives 0; integers wrap around; to bool is ``!= 0``. A conversion to
    float16 or bfloat16 rounds, so that the value is the same as after a store and a load.
    """
    if dtype == BOOL:
        return value if value.dtype == BOOL else Term(builder, value).differs(0).register
    if dtype in (FLOAT16, BFLOAT16):
        return _rounded(builder, value, dtype)
    if value.dtype == dtype:
        return value
    if value.dtype.is_float:
        if dtype.is_float:
            return builder.convert("fpext" if dtype == FLOAT64 else "fptrunc", value, dtype)
        return _integer_of_float(builder, value, dtype)
    signed = value.dtype.kind == "signed"
    if dtype.is_float:
        return builder.convert("sitofp" if signed else "uitofp", value, dtype)
    return _integer_of_integer(builder, value, dtype)


def _integer_of_integer(builder: FunctionBuilder, value: Register, dtype: DType) -> Register:
    if value.dtype != BOOL and value.dtype.size == dtype.size:
        return replace(value, dtype=dtype)
    if value.dtype != BOOL and value.dtype.size > dtype.size:
        return builder.convert("trunc", value, dtype)
    return builder.convert("sext" if value.dtype.kind == "signed" else "zext", value, dtype)


def bounded_integer(builder: FunctionBuilder, value: Register, low: float, high: float, dtype: DType) -> Register:
    """A float kept within bounds that an integer type of at most two bytes has, truncated; NaN gives 0.

    LLVM converts vectors to so small integers element by element if it is to saturate by itself.
    """
    within = _within(Term(builder, value), low, high, 0.0)
    return builder.convert("trunc", builder.convert("fptosi", within.register, INT32), dtype)


def rounded_integer(
    builder: FunctionBuilder, value: Register, shift: int, low: int, high: int, dtype: DType
) -> Register:
    """A float32 rounded to an integer, halves to even, plus `shift`, kept within bounds that an integer type of at most
    two bytes has; NaN gives 0.

    Added to 1.5 · 2^23, a number leaves its integer in the last bits of the sum.
    """
    within = _within(Term(builder, value), float(low - shift), float(high - shift), float(-shift))
    last_bits = (within + ROUNDING).bits()
    return builder.convert("trunc", (last_bits + shift if shift else last_bits).register, dtype)


def _within(x: Term, low: float, high: float, otherwise: float) -> Term:
    """A float kept within bounds; what is no number gives another one."""
    above = x.greater(low).choose(x, low)
    within = above.less(high).choose(above, high)
    return within if low == otherwise else x.is_nan().choose(within.constant(otherwise), within)


def _integer_of_float(builder: FunctionBuilder, value: Register, dtype: DType) -> Register:
    if value.lanes > 1 and dtype.size < INT32.size:
        low, high = limits(dtype)
        return bounded_integer(builder, value, low, high, dtype)
    opcode = "fptosi" if dtype.kind == "signed" else "fptoui"
    prefix = "" if value.lanes == 1 else f"v{value.lanes}"
    source = "f32" if value.dtype == FLOAT32 else "f64"
    name = f"@llvm.{opcode}.sat.{prefix}i{8 * dtype.size}.{prefix}{source}"
    return builder.call(name, dtype, value.lanes, [value])


def _rounded(builder: FunctionBuilder, value: Register, dtype: DType) -> Register:
    if value.dtype != FLOAT32:
        wide = convert(builder, value, FLOAT64)
        value = _rounded_to_odd(Term(builder, wide)).register
    stored = builder.narrow(value, dtype).removeprefix(memory_name(dtype, value.lanes)).strip()
    return builder.widen(stored, dtype, value.lanes)


def _rounded_to_odd(value: Term) -> Term:
    """A float64 as float32, rounded so that a second rounding to fewer digits is as good as a single one.

    Towards zero, with the last digit set if anything was lost (Boldo and Melquiond 2008).
    """
    near = value.converted("fptrunc", FLOAT32)
    back = near.converted("fpext", FLOAT64)
    bits = near.bits()
    beyond = back.magnitude().greater(value.magnitude())
    toward_zero = beyond.choose(bits - 1, bits)
    lost = back.differs(value).choose(toward_zero | 1, bits)
    return value.is_nan().choose(bits, lost).bits(FLOAT32)
