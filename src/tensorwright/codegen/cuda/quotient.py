"""Quotients without branches, for what is rounded to an integer then, and inverse roots.

The assembler divides by a reciprocal and two corrections, and calls a function for numbers near the ends of float32's
range. Here the corrections are left out instead where they do not count, for quotients from 2^22 on: those that are
infinite, or no numbers, stay so.
"""

from __future__ import annotations

from tensorwright.codegen.cuda.threads import ThreadBuilder
from tensorwright.codegen.values import Register, literal
from tensorwright.tensor.dtype import FLOAT32

CORRECTIONS = 2
"""After so many the quotient is rounded correctly."""
LARGE = float(1 << 22)


def quotient(builder: ThreadBuilder, dividend: Register, divisor: Register) -> Register:
    """``dividend / divisor`` in float32, rounded correctly below 2^22, large where it is not.

    divisor: of magnitude 2^-126 to 2^126; one for all lanes, or one for each.
    """
    lanes = dividend.lanes
    minus, inverse = builder.value(f"fneg {divisor.typed}", FLOAT32, divisor.lanes), _inverse(builder, divisor)
    if divisor.lanes < lanes:
        minus, inverse = builder.splat(minus, lanes), builder.splat(inverse, lanes)
    first = result = builder.mul(dividend, inverse)
    for _ in range(CORRECTIONS):
        result = builder.fma(builder.fma(minus, result, dividend), inverse, result)
    size = builder.intrinsic("fabs", (first,))
    is_small = builder.compare("olt", size, literal(LARGE, FLOAT32, lanes))
    return builder.select(is_small, result, first)


def inverse_root(builder: ThreadBuilder, value: Register) -> Register:
    """``1 / √value`` of a float32, within two units of the last digit; infinity for 0."""
    name = "@llvm.nvvm.rsqrt.approx.f"
    builder.declare(f"declare float {name}(float)")
    return builder.value(f"call float {name}({value.typed})", FLOAT32)


def _inverse(builder: ThreadBuilder, value: Register) -> Register:
    """``1 / value``, correct to the last bit but one."""

    def approximate(one: Register) -> Register:
        text = 'call float asm "rcp.approx.f32 $0, $1;", "=f,f"'
        return builder.value(f"{text}({one.typed}) nounwind memory(none)", FLOAT32)

    first = builder.of_each_lane(approximate, value)
    minus, one = builder.value(f"fneg {value.typed}", FLOAT32, value.lanes), literal(1.0, FLOAT32, value.lanes)
    return builder.fma(builder.fma(minus, first, one), first, first)
