"""Computes `src/tensorwright/codegen/polynomials.py` and measures what it writes there.

    python -m pip install mpmath numpy
    python tools/fit_polynomials.py        # half a minute

Every table is a minimax fit in 300-bit arithmetic whose coefficients are then rounded to the type. Where the variable
is positive the lowest powers are rounded one after another, and what is left is fitted again each time.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mpmath
import numpy as np
from mpmath import mpf
from remez import minimax

Real = Callable[[mpf], mpf]
DIGITS = {"float32": 24, "float64": 53}
SENSITIVE = 5
OUTPUT = Path(__file__).parents[1] / "src" / "tensorwright" / "codegen" / "polynomials.py"


@dataclass(frozen=True)
class Table:
    """What to approximate, and where.

    function: of the table's variable. weight: what an absolute error of the table counts in the result; it is positive.
    degrees: of the numerator and the denominator, for each type. meaning: a line for the reader.
    """

    name: str
    meaning: str
    function: Real
    weight: Real
    low: float
    high: float
    degrees: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Rounded:
    """Coefficients of a type, lowest power first, and their largest weighted error in units of 2 ** -digits."""

    numerator: list[float]
    denominator: list[float]
    error: float


def rounded(value: mpf, dtype: str) -> float:
    """The nearest number of a type."""
    return float(np.float32(float(value))) if dtype == "float32" else float(value)


def fit(table: Table, dtype: str) -> Rounded:
    first = minimax(table.function, table.weight, table.low, table.high, table.degrees[dtype])
    scale = _scale(first.numerator[0], dtype) if table.degrees[dtype][1] else 1.0
    denominator = [rounded(scale * c, dtype) for c in first.denominator]
    numerator = [rounded(c, dtype) for c in first.numerator]
    if table.low > 0:
        numerator = _refitted(table, dtype, denominator)
    return Rounded(numerator, denominator, float(_measured(table, numerator, denominator) * 2 ** DIGITS[dtype]))


def _scale(leading: mpf, dtype: str) -> float:
    """A number of the type, just above 1, whose product with the leading coefficient is nearly one too."""
    unit = mpf(2) ** (1 - DIGITS[dtype])
    candidates = [float(1 + i * unit) for i in range(1000)]
    return min(candidates, key=lambda c: abs(rounded(c * leading, dtype) - c * leading))


def _refitted(table: Table, dtype: str, denominator: list[float]) -> list[float]:
    """The numerator over a given denominator, the lowest powers rounded one by one."""
    numerator: list[float] = []
    degree = table.degrees[dtype][0]
    while len(numerator) <= degree:
        known, power = list(numerator), len(numerator)

        def rest(x: mpf, known: list[float] = known, power: int = power) -> mpf:
            return (table.function(x) * _value(denominator, x) - _value(known, x)) / x**power

        def weight(x: mpf, power: int = power) -> mpf:
            return table.weight(x) * x**power / abs(_value(denominator, x))

        left = minimax(rest, weight, table.low, table.high, (degree - power, 0))
        steps = 1 if power < SENSITIVE else degree + 1
        numerator += [rounded(c, dtype) for c in left.numerator[:steps]]
    return numerator


def _value(coefficients: list[float], x: mpf) -> mpf:
    return mpmath.polyval([mpf(c) for c in reversed(coefficients)] or [mpf(0)], x)


def _measured(table: Table, numerator: list[float], denominator: list[float]) -> mpf:
    points = [mpf(table.low) + (mpf(table.high) - mpf(table.low)) * (i + mpf(1) / 3) / 2000 for i in range(2000)]
    return max(abs(_value(numerator, x) / _value(denominator, x) - table.function(x)) * table.weight(x) for x in points)


def split(value: mpf, bits: int, dtype: str, parts: int) -> list[float]:
    """Positive numbers with this sum; all but the last are short, so that products with short integers are exact."""
    result = []
    for _ in range(parts - 1):
        exponent = int(mpmath.floor(mpmath.log(abs(value), 2)))
        head = mpmath.floor(value * mpf(2) ** (bits - 1 - exponent)) / mpf(2) ** (bits - 1 - exponent)
        result.append(float(head))
        value -= head
    return [*result, rounded(value, dtype)]


def beyond_first_term(function: Real) -> tuple[Real, Real]:
    """``(function(x) - x) / x**3`` in the variable ``z = x * x``, and what its error counts in ``function(x)``."""

    def rest(z: mpf) -> mpf:
        x = mpmath.sqrt(z)
        return (function(x) - x) / x**3

    def weight(z: mpf) -> mpf:
        x = mpmath.sqrt(z)
        return x**3 / function(x)

    return rest, weight


def over_variable(function: Real) -> tuple[Real, Real]:
    """``function(x) / x`` in the variable ``z = x * x``, and what its error counts in ``function(x)``."""
    return (lambda z: function(mpmath.sqrt(z)) / mpmath.sqrt(z)), (lambda z: mpmath.sqrt(z) / function(mpmath.sqrt(z)))


def cosine_rest(z: mpf) -> mpf:
    return (mpmath.cos(mpmath.sqrt(z)) - 1 + z / 2) / z**2


def atanh_rest(z: mpf) -> mpf:
    s = mpmath.sqrt(z)
    return (mpmath.atanh(s) - s - s**3 / 3) / s**5


def erf_rest(z: mpf) -> mpf:
    return mpmath.erf(mpmath.sqrt(z)) / mpmath.sqrt(z) - 1


def erfc_root(x: mpf) -> mpf:
    return mpmath.erfc(x) ** (-mpf(1) / 16)


def scaled_complement(x: mpf) -> mpf:
    return mpmath.erfc(x) * mpmath.exp(x * x)


def odd(name: str, meaning: str, function: Real, largest: float, degrees: dict[str, tuple[int, int]]) -> Table:
    """A table of what is left of an odd function after its first term, from 0 to `largest`."""
    high = largest**2 * 1.001
    return Table(name, meaning, *beyond_first_term(function), high * 1e-5, high, degrees)


HALF_LN2 = math.log(2) / 2 * 1.001
QUARTER_PI = math.pi / 4
ROOT = math.sqrt(2)

TABLES = [
    Table(
        "EXP", "(exp(x) - 1 - x) / x**2 for abs(x) <= ln(2) / 2", lambda x: (mpmath.expm1(x) - x) / x**2,
        lambda x: x**2 * mpmath.exp(-x), -HALF_LN2, HALF_LN2, {"float32": (4, 0), "float64": (9, 0)},
    ),
    Table(
        "EXP_COARSE", "as EXP, for results of two bytes", lambda x: (mpmath.expm1(x) - x) / x**2,
        lambda x: x**2 * mpmath.exp(-x), -HALF_LN2, HALF_LN2, {"float32": (2, 0)},
    ),
    Table(
        "LOG1P", "(log(1 + f) - f + f**2 / 2) / f**3 for sqrt(1 / 2) <= 1 + f <= sqrt(2)",
        lambda f: (mpmath.log1p(f) - f + f * f / 2) / f**3, lambda f: abs(f**3 / mpmath.log1p(f)),
        1 / ROOT - 1, ROOT - 1, {"float32": (7, 0)},
    ),
    Table(
        "ATANH", "(atanh(s) - s - s**3 / 3) / s**5 in s**2 for abs(s) <= (sqrt(2) - 1) / (sqrt(2) + 1)", atanh_rest,
        lambda z: z**2, 1e-6, ((ROOT - 1) / (ROOT + 1)) ** 2 * 1.001, {"float64": (6, 0)},
    ),
    odd(
        "SIN", "(sin(x) - x) / x**3 in x**2 for abs(x) <= pi / 4", mpmath.sin, QUARTER_PI,
        {"float32": (2, 0), "float64": (5, 0)},
    ),
    Table(
        "COS", "(cos(x) - 1 + x**2 / 2) / x**4 in x**2 for abs(x) <= pi / 4", cosine_rest,
        lambda z: z**2 / mpmath.cos(mpmath.sqrt(z)), 1e-6, QUARTER_PI**2 * 1.001,
        {"float32": (2, 0), "float64": (5, 0)},
    ),
    odd(
        "ASIN", "(asin(x) - x) / x**3 in x**2 for abs(x) <= 1 / 2", mpmath.asin, 0.5,
        {"float32": (4, 0), "float64": (12, 0)},
    ),
    odd(
        "ATAN", "(atan(x) - x) / x**3 in x**2 for abs(x) <= sqrt(2) - 1", mpmath.atan, ROOT - 1,
        {"float32": (4, 0), "float64": (10, 0)},
    ),
    odd(
        "SINH", "(sinh(x) - x) / x**3 in x**2 for abs(x) <= 1", mpmath.sinh, 1.0,
        {"float32": (3, 0), "float64": (6, 0)},
    ),
    Table(
        "TANH", "tanh(x) / x in x**2 for abs(x) <= 9.02", *over_variable(mpmath.tanh), 1e-5, 9.02**2,
        {"float32": (7, 3)},
    ),
    odd("TANH_REST", "(tanh(x) - x) / x**3 in x**2 for abs(x) <= 5 / 8", mpmath.tanh, 0.625, {"float64": (2, 3)}),
    Table(
        "ERF", "erf(x) / x - 1 in x**2 for abs(x) <= 1.1", erf_rest,
        lambda z: mpmath.sqrt(z) / mpmath.erf(mpmath.sqrt(z)), 1e-6, 1.1**2 * 1.001,
        {"float32": (6, 0), "float64": (13, 0)},
    ),
    Table(
        "ERFC_ROOT", "(1 - erf(x)) ** (-1 / 16) for 1.1 <= x <= 4", erfc_root,
        lambda x: 16 * mpmath.erfc(x) / erfc_root(x) / mpmath.erf(x), 1.1, 4.0, {"float32": (6, 0)},
    ),
    Table(
        "ERFC", "exp(x**2) * (1 - erf(x)) for 1.1 <= x <= 6", scaled_complement,
        lambda x: mpmath.exp(-x * x) / mpmath.erf(x), 1.1, 6.0, {"float64": (5, 6)},
    ),
]  # fmt: skip

PIECES = 16
STEP = mpf(17) / 64
PIECE_DEGREE = 5


def erf_piece(number: int) -> tuple[list[float], float]:
    """erf(STEP * number + r) in r for abs(r) <= STEP / 2, and the largest error in units of 2 ** -24 of erf.

    That of number 0 has no constant term, so that it stays accurate next to zero.
    """
    center, half = STEP * number, STEP / 2
    if number == 0:
        fitted = minimax(
            lambda r: mpmath.erf(r) / r, lambda r: r / mpmath.erf(r), half * 1e-5, half * 1.001, (PIECE_DEGREE - 1, 0)
        )
        exact = [mpf(0), *fitted.numerator]
        low = half * 1e-5
    else:
        fitted = minimax(
            lambda r: mpmath.erf(center + r), lambda r: 1 / mpmath.erf(center + r), -half, half, (PIECE_DEGREE, 0)
        )
        exact, low = list(fitted.numerator), -half
    found = [rounded(c, "float32") for c in exact]
    points = [low + (half - low) * i / 500 for i in range(501)]
    errors = [abs(_value(found, r) / mpmath.erf(center + r) - 1) for r in points]
    return found, float(max(errors) * 2 ** DIGITS["float32"])


def erf_pieces() -> list[str]:
    """The lines of a table with the coefficients of each power in all pieces."""
    pieces = [erf_piece(number) for number in range(PIECES)]
    worst = max(error for _, error in pieces)
    sys.stdout.write(f"{'ERF_PIECES':12} {worst:.2g} (float32)\n")
    meaning = "erf(n * 17 / 64 + r) in r for abs(r) <= 17 / 128; a row for each power, n from 0 to 15"
    lines = ["", f"# {meaning}: {worst:.2g} (float32)."]
    lines += ["ERF_PIECES: tuple[tuple[float, ...], ...] = ("]
    for power in range(PIECE_DEGREE + 1):
        lines += ["    (", *(f"        {piece[power]!r}," for piece, _ in pieces), "    ),"]
    return [*lines, ")"]


CONSTANTS = {
    "THIRD": ("1 / 3 in two parts", mpf(1) / 3, 2, (0, 53)),
    "LN2": ("ln(2) in two parts; products of the first with exponents are exact", mpmath.log(2), 2, (15, 40)),
    "HALF_PI": ("pi / 2 in two parts", mpmath.pi / 2, 2, (24, 53)),
    "REDUCTION": ("pi / 2 in three parts; products of the first two with 27 bits are exact", mpmath.pi / 2, 3, (0, 26)),
}

HEADER = '''"""Coefficients of `transcendental`, lowest power first.

