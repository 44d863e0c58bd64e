"""The error function for results of two bytes, by a power of two and a reciprocal, which take one instruction each.

``(1 + erf(x)) / 2 = 1 / (1 + 2^-u)`` for an odd function u of x, fitted here so that erf is within 3e-6.
"""

from __future__ import annotations

from functools import partial
from math import pi, sqrt

from tensorwright.codegen.cuda.matrix import power_of_two
from tensorwright.codegen.cuda.threads import ThreadBuilder
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Register, literal
from tensorwright.tensor.dtype import FLOAT32

MINUS_U = (-3.25575283, -0.297005919, 1.43993278e-3, 1.1947912e-3, -9.26147488e-5)
"""-u(x) / x in x²."""
TANGENT_END = 0.01
"""Below, erf is its tangent: what is added to and taken away from it would be left of it otherwise."""


def coarse_erf(builder: ThreadBuilder, value: Register) -> Register:
    """Within 3e-6, and within 2e-4 of the result; 1 and -1 from where they are nearest."""
    x = Term(builder, value)
    far = Term(builder, one_plus_coarse_erf(builder, value)) - 1.0
    return x.magnitude().less(TANGENT_END).choose(x * (2 / sqrt(pi)), far).register


def one_plus_coarse_erf(builder: ThreadBuilder, value: Register) -> Register:
    """``1 + erf(value)`` within 3e-6; 0 and 2 from where they are nearest."""
    x = Term(builder, value)
    exponent = (x * (x * x).polynomial(MINUS_U)).register
    power = builder.of_each_lane(partial(power_of_two, builder), exponent)
    half = literal(0.5, FLOAT32, value.lanes)
    return builder.of_each_lane(partial(_inverse, builder), builder.fma(power, half, half))


def _inverse(builder: ThreadBuilder, value: Register) -> Register:
    name = "@llvm.nvvm.rcp.approx.ftz.f"
    builder.declare(f"declare float {name}(float)")
    return builder.value(f"call float {name}({value.typed})", FLOAT32)
