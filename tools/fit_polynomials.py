"""Computes `src/tensorwright/codegen/polynomials.py` and measures what it writes there.

    python -m pip install mpmath numpy
    python tools/fit_polynomials.py        # about a minute

Every table is a minimax fit in 200-bit arithmetic whose coefficients are then rounded to the type.
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
OUTPUT = Path(__file__).parents[1] / "src" / "tensorwright" / "codegen" / "polynomials.py"


@dataclass(frozen=True)
class Polynomial:
    """A table to compute: ``function(x)`` on [low, high] by a polynomial of a degree for each type.

    given: coefficients of the lowest powers that are fixed beforehand. weight: what an absolute error counts.
    meaning: a line for the reader.
    """

    name: str
    meaning: str
    function: Real
    weight: Real
    low: float
    high: float
    degrees: dict[str, int]
    given: tuple[float, ...] = ()


def rounded(value: mpf, dtype: str) -> float:
    """The nearest number of a type."""
    return float(np.float32(float(value))) if dtype == "float32" else float(value)


def fit(table: Polynomial, dtype: str) -> tuple[list[float], float]:
    """Coefficients of the type, lowest power first, and their largest weighted error in units of 2 ** -digits."""
    power = len(table.given)
    known = list(reversed(table.given)) or [0.0]

    def rest(x: mpf) -> mpf:
        return (table.function(x) - mpmath.polyval(known, x)) / x**power

    degrees = (table.degrees[dtype] - power, 0)
    fitted = minimax(rest, lambda x: table.weight(x) * abs(x) ** power, table.low, table.high, degrees, 300)
    coefficients = [*table.given, *(rounded(c, dtype) for c in fitted.numerator)]
    return coefficients, float(_measured(table, coefficients) * 2 ** DIGITS[dtype])


def _measured(table: Polynomial, coefficients: list[float]) -> mpf:
    points = [mpf(table.low) + (mpf(table.high) - mpf(table.low)) * (i + mpf(1) / 3) / 2000 for i in range(2000)]
    powers = [mpf(c) for c in reversed(coefficients)]
    return max(abs(mpmath.polyval(powers, x) - table.function(x)) * table.weight(x) for x in points)


def split(value: mpf, bits: int, dtype: str, parts: int) -> list[float]:
    """Numbers with this sum; all but the last have so few digits that products with short integers are exact."""
    result = []
    for _ in range(parts - 1):
        exponent = int(mpmath.floor(mpmath.log(abs(value), 2)))
        head = mpmath.nint(value * mpf(2) ** (bits - 1 - exponent)) / mpf(2) ** (bits - 1 - exponent)
        result.append(float(head))
        value -= head
    return [*result, rounded(value, dtype)]


HALF_LN2 = math.log(2) / 2 * 1.001

POLYNOMIALS = [
    Polynomial(
        "EXP", "exp(x), |x| <= ln(2) / 2; relative error",
        mpmath.exp, lambda x: mpmath.exp(-x), -HALF_LN2, HALF_LN2, {"float32": 6, "float64": 11}, (1.0, 1.0),
    ),
]  # fmt: skip


def constants(dtype: str) -> dict[str, list[float]]:
    return {"LN2": split(mpmath.log(2), 15 if dtype == "float32" else 40, dtype, 2)}


def main() -> None:
    lines = [
        '"""Coefficients of `transcendental`, lowest power first.',
        "",
        "Written by tools/fit_polynomials.py: change them there.",
        "Errors are those of the polynomials in exact arithmetic, in units of 2**-24 (float32) and 2**-53 (float64).",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from collections.abc import Mapping",
        "",
        "from tensorwright.tensor.dtype import FLOAT32, FLOAT64, DType",
        "",
        "Table = Mapping[DType, tuple[float, ...]]",
        "",
    ]
    tables = {dtype: constants(dtype) for dtype in DIGITS}
    for name in tables["float32"]:
        lines += [f"{name}: Table = {{", *(_entry(dtype, tables[dtype][name]) for dtype in DIGITS), "}"]
    for table in POLYNOMIALS:
        fits = {dtype: fit(table, dtype) for dtype in table.degrees}
        errors = ", ".join(f"{error:.2g} ({dtype})" for dtype, (_, error) in fits.items())
        sys.stdout.write(f"{table.name:12} {errors}\n")
        lines += ["", f"# {table.meaning}: {errors}."]
        lines += [f"{table.name}: Table = {{", *(_entry(dtype, c) for dtype, (c, _) in fits.items()), "}"]
    OUTPUT.write_text("\n".join(lines) + "\n")


def _entry(dtype: str, coefficients: list[float]) -> str:
    body = "".join(f"        {value!r},\n" for value in coefficients)
    return f"    {dtype.upper()}: (\n{body}    ),"


if __name__ == "__main__":
    main()
