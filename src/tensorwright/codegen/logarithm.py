"""Logarithms and the functions that come from them, as polynomials in vector registers, for float32 and float64.

Accuracies are measured, in units in the last place (ulp) of the result against exact arithmetic.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from tensorwright.codegen.format import format_of
from tensorwright.codegen.polynomials import ATANH, LN2, LOG1P, THIRD
from tensorwright.codegen.rounding import sqrt
from tensorwright.codegen.term import Term
from tensorwright.tensor.dtype import FLOAT32, FLOAT64


@dataclass(frozen=True)
class Split:
    """A positive number as ``significand * 2 ** exponent`` with the significand from sqrt(1/2) to sqrt(2).

    biased: the exponent plus the type's bias, as an integer (without the correction for subnormal numbers).
    """

    significand: Term
    exponent: Term
    biased: Term


def split(value: Term) -> Split:
    """Significand and exponent of positive finite numbers; arbitrary for others."""
    form = format_of(value)
    tiny = value.less(form.least_normal)
    normal = tiny.choose(value * 2.0**form.digits, value)
    root = _bits_of(math.sqrt(0.5), value)
    shifted = normal.bits() + (_bits_of(1.0, value) - root)
    biased = shifted.logical_right(form.digits)
    significand = ((shifted & ((1 << form.digits) - 1)) + root).bits(value.dtype)
    # An integer in the last digits of 2 ** digits becomes a float by subtraction.
    anchor = 2.0**form.digits
    anchored = (biased | _bits_of(anchor, value)).bits(value.dtype)
    origin = anchored.constant(anchor + form.bias)
    return Split(significand, anchored - tiny.choose(origin + float(form.digits), origin), biased)


def _bits_of(number: float, value: Term) -> int:
    """The representation of a number in the type of `value`."""
    if value.dtype == FLOAT32:
        return int(struct.unpack("<i", struct.pack("<f", number))[0])
    return int(struct.unpack("<q", struct.pack("<d", number))[0])


def log(value: Term) -> Term:
    """Within 1 ulp. -inf for 0, NaN for negative numbers."""
    parts = split(value)
    return _at_ends(value, _log_of_parts(parts.significand - 1.0, parts.exponent))


def _log_of_parts(fraction: Term, exponent: Term) -> Term:
    """``log(1 + fraction) + exponent * ln(2)``, the fraction from sqrt(1/2) - 1 to sqrt(2) - 1."""
    ln2, ln2_rest = LN2[fraction.dtype]
    square = fraction * fraction
    if fraction.dtype == FLOAT32:
        small = fraction * square * fraction.polynomial(LOG1P[FLOAT32]) + exponent * ln2_rest
        return exponent * ln2 + (fraction + (small - square * 0.5))
    # log(1 + f) = 2 atanh(s) with s = f / (2 + f), and 2 s = f - f**2 / 2 + s f**2 / 2.
    ratio = fraction / (fraction + 2.0)
    ratio_square = ratio * ratio
    half = square * 0.5
    rest = ratio_square * ratio_square.polynomial((THIRD[FLOAT64][0], *ATANH[FLOAT64])) * 2.0
    small = ratio * (half + rest) + exponent * ln2_rest
    return exponent * ln2 + (fraction - (half - small))


def _at_ends(value: Term, result: Term) -> Term:
    """The logarithm of numbers that are not positive and finite, `result` for all others."""
    infinity = value.constant(math.inf)
    special = value.equals(0.0).choose(value.constant(-math.inf), value.equals(infinity).choose(infinity, math.nan))
    return (value.greater(0.0) & value.less(infinity)).choose(result, special)


def log1p(value: Term) -> Term:
    """Within 1.5 ulp."""
    return _log1p(value).with_sign_of(value)


def _log1p(value: Term) -> Term:
    form = format_of(value)
    total = value + 1.0
    added = total - 1.0
    lost = (value - added) + (1.0 - (total - added))
    parts = split(total)
    inverse_exponent = (2 * form.bias - parts.biased).intrinsic("smax", 0)
    inverse = (inverse_exponent << form.digits).bits(value.dtype)
    fraction = (parts.significand - 1.0) + lost * inverse
    return _at_ends(total, _log_of_parts(fraction, parts.exponent))


def asinh(value: Term) -> Term:
    """Within 2 ulp: ``log1p(x + x**2 / (1 + sqrt(1 + x**2)))``."""
    size = value.magnitude()
    square = size * size
    exact = size + square / (sqrt(square + 1.0) + 1.0)
    return _log_doubled_if_large(size, exact).with_sign_of(value)


def acosh(value: Term) -> Term:
    """Within 2.5 ulp: ``log1p(t + sqrt(t * (2 + t)))`` with ``t = x - 1``. NaN below 1."""
    beyond = value - 1.0
    exact = beyond + sqrt(beyond * (beyond + 2.0))
    return beyond.at_least(0.0).choose(_log_doubled_if_large(value, exact), math.nan)


def _log_doubled_if_large(value: Term, otherwise: Term) -> Term:
    """``log(2 * value)`` where a 1 is lost in the value's square, ``log1p(otherwise)`` elsewhere."""
    large = value.greater(2.0 ** (format_of(value).digits // 2 + 2))
    return _log1p(large.choose(value - 1.0, otherwise)) + large.choose(value.constant(math.log(2)), 0.0)


def atanh(value: Term) -> Term:
    """Within 2.5 ulp: ``log1p(2 * x / (1 - x)) / 2``. Infinite at 1 and -1, NaN beyond."""
    size = value.magnitude()
    return (_log1p((size + size) / (1.0 - size)) * 0.5).with_sign_of(value)
