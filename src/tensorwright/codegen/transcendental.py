"""Exponentials, logarithms and their like as polynomials in vector registers, for float32 and float64.

Accuracies are in units in the last place (ulp) of the result, against exact arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tensorwright.codegen.polynomials import EXP, LN2
from tensorwright.codegen.term import Term
from tensorwright.tensor.dtype import FLOAT32, FLOAT64, INT32, INT64, DType


@dataclass(frozen=True)
class Format:
    """What formulas need to know of a floating type.

    digits: stored bits of the significand. bias: of the exponent. least, most: beyond them exp is 0 and infinite.
    """

    integer: DType
    digits: int
    bias: int
    least: float
    most: float


FORMATS = {
    FLOAT32: Format(INT32, 23, 127, -104.0, 89.0),
    FLOAT64: Format(INT64, 52, 1023, -746.0, 710.0),
}
INVERSE_LN2 = 1.4426950408889634


def exp(value: Term) -> Term:
    """At most 1 ulp. Gives 0 and infinity where the result is out of range, with gradual underflow between."""
    return _scaled_exp(value, 0)


def _scaled_exp(value: Term, shift: int) -> Term:
    """``exp(value) * 2 ** shift``, rounding value to a multiple of ln 2 and taking a polynomial of the rest."""
    form = FORMATS[value.dtype]
    value = value.bounded(form.least, form.most)
    # In the sum with `anchor` the last digits are the exponent, plus twice the bias.
    anchor = 1.5 * 2.0**form.digits + 2 * form.bias
    anchored = value * INVERSE_LN2 + anchor
    exponent = anchored - anchor
    ln2, ln2_rest = LN2[value.dtype]
    rest = (value - exponent * ln2) - exponent * ln2_rest
    significand = rest.polynomial(EXP[value.dtype])
    if _scales_in_one_instruction(value):
        return _scaled(significand, exponent + float(shift) if shift else exponent)
    twice = anchored.bits() + shift if shift else anchored.bits()
    half = twice.logical_right(1)
    first, second = half << form.digits, (twice - half) << form.digits
    return significand * first.bits(value.dtype) * second.bits(value.dtype)


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


FUNCTIONS: Mapping[str, Callable[[Term], Term]] = {"exp": exp}
