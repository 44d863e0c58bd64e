"""Emits the functions of `tensorwright.graph.functions` as vector code that calls nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tensorwright.base.errors import BuildError
from tensorwright.codegen import division, rounding, transcendental
from tensorwright.codegen.convert import convert
from tensorwright.codegen.exponential import coarse_erf, coarse_exp
from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.power import power
from tensorwright.codegen.term import Term, maximum, minimum
from tensorwright.codegen.values import Register, register_dtype
from tensorwright.tensor.dtype import BFLOAT16, BOOL, FLOAT16, DType

__all__ = ["apply_function", "convert"]


def apply_function(builder: FunctionBuilder, function: str, operands: Sequence[Register], dtype: DType) -> Register:
    """Append a function applied to operands of equal lanes (scalars are spread) and one type; `dtype` is the result's.

    Raises:
        BuildError: there is no such function, or not for operands of this type.
    """
    lanes = max(operand.lanes for operand in operands)
    terms = [Term(builder, builder.splat(operand, lanes)) for operand in operands]
    if function == "cast":
        return convert(builder, terms[0].register, dtype)
    if function == "bits":
        return builder.bitcast(terms[0].register, dtype)
    if function == "select":
        condition, then, otherwise = terms
        return condition.choose(then, otherwise).register
    kind = terms[0].dtype.kind
    coarse = _COARSE if dtype in (FLOAT16, BFLOAT16) else {}
    for table in (coarse, _OF_KIND[kind], _COMPARISONS, _LOGIC):
        if function in table:
            result = table[function](*terms).register
            assert result.dtype == register_dtype(dtype), f"{function} gives {result.dtype}, not {dtype}"
            return result
    raise BuildError(f"no code for function '{function}' of {terms[0].dtype} operands")


Emit = Callable[..., Term]


def _same(value: Term) -> Term:
    return value


def _false(value: Term) -> Term:
    return value.constant(False, BOOL)


def _float_sign(value: Term) -> Term:
    unit = value.constant(1.0).with_sign_of(value)
    return value.equals(0.0).choose(value, value.is_nan().choose(value, unit))


def _integer_sign(value: Term) -> Term:
    positive = value.greater(0).choose(value.constant(1), 0)
    return positive if value.dtype.kind == "unsigned" else value.less(0).choose(value.constant(-1), positive)


def _integer_abs(value: Term) -> Term:
    return value if value.dtype.kind == "unsigned" else value.less(0).choose(-value, value)


def _integer_max(left: Term, right: Term) -> Term:
    return left.intrinsic("smax" if left.dtype.kind == "signed" else "umax", right)


def _integer_min(left: Term, right: Term) -> Term:
    return left.intrinsic("smin" if left.dtype.kind == "signed" else "umin", right)


def _shift_left(value: Term, distance: Term) -> Term:
    bits = 8 * value.dtype.size
    possible = _unsigned_less(distance, bits)
    return possible.choose(value << possible.choose(distance, 0), 0)


def _shift_right(value: Term, distance: Term) -> Term:
    bits = 8 * value.dtype.size
    possible = _unsigned_less(distance, bits)
    if value.dtype.kind == "signed":
        return value >> possible.choose(distance, bits - 1)
    return possible.choose(value >> possible.choose(distance, 0), 0)


def _unsigned_less(value: Term, bound: int) -> Term:
    limit = value.constant(bound).register
    return Term(value.builder, value.builder.compare("ult", value.register, limit))


def _logical(opcode: str) -> Emit:
    def emit(left: Term, right: Term) -> Term:
        left, right = left.differs(0), right.differs(0)
        return Term(left.builder, left.builder.binary(opcode, left.register, right.register))

    return emit


def _not(value: Term) -> Term:
    return value.equals(0)


def _is_infinite(value: Term) -> Term:
    return value.magnitude().equals(float("inf"))


_FLOAT: Mapping[str, Emit] = {
    "add": Term.__add__, "sub": Term.__sub__, "mul": Term.__mul__, "div": Term.__truediv__, "pow": power,
    "mod": division.float_mod, "floor_mod": division.float_floor_mod, "max": maximum, "min": minimum,
    "neg": Term.__neg__, "abs": Term.magnitude, "sign": _float_sign, "is_nan": Term.is_nan, "is_inf": _is_infinite,
    **rounding.FUNCTIONS, **transcendental.FUNCTIONS,
}  # fmt: skip

_INTEGER: Mapping[str, Emit] = {
    "add": Term.__add__, "sub": Term.__sub__, "mul": Term.__mul__, "div": division.integer_div,
    "pow": division.integer_power, "mod": division.integer_mod, "floor_mod": division.integer_floor_mod,
    "max": _integer_max, "min": _integer_min, "neg": Term.__neg__, "abs": _integer_abs, "sign": _integer_sign,
    "is_nan": _false, "is_inf": _false, "floor": _same, "ceil": _same, "round": _same, "trunc": _same,
    "bit_and": Term.__and__, "bit_or": Term.__or__, "bit_xor": Term.__xor__, "bit_not": Term.__invert__,
    "shift_left": _shift_left, "shift_right": _shift_right,
}  # fmt: skip

_BOOL: Mapping[str, Emit] = {
    "add": Term.__or__, "mul": Term.__and__, "max": Term.__or__, "min": Term.__and__, "abs": _same,
    "bit_and": Term.__and__, "bit_or": Term.__or__, "bit_xor": Term.__xor__, "bit_not": Term.__invert__,
    "not": Term.__invert__, "and": Term.__and__, "or": Term.__or__, "xor": Term.__xor__,
    "is_nan": _false, "is_inf": _false,
}  # fmt: skip

_OF_KIND: Mapping[str, Mapping[str, Emit]] = {"float": _FLOAT, "signed": _INTEGER, "unsigned": _INTEGER, "bool": _BOOL}
_COARSE: Mapping[str, Emit] = {"erf": coarse_erf, "exp": coarse_exp}
"""For results of two bytes."""
_COMPARISONS: Mapping[str, Emit] = {"equal": Term.equals, "less": Term.less, "less_equal": Term.at_most}
_LOGIC: Mapping[str, Emit] = {
    "and": _logical("and"), "or": _logical("or"), "xor": _logical("xor"), "not": _not,
}  # fmt: skip
