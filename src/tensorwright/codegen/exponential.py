"""exp and the functions that come from it, as polynomials in vector registers, for float32 and float64.

Accuracies are measured, in units in the last place (ulp) of the result against exact arithmetic.
"""

from __future__ import annotations

from math import log, pi, sqrt

from tensorwright.codegen.format import format_of
from tensorwright.codegen.polynomials import (
    ERF,
    ERF_PIECES,
    ERFC,
    ERFC_DENOMINATOR,
    ERFC_ROOT,
    EXP,
    EXP_COARSE,
    LN2,
    SINH,
    TANH,
    TANH_DENOMINATOR,
    TANH_REST,
    TANH_REST_DENOMINATOR,
)
from tensorwright.codegen.term import Term, minimum
from tensorwright.tensor.dtype import FLOAT32, FLOAT64

INVERSE_LN2 = 1.4426950408889634
TANH_END = 9.02
ERF_MIDDLE = 1.1
ERF_STEP = 17 / 64
ERF_END = 4.1

ERF_ROOT = (1.0, 0.0705230784, 0.0422820123, 0.0092705272, 0.0001520143, 0.0002765672, 0.0000430638)
ERF_TANGENT = 0.01
"""Below, the tangent is nearer."""


def exp(value: Term) -> Term:
    """Within 1.2 ulp. 0 and infinity where the result is out of range, with gradual underflow between."""
    return exp_times_power_of_two(value, 0)


def exp_times_power_of_two(value: Term, shift: int, tail: Term | None = None) -> Term:
    """``exp(value + tail) * 2 ** shift``, where the tail is below the last digit of the value.

    Takes the nearest multiple of ln(2) off the value, a polynomial of the rest, and puts the multiple into the exponent
    in two steps, as it may be out of the exponent's range.
    """
    form = format_of(value)
    value = value.bounded(form.exp_low, form.exp_high)
    # In the sum with `anchor` the last digits are the exponent, plus twice the bias.
    anchor = 1.5 * 2.0**form.digits + 2 * form.bias
    anchored = value * INVERSE_LN2 + anchor
    exponent = anchored - anchor
    ln2, ln2_rest = LN2[value.dtype]
    rest = (value - exponent * ln2) - exponent * ln2_rest
    if tail is not None:
        rest = rest + tail
    significand = rest.polynomial((1.0, 1.0, *EXP[value.dtype]))
    if _scales_in_one_instruction(value):
        return _scaled(significand, exponent + float(shift) if shift else exponent)
    twice = anchored.bits() + shift if shift else anchored.bits()
    half = twice.logical_right(1)
    first, second = half << form.digits, (twice - half) << form.digits
    return significand * first.bits(value.dtype) * second.bits(value.dtype)


def coarse_exp(value: Term) -> Term:
    """Within 2e-5 of the result: for results of two bytes."""
    if value.dtype != FLOAT32 or not _scales_in_one_instruction(value):
        return exp(value)
    form = format_of(value)
    value, anchor = value.bounded(form.exp_low, form.exp_high), 1.5 * 2.0**form.digits
    exponent = (value * INVERSE_LN2 + anchor) - anchor
    rest = value - exponent * log(2)
    return _scaled(rest.polynomial((1.0, 1.0, *EXP_COARSE[FLOAT32])), exponent)


def _scales_in_one_instruction(value: Term) -> bool:
    target = value.builder.target
    return target is not None and target.has_scale and value.lanes * value.dtype.size in (16, 32, 64)


def _scaled(value: Term, exponent: Term) -> Term:
    """``value * 2 ** exponent`` with the instruction VSCALEFPS or VSCALEFPD."""
    builder, bits = value.builder, 8 * value.lanes * value.dtype.size
    kind = "ps" if value.dtype == FLOAT32 else "pd"
    name = f"@llvm.x86.avx512.mask.scalef.{kind}.{bits}"
    mask = f"i{max(8, value.lanes)}"
    vector = value.register.type
    rounding = (", i32", ", i32 4") if bits == 512 else ("", "")
    builder.declare(f"declare {vector} {name}({vector}, {vector}, {vector}, {mask}{rounding[0]})")
    operands = f"{value.register.typed}, {exponent.register.typed}, {vector} zeroinitializer, {mask} -1{rounding[1]}"
    return Term(builder, builder.value(f"call {vector} {name}({operands})", value.dtype, value.lanes))


