"""Angles modulo a quarter turn."""

from __future__ import annotations

import math
from fractions import Fraction

from tensorwright.codegen.polynomials import REDUCTION
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Register, i64, literal
from tensorwright.tensor.dtype import FLOAT32, FLOAT64, INT32

FAR = 2.0**27 * math.pi / 2
FAR_FUNCTION = "@tensorwright.far_angle"


def reduced_angle(value: Term) -> tuple[Term, Term]:
    """``value - quarters * pi / 2`` in [-pi / 4, pi / 4] and `quarters`, an integer modulo 4.

    In float64 for either type. Up to 2**27 quarter turns, pi / 2 is taken off in parts whose products are exact (Cody
    and Waite 1980); beyond, which a loop over the lanes handles, with as many digits of 2 / pi as it takes (Payne and
    Hanek 1983). NaN for infinite angles.
    """
    wide = value if value.dtype == FLOAT64 else value.converted("fpext", FLOAT64)
    anchor = 1.5 * 2.0**52
    anchored = wide * (2 / math.pi) + anchor
    quarters = anchored - anchor
    rest = wide
    for part in REDUCTION[FLOAT64]:
        rest = rest - quarters * part
    rest, turned = _with_far_angles(wide, rest, anchored.bits())
    if value.dtype == FLOAT64:
        return rest, turned
    return rest.converted("fptrunc", FLOAT32), turned.converted("trunc", INT32)


def _with_far_angles(angle: Term, rest: Term, quarters: Term) -> tuple[Term, Term]:
    """The given results, replaced where the angle is too large for them."""
    builder, lanes = angle.builder, angle.lanes
    size = angle.magnitude()
    far = size.greater(FAR) & size.less(math.inf)
    stop = builder.select(builder.any(far.register), i64(lanes), 0)
    builder.define(FAR_FUNCTION, _far_function())
    with builder.loop(0, stop, 1, [rest.register, quarters.register]) as loop:
        lane = loop.index
        chosen = _lane(far.register, lane, angle)
        one = builder.select(chosen, _lane(angle.register, lane, angle), literal(2 * FAR, FLOAT64))
        found = builder.value(f"call {{ double, i64 }} {FAR_FUNCTION}({one.typed})", FLOAT64).text
        results = []
        for part, register in enumerate(loop.carried):
            value = builder.value(f"extractvalue {{ double, i64 }} {found}, {part}", register.dtype)
            value = builder.select(chosen, value, _lane(register, lane, angle))
            if lanes > 1:
                text = f"insertelement {register.typed}, {value.typed}, {lane.typed}"
                value = builder.value(text, register.dtype, lanes)
            results.append(value)
        loop.following = results
    final_rest, final_quarters = loop.final
    return Term(builder, final_rest), Term(builder, final_quarters)


def _lane(register: Register, lane: Register, like: Term) -> Register:
    if register.lanes == 1:
        return register
    return like.builder.value(f"extractelement {register.typed}, {lane.typed}", register.dtype)


def _inverse_digits(words: int) -> list[int]:
    """The binary digits of 2 / pi in words of 64, after a word of zeros."""
    digits = (words + 1) * 64
    quotient = _two_over_pi(digits)
    return [0, *((quotient >> (digits - 64 * (i + 1))) & (2**64 - 1) for i in range(words))]


def _two_over_pi(digits: int) -> int:
    """``floor(2 / pi * 2**digits)``, by Machin's formula in integers."""
    one = 1 << (digits + 64)
    pi = 4 * (4 * _inverse_tangent(5, one) - _inverse_tangent(239, one))
    return int(Fraction(2 * one, pi) * 2**digits)


def _inverse_tangent(inverse: int, one: int) -> int:
    power, total, k = one // inverse, 0, 0
    while power:
        total += (-power if k % 2 else power) // (2 * k + 1)
        power //= inverse * inverse
        k += 1
    return total


