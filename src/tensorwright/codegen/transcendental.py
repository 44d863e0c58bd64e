"""The table of exponentials, logarithms and trigonometric functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tensorwright.codegen.exponential import cosh, erf, exp, sinh, tanh
from tensorwright.codegen.logarithm import acosh, asinh, atanh, log, log1p
from tensorwright.codegen.term import Term
from tensorwright.codegen.trigonometry import acos, asin, atan, cos, sin, tan

FUNCTIONS: Mapping[str, Callable[[Term], Term]] = {
    "exp": exp, "sinh": sinh, "cosh": cosh, "tanh": tanh, "erf": erf,
    "log": log, "log1p": log1p, "asinh": asinh, "acosh": acosh, "atanh": atanh,
    "sin": sin, "cos": cos, "tan": tan, "asin": asin, "acos": acos, "atan": atan,
}  # fmt: skip
