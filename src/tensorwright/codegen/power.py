"""Powers of floats, with the special cases of C's pow (ISO C, annex F.10.4.4)."""

from __future__ import annotations

import math
import re
import struct

from tensorwright.codegen.exponential import exp, exp_times_power_of_two
from tensorwright.codegen.logarithm import log, split
from tensorwright.codegen.polynomials import ATANH, LN2, THIRD
from tensorwright.codegen.rounding import sqrt, trunc
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Register
from tensorwright.tensor.dtype import FLOAT32, FLOAT64


def power(base: Term, exponent: Term) -> Term:
    """Within 1.5 ulp; small integers and halves as constant exponents by multiplication and square root."""
    known = literal_value(exponent.register)
    if known is not None and abs(known) in (0.0, 0.5, 1.0, 2.0, 3.0, 4.0):
        result = _simple_power(base, abs(known))
        return 1.0 / result if known < 0 else result
    return _at_special_points(base, exponent, _size_of_power(base, exponent))


def literal_value(register: Register) -> float | None:
    """The number that a float literal stands for; None for other registers."""
    match = re.search(r"\b0x([0-9A-F]{16})\b", register.text) if register.is_literal else None
    return None if match is None else float(struct.unpack(">d", bytes.fromhex(match[1]))[0])


def _simple_power(base: Term, exponent: float) -> Term:
    if exponent == 0.0:
        return base.constant(1.0)
    if exponent == 0.5:
        return base.equals(-math.inf).choose(base.constant(math.inf), sqrt(base + 0.0))
    result = base if exponent % 2 else base * base
    if exponent > 2.0:
        result = result * (base * base)
    return result


def _size_of_power(base: Term, exponent: Term) -> Term:
    """``abs(base) ** exponent``, NaN where the formula meets 0 times infinity."""
    if base.dtype == FLOAT32:
        wide_base, wide_exponent = base.converted("fpext", FLOAT64), exponent.converted("fpext", FLOAT64)
        return exp(wide_exponent * log(wide_base.magnitude())).converted("fptrunc", FLOAT32)
    size = base.magnitude()
    high, low = _precise_log(size)
    product = exponent.exact_mul(high)
    rest = exponent.remainder_of_product(high, product) + exponent * low
    regular = size.greater(0.0) & size.less(math.inf)
    at_ends = exponent * size.equals(0.0).choose(size.constant(-math.inf), size)
    rest = (regular & product.magnitude().less(1000.0)).choose(rest, 0.0)
    return exp_times_power_of_two(regular.choose(product, at_ends), 0, rest)


def _precise_log(value: Term) -> tuple[Term, Term]:
    """The logarithm of a positive finite float64 as a sum whose error is about 2**-65 of it.

    As `log`, with the terms s and s**3 / 3 of atanh(s) in pairs of numbers.
    """
    parts = split(value)
    fraction = parts.significand - 1.0
    divisor = parts.significand + 1.0
    divisor_low = parts.significand - (divisor - 1.0)
    ratio = fraction / divisor
    product = ratio.exact_mul(divisor)
    left = (fraction - product) - ratio.remainder_of_product(divisor, product) - ratio * divisor_low
    ratio_low = left / divisor
    square = ratio.exact_mul(ratio)
    square_low = ratio.remainder_of_product(ratio, square) + ratio * ratio_low * 2.0
    cube = ratio.exact_mul(square)
    cube_low = ratio.remainder_of_product(square, cube) + ratio * square_low + ratio_low * square
    third, third_low = THIRD[FLOAT64]
    term = cube.exact_mul(third)
    term_low = cube.remainder_of_product(cube.constant(third), term) + cube * third_low + cube_low * third
    term_low = term_low + cube * square * square.polynomial(ATANH[FLOAT64])
    high = ratio + term
    low = (ratio - high) + term + (term_low + ratio_low)
    ln2, ln2_rest = LN2[FLOAT64]
    shift = parts.exponent * ln2
    doubled = high + high
    total = shift + doubled
    added = total - shift
    lost = (doubled - added) + (shift - (total - added))
    rest = lost + ((low + low) + parts.exponent * ln2_rest)
    sum_ = total + rest
    return sum_, rest - (sum_ - total)


def _at_special_points(base: Term, exponent: Term, size: Term) -> Term:
    whole = trunc(exponent)
    half = exponent * 0.5
    integral = whole.equals(exponent)
    odd = integral & trunc(half).differs(half)
    unit = base.magnitude().equals(1.0) & exponent.equals(exponent)
    size = unit.choose(size.constant(1.0), size)
    signed = odd.choose(size.with_sign_of(base), size)
    undefined = base.less(0.0) & base.greater(-math.inf) & ~integral & exponent.equals(exponent)
    result = undefined.choose(signed.constant(math.nan), signed)
    return (base.equals(1.0) | exponent.equals(0.0)).choose(result.constant(1.0), result)
