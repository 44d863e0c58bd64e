"""Trigonometric functions and their inverses as polynomials in vector registers, for float32 and float64.

Accuracies are measured, in units in the last place (ulp) of the result against exact arithmetic.
"""

from __future__ import annotations

import math

from tensorwright.codegen.polynomials import ASIN, ATAN, COS, HALF_PI, SIN
from tensorwright.codegen.reduction import reduced_angle
from tensorwright.codegen.rounding import sqrt
from tensorwright.codegen.term import Term


def sin(value: Term) -> Term:
    """Within 1.75 ulp, for float64 beyond 2**27 quarter turns within 3.5."""
    rest, quarters = reduced_angle(value)
    return _signed(_odd(quarters).choose(_cosine(rest), _sine(rest)), quarters)


def cos(value: Term) -> Term:
    """Within 1.75 ulp, for float64 beyond 2**27 quarter turns within 3.5."""
    rest, quarters = reduced_angle(value)
    return _signed(_odd(quarters).choose(_sine(rest), _cosine(rest)), quarters + 1)


def tan(value: Term) -> Term:
    """Within 3.75 ulp, for float64 beyond 2**27 quarter turns within 4.5."""
    rest, quarters = reduced_angle(value)
    sine, cosine, odd = _sine(rest), _cosine(rest), _odd(quarters)
    ratio = odd.choose(cosine, sine) / odd.choose(sine, cosine)
    return _signed(ratio, quarters << 1)


def _sine(angle: Term) -> Term:
    square = angle * angle
    return (angle + angle * (square * square.polynomial(SIN[angle.dtype]))).with_sign_of(angle)


def _cosine(angle: Term) -> Term:
    square = angle * angle
    return (1.0 - square * 0.5) + square * square * square.polynomial(COS[angle.dtype])


def _odd(quarters: Term) -> Term:
    return (quarters & 1).differs(0)


def _signed(value: Term, quarters: Term) -> Term:
    """The negative value where bit 1 of `quarters` is set."""
    sign = (quarters & 2) << (8 * value.dtype.size - 2)
    return (value.bits() ^ sign).bits(value.dtype)


def asin(value: Term) -> Term:
    """Within 2.5 ulp, NaN beyond 1. Where x > 1/2, pi / 2 less twice the arcsine of ``sqrt((1 - x) / 2)``."""
    size = value.magnitude()
    large = size.greater(0.5)
    arc = _arcsine_of_half(size, large)
    high, low = HALF_PI[value.dtype]
    return large.choose(high - ((arc + arc) - low), arc).with_sign_of(value)


def acos(value: Term) -> Term:
    """Within 1.5 ulp. NaN beyond 1 and -1."""
    size = value.magnitude()
    large = size.greater(0.5)
    arc = _arcsine_of_half(size, large)
    high, low = HALF_PI[value.dtype]
    near = high - (arc.with_sign_of(value) - low)
    complement = high - (arc - low)
    far = value.less(0.0).choose(complement + complement, arc + arc)
    return large.choose(far, near)


def _arcsine_of_half(size: Term, large: Term) -> Term:
    """asin of the size, or of ``sqrt((1 - size) / 2)`` where it is large."""
    square = large.choose((1.0 - size) * 0.5, size * size)
    root = large.choose(sqrt(square), size)
    return root + root * (square * square.polynomial(ASIN[size.dtype]))


def atan(value: Term) -> Term:
    """Within 2 ulp. Takes pi / 4 or pi / 2 off, so that a polynomial up to sqrt(2) - 1 remains."""
    size = value.magnitude()
    middle, large = size.greater(math.sqrt(2) - 1), size.greater(math.sqrt(2) + 1)
    numerator = large.choose(size.constant(-1.0), middle.choose(size - 1.0, size))
    denominator = large.choose(size, middle.choose(size + 1.0, size.constant(1.0)))
    ratio = numerator / denominator
    square = ratio * ratio
    high, low = HALF_PI[value.dtype]
    offset = large.choose(size.constant(high), middle.choose(size.constant(high / 2), 0.0))
    offset_low = large.choose(size.constant(low), middle.choose(size.constant(low / 2), 0.0))
    rest = ratio * (square * square.polynomial(ATAN[value.dtype])) + offset_low
    return (offset + (ratio + rest)).with_sign_of(value)
