"""What formulas need to know of a floating type's representation."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.term import Term
from tensorwright.tensor.dtype import FLOAT32, FLOAT64, INT32, INT64, DType


@dataclass(frozen=True)
class Format:
    """A floating type.

    integer: the type with as many bits. digits: stored bits of the significand. bias: of the exponent. least_normal:
    the smallest number with all digits. exp_low, exp_high: beyond them exp is 0 and even half of it infinite.
    """

    integer: DType
    digits: int
    bias: int
    exp_low: float
    exp_high: float

    @property
    def least_normal(self) -> float:
        return 2.0 ** (1 - self.bias)


_FORMATS = {FLOAT32: Format(INT32, 23, 127, -104.0, 90.0), FLOAT64: Format(INT64, 52, 1023, -746.0, 711.0)}


def format_of(value: Term) -> Format:
    """The format of a float's type."""
    return _FORMATS[value.dtype]
