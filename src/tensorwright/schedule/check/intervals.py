"""Integers over index variables as intervals, for many values of the variables at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tensorwright.graph.expression import DataIndex, Variable
from tensorwright.tensor.dim import Atom, Dim, Extremum, IntegerExpression, Quotient, Remainder, Symbol

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Interval:
    """The smallest and the largest value, both included; arrays that broadcast against each other."""

    low: Integers
    high: Integers

    @classmethod
    def of(cls, low: npt.ArrayLike, high: npt.ArrayLike) -> Interval:
        return cls(np.asarray(low, np.int64), np.asarray(high, np.int64))

    @property
    def is_exact(self) -> bool:
        return self.low is self.high or np.array_equal(self.low, self.high)

    def plus(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.high + other.high)

    def times(self, other: Interval) -> Interval:
        corners = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        low, high = corners[0], corners[0]
        for corner in corners[1:]:
            low, high = np.minimum(low, corner), np.maximum(high, corner)
        return Interval(low, high)

    def divided(self, other: Interval) -> Interval:
        """The quotient by positive integers, rounded down."""
        by_low, by_high = np.maximum(other.low, 1), np.maximum(other.high, 1)
        low = np.minimum(self.low // by_low, self.low // by_high)
        return Interval(low, np.maximum(self.high // by_low, self.high // by_high))

    def modulo(self, other: Interval) -> Interval:
        """The remainder by positive integers."""
        divisor = np.maximum(other.high, 1)
        within = (self.low // divisor == self.high // divisor) & (other.low == other.high)
        low = np.where(within, self.low % divisor, 0)
        return Interval(low, np.where(within, self.high % divisor, divisor - 1))


def interval_of(value: Dim | Atom, known: Mapping[Atom, Interval], symbols: Mapping[str, int]) -> Interval:
    """The interval of an integer. known: those of index variables; symbols: the values of dimensions by name."""
    match value:
        case int():
            return Interval.of(value, value)
        case Symbol(name=name):
            return Interval.of(symbols[name], symbols[name])
        case Variable():
            return known[value]
        case Quotient(numerator=numerator, denominator=denominator):
            return interval_of(numerator, known, symbols).divided(interval_of(denominator, known, symbols))
        case Remainder(numerator=numerator, denominator=denominator):
            return interval_of(numerator, known, symbols).modulo(interval_of(denominator, known, symbols))
        case Extremum(function=function, left=left, right=right):
            a, b = interval_of(left, known, symbols), interval_of(right, known, symbols)
            pick = np.minimum if function == "min" else np.maximum
            return Interval(pick(a.low, b.low), pick(a.high, b.high))
        case DataIndex(low=low, high=high):
            return Interval.of(low, high)
        case IntegerExpression():
            return _polynomial(value, known, symbols)
        case _:
            raise TypeError(f"no interval of {value}")


def _polynomial(value: IntegerExpression, known: Mapping[Atom, Interval], symbols: Mapping[str, int]) -> Interval:
    total = Interval.of(0, 0)
    for monomial, coefficient in value.terms:
        term = Interval.of(coefficient, coefficient)
        for atom in monomial:
            term = term.times(interval_of(atom, known, symbols))
        total = total.plus(term)
    return total
