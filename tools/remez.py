"""Minimax approximation in high precision: polynomials by Remez' exchange, rational functions by Lawson's weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mpmath
from mpmath import mpf

Real = Callable[[mpf], mpf]
mpmath.mp.prec = 300


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
    grid = _grid(low, high, samples)
    values = [function(x) for x in grid]
    weights = [weight(x) for x in grid]
    if degrees[1]:
        return _weighted_least_squares(grid, values, weights, degrees)
    reference = [round(i * (samples - 1) / (count - 1)) for i in range(count)]
    fit = Fit((), (), mpf(0))
    for _ in range(40):
        fit = _levelled([(grid[i], values[i], weights[i]) for i in reference], degrees[0])
        errors = _errors(fit, grid, values, weights)
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


def _grid(low: float, high: float, count: int) -> list[mpf]:
    """Points that lie close together at the ends; for positive intervals, where their square roots do so."""
    positive = low > 0
    first, last = (mpmath.sqrt(low), mpmath.sqrt(high)) if positive else (mpf(low), mpf(high))
    middle, half = (first + last) / 2, (last - first) / 2
    points = [middle - half * mpmath.cos(mpmath.pi * i / (count - 1)) for i in range(count)]
    return [x * x for x in points] if positive else points


def _errors(fit: Fit, grid: Sequence[mpf], values: Sequence[mpf], weights: Sequence[mpf]) -> list[mpf]:
    return [w * (fit(x) - v) for x, v, w in zip(grid, values, weights, strict=True)]


def _weighted_least_squares(
    grid: Sequence[mpf], values: Sequence[mpf], weights: Sequence[mpf], degrees: tuple[int, int]
) -> Fit:
    """A rational fit whose errors are level within a few percent: Lawson's weights on the linearised problem."""
    above, below = degrees
    lawson = [mpf(1)] * len(grid)
    fit = Fit((mpf(0),), (mpf(1),), mpf(0))
    for _ in range(25):
        rows, right = [], []
        for x, value, weight, share in zip(grid, values, weights, lawson, strict=True):
            scale = weight * mpmath.sqrt(share) / abs(_horner(fit.denominator, x))
            powers = [x**k * scale for k in range(max(degrees) + 1)]
            rows.append([*powers[: above + 1], *(-value * p for p in powers[1 : below + 1])])
            right.append(value * scale)
        solution = mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix(right))
        denominator = (mpf(1), *(solution[above + 1 + i] for i in range(below)))
        fit = Fit(tuple(solution[i] for i in range(above + 1)), denominator, mpf(0))
        errors = [abs(error) for error in _errors(fit, grid, values, weights)]
        largest = max(errors)
        fit = Fit(fit.numerator, fit.denominator, largest)
        lawson = [share * (error / largest + mpf(10) ** -3) for share, error in zip(lawson, errors, strict=True)]
        mean = sum(lawson) / len(lawson)
        lawson = [share / mean for share in lawson]
    return fit


def _levelled(points: Sequence[tuple[mpf, mpf, mpf]], degree: int) -> Fit:
    """The polynomial whose weighted errors at the points are equal in size and alternate in sign."""
    rows = [[*(weight * x**k for k in range(degree + 1)), (-1) ** i] for i, (x, _, weight) in enumerate(points)]
    right = [weight * value for _, value, weight in points]
    solution = mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix(right))
    return Fit(tuple(solution[i] for i in range(degree + 1)), (mpf(1),), abs(solution[degree + 1]))


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
