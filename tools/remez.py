"""Minimax approximation by polynomials and rational functions, in high precision (Remez' exchange algorithm)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mpmath
from mpmath import mpf

Real = Callable[[mpf], mpf]
mpmath.mp.prec = 200


@dataclass(frozen=True)
class Fit:
    """``numerator(x) / denominator(x)``, lowest power first; the denominator starts with 1. `error` is weighted."""

    numerator: tuple[mpf, ...]
    denominator: tuple[mpf, ...]
    error: mpf

    def __call__(self, x: mpf) -> mpf:
        return _horner(self.numerator, x) / _horner(self.denominator, x)


def minimax(function: Real, weight: Real, low: float, high: float, degrees: tuple[int, int], samples: int = 600) -> Fit:
    """The approximation whose largest ``weight(x) * abs(fit(x) - function(x))`` on [low, high] is least.

    degrees: of numerator and denominator. The weight must be positive. `samples` points are searched for the extremes
    of the error in every round.
    """
    count = sum(degrees) + 2
    grid = [_chebyshev(i, samples, low, high) for i in range(samples)]
    values = [function(x) for x in grid]
    weights = [weight(x) for x in grid]
    reference = [round(i * (samples - 1) / (count - 1)) for i in range(count)]
    fit = Fit((), (), mpf(0))
    for _ in range(40):
        fit = _levelled([(grid[i], values[i], weights[i]) for i in reference], degrees)
        errors = [w * (fit(x) - v) for x, v, w in zip(grid, values, weights, strict=True)]
        largest = max(abs(error) for error in errors)
        fit = Fit(fit.numerator, fit.denominator, largest)
        following = _alternating_extremes(errors, count)
        if following == reference:
            break
        reference = following
    return fit


def _horner(coefficients: Sequence[mpf], x: mpf) -> mpf:
    result = mpf(0)
    for coefficient in reversed(coefficients):
        result = result * x + coefficient
    return result


def _chebyshev(i: int, count: int, low: float, high: float) -> mpf:
    return (mpf(low) + mpf(high)) / 2 - (mpf(high) - mpf(low)) / 2 * mpmath.cos(mpmath.pi * i / (count - 1))


def _levelled(points: Sequence[tuple[mpf, mpf, mpf]], degrees: tuple[int, int]) -> Fit:
    """The fit whose weighted errors at the points are equal in size and alternate in sign."""
    above, below = degrees
    level = mpf(0)
    solution = mpmath.matrix(1, 1)
    for _ in range(1 if below == 0 else 60):
        rows, right = [], []
        for i, (x, value, weight) in enumerate(points):
            sign = (-1) ** i / weight
            powers = [x**k for k in range(max(above, below) + 1)]
            target = value + sign * level
            # P - target * (Q - 1) - sign * change = target
            rows.append([*powers[: above + 1], *(-target * p for p in powers[1 : below + 1]), -sign])
            right.append(target)
        solution = mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix(right))
        change = solution[above + below + 1]
        level += change
        if abs(change) < abs(level) * mpf(10) ** -20:
            break
    numerator = tuple(solution[i] for i in range(above + 1))
    denominator = (mpf(1), *(solution[above + 1 + i] for i in range(below)))
    return Fit(numerator, denominator, abs(level))


def _alternating_extremes(errors: Sequence[mpf], count: int) -> list[int]:
    """Where the error is largest in every stretch of one sign; the `count` neighbours that hold the largest."""
    extremes: list[int] = []
    for i, error in enumerate(errors):
        if extremes and (error > 0) == (errors[extremes[-1]] > 0):
            if abs(error) > abs(errors[extremes[-1]]):
                extremes[-1] = i
        else:
            extremes.append(i)
    while len(extremes) > count:
        del extremes[0 if abs(errors[extremes[0]]) < abs(errors[extremes[-1]]) else -1]
    if len(extremes) < count:
        raise ArithmeticError(f"the error changes sign only {len(extremes)} times; {count} are needed")
    return extremes