def _far_function() -> str:
    """Angle in [2**27, 2**1024) to its rest in [-pi / 4, pi / 4] and the number of quarter turns modulo 4.

    With ``x = m * 2**(e - 52)``, the digits of 2 / pi above weight 2**(53 - e) contribute multiples of 4. The next 192,
    times m, give 2 digits of quarters and 190 of a fraction, of which the first 128 are kept.
    """
    words = _inverse_digits(20)
    table = ", ".join(f"i64 {word - 2**64 if word >> 63 else word}" for word in words)
    return f"""
{FAR_FUNCTION}.digits = private constant [{len(words)} x i64] [{table}]

define private {{ double, i64 }} {FAR_FUNCTION}(double %x) noinline nounwind "no-builtins" {{
  %bits = bitcast double %x to i64
  %shifted = lshr i64 %bits, 52
  %biased = and i64 %shifted, 2047
  %low_bits = and i64 %bits, 4503599627370495
  %m = or i64 %low_bits, 4503599627370496
  %start = sub i64 %biased, 1013
  %word = lshr i64 %start, 6
  %shift = and i64 %start, 63
  %back = sub i64 64, %shift
  %p0 = getelementptr i64, ptr {FAR_FUNCTION}.digits, i64 %word
  %p1 = getelementptr i64, ptr %p0, i64 1
  %p2 = getelementptr i64, ptr %p0, i64 2
  %p3 = getelementptr i64, ptr %p0, i64 3
  %w0 = load i64, ptr %p0
  %w1 = load i64, ptr %p1
  %w2 = load i64, ptr %p2
  %w3 = load i64, ptr %p3
  %a = call i64 @llvm.fshl.i64(i64 %w0, i64 %w1, i64 %shift)
  %b = call i64 @llvm.fshl.i64(i64 %w1, i64 %w2, i64 %shift)
  %c = call i64 @llvm.fshl.i64(i64 %w2, i64 %w3, i64 %shift)
  %wide_m = zext i64 %m to i128
  %wide_b = zext i64 %b to i128
  %wide_c = zext i64 %c to i128
  %product_b = mul i128 %wide_b, %wide_m
  %product_c = mul i128 %wide_c, %wide_m
  %product_a = mul i64 %a, %m
  %wide_a = zext i64 %product_a to i128
  %top = shl i128 %wide_a, 64
  %carry = lshr i128 %product_c, 64
  %upper = add i128 %top, %product_b
  %all = add i128 %upper, %carry
  %half = add i128 %all, {1 << 125}
  %whole = lshr i128 %half, 126
  %quarters = trunc i128 %whole to i64
  %multiple = shl i128 %whole, 126
  %fraction = sub i128 %all, %multiple
  %below = icmp slt i128 %fraction, 0
  %opposite = sub i128 0, %fraction
  %size = select i1 %below, i128 %opposite, i128 %fraction
  %zeros = call i128 @llvm.ctlz.i128(i128 %size, i1 false)
  %normal = shl i128 %size, %zeros
  %leading_wide = lshr i128 %normal, 75
  %leading = trunc i128 %leading_wide to i64
  %significand = sitofp i64 %leading to double
  %places = trunc i128 %zeros to i64
  %exponent = sub i64 {1023 - 126 + 75}, %places
  %scale_bits = shl i64 %exponent, 52
  %scale = bitcast i64 %scale_bits to double
  %turns = fmul double %significand, %scale
  %angle = fmul double %turns, {literal(math.pi / 2, FLOAT64).text}
  %sign = and i64 %bits, -9223372036854775808
  %flip = select i1 %below, i64 -9223372036854775808, i64 0
  %signs = xor i64 %sign, %flip
  %angle_bits = bitcast double %angle to i64
  %signed_bits = xor i64 %angle_bits, %signs
  %rest = bitcast i64 %signed_bits to double
  %negative = icmp slt i64 %bits, 0
  %reverse = sub i64 0, %quarters
  %turned = select i1 %negative, i64 %reverse, i64 %quarters
  %first = insertvalue {{ double, i64 }} poison, double %rest, 0
  %both = insertvalue {{ double, i64 }} %first, i64 %turned, 1
  ret {{ double, i64 }} %both
}}

declare i64 @llvm.fshl.i64(i64, i64, i64)
declare i128 @llvm.ctlz.i128(i128, i1 immarg)
"""