Written by tools/fit_polynomials.py: change them there. Errors are those that a table brings into the relative error of
the function in exact arithmetic, in units of 2**-24 (float32) and 2**-53 (float64).
"""

from __future__ import annotations

from collections.abc import Mapping

from tensorwright.tensor.dtype import FLOAT32, FLOAT64, DType

Table = Mapping[DType, tuple[float, ...]]
'''


def entry(name: str, meaning: str, values: dict[str, list[float]]) -> list[str]:
    lines = ["", f"# {meaning}.", f"{name}: Table = {{"]
    for dtype, numbers in values.items():
        lines += [f"    {dtype.upper()}: (", *(f"        {number!r}," for number in numbers), "    ),"]
    return [*lines, "}"]


def main() -> None:
    lines = [HEADER.rstrip("\n")]
    for name, (meaning, value, parts, bits) in CONSTANTS.items():
        used = [(dtype, b) for dtype, b in zip(DIGITS, bits, strict=True) if b]
        lines += entry(name, meaning, {dtype: split(value, b, dtype, parts) for dtype, b in used})
    for table in TABLES:
        fits = {dtype: fit(table, dtype) for dtype in table.degrees}
        errors = ", ".join(f"{found.error:.2g} ({dtype})" for dtype, found in fits.items())
        sys.stdout.write(f"{table.name:12} {errors}\n")
        lines += entry(table.name, f"{table.meaning}: {errors}", {d: f.numerator for d, f in fits.items()})
        if any(below for _, below in table.degrees.values()):
            denominators = {d: f.denominator for d, f in fits.items()}
            lines += entry(f"{table.name}_DENOMINATOR", f"The denominator of {table.name}", denominators)
    lines += erf_pieces()
    OUTPUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