def sinh(value: Term) -> Term:
    """Within 2 ulp: a polynomial up to 1, ``(exp(x) - exp(-x)) / 2`` beyond."""
    size, square = value.magnitude(), value * value
    near = value + value * (square * square.polynomial(SINH[value.dtype]))
    half = exp_times_power_of_two(size, -1)
    far = (half - 0.25 / half).with_sign_of(value)
    return size.less(1.0).choose(near, far)


def cosh(value: Term) -> Term:
    """Within 2 ulp."""
    half = exp_times_power_of_two(value.magnitude(), -1)
    return half + 0.25 / half


def tanh(value: Term) -> Term:
    """Within 1.5 ulp in float64, in float32 5 with and 6 without fused multiply-add.

    1 and -1 from where they are nearest.
    """
    if value.dtype == FLOAT32:
        square = minimum(value * value, value.constant(TANH_END**2))
        slope = square.polynomial(TANH[FLOAT32]) / square.polynomial(TANH_DENOMINATOR[FLOAT32])
        return (value * slope).bounded(-1.0, 1.0)
    size, square = value.magnitude(), value * value
    slope = square.polynomial(TANH_REST[value.dtype]) / square.polynomial(TANH_REST_DENOMINATOR[value.dtype])
    near = size + size * (square * slope)
    far = 1.0 - 2.0 / (exp(size + size) + 1.0)
    return size.less(0.625).choose(near, far).with_sign_of(value)


def erf(value: Term) -> Term:
    """Within 3.6 ulp; 1 and -1 from where they are nearest."""
    if value.dtype == FLOAT32 and _looks_up(value):
        return _erf_in_pieces(value.magnitude()).with_sign_of(value)
    size, square = value.magnitude(), value * value
    near = size + size * square.polynomial(ERF[value.dtype])
    far = 1.0 - (_erfc_float32(size) if value.dtype == FLOAT32 else _erfc_float64(size))
    return size.less(ERF_MIDDLE).choose(near, far).with_sign_of(value)


def coarse_erf(value: Term) -> Term:
    """Within 2e-6, and within 2e-4 of the result: for results of two bytes.

    ``1 - 1 / (1 + a₁x + … + a₆x⁶)¹⁶`` (Abramowitz and Stegun, 7.1.28), near 0 the tangent.
    """
    if _looks_up(value):
        return erf(value)
    size = value.magnitude()
    power = size.polynomial(ERF_ROOT)
    for _ in range(4):
        power = power * power
    far = (1.0 - size.constant(1.0).roughly_over(power)).with_sign_of(value)
    return size.less(ERF_TANGENT).choose(value * (2 / sqrt(pi)), far)


def _looks_up(value: Term) -> bool:
    target = value.builder.target
    return target is not None and target.has_lookup and value.lanes == target.float_lanes


def _erf_in_pieces(size: Term) -> Term:
    """erf from 0 on: a polynomial around the nearest multiple of `ERF_STEP`, its coefficients looked up."""
    size = minimum(size, size.constant(ERF_END))
    anchor = 1.5 * 2.0 ** format_of(size).digits
    anchored = size * (1 / ERF_STEP) + anchor
    rest = size - (anchored - anchor) * ERF_STEP
    coefficients = [anchored.bits().looked_up(row, size.dtype) for row in ERF_PIECES]
    result = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        result = result * rest + coefficient
    return result


def _erfc_float32(value: Term) -> Term:
    """``1 - erf(value)`` from `ERF_MIDDLE` on."""
    power = minimum(value, value.constant(4.0)).polynomial(ERFC_ROOT[FLOAT32])
    for _ in range(4):
        power = power * power
    return 1.0 / power


def _erfc_float64(value: Term) -> Term:
    """``1 - erf(value)`` from `ERF_MIDDLE` on."""
    value = minimum(value, value.constant(6.0))
    quotient = value.polynomial(ERFC[FLOAT64]) / value.polynomial(ERFC_DENOMINATOR[FLOAT64])
    return exp(-(value * value)) * quotient
