"""Square roots and rounding to integers, with arithmetic where the target has no rounding instruction."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tensorwright.codegen.term import Term
from tensorwright.tensor.dtype import FLOAT32


def has_rounding(value: Term) -> bool:
    target = value.builder.target
    return target is None or target.has_rounding


def rounded(value: Term) -> Term:
    """To the nearest integer, halves to even."""
    if has_rounding(value):
        return value.intrinsic("roundeven")
    unit = value.constant(8388608.0 if value.dtype == FLOAT32 else 4503599627370496.0)
    size = value.magnitude()
    near = ((size + unit) - unit).with_sign_of(value)
    return size.less(unit).choose(near, value)


def floor(value: Term) -> Term:
    if has_rounding(value):
        return value.intrinsic("floor")
    near = rounded(value)
    return near.greater(value).choose(near - 1.0, near)


def ceil(value: Term) -> Term:
    if has_rounding(value):
        return value.intrinsic("ceil")
    near = rounded(value)
    return near.less(value).choose(near + 1.0, near).with_sign_of(value)


def trunc(value: Term) -> Term:
    if has_rounding(value):
        return value.intrinsic("trunc")
    size = value.magnitude()
    near = rounded(size)
    return near.greater(size).choose(near - 1.0, near).with_sign_of(value)


def sqrt(value: Term) -> Term:
    return value.intrinsic("sqrt")


FUNCTIONS: Mapping[str, Callable[[Term], Term]] = {
    "floor": floor, "ceil": ceil, "round": rounded, "trunc": trunc, "sqrt": sqrt,
}  # fmt: skip
