"""What has to hold of symbols so that two dimensions are equal.

Networks ask for that without saying it: a U-Net joins a map of ``height`` rows with one of ``2 * (height // 2)``, which
only even heights allow, and a table of 512 positions is cut to ``min(sequence, 512)`` rows and added to ``sequence``
rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import permutations
from math import gcd

from tensorwright.base.errors import ShapeError
from tensorwright.tensor.dim import (
    Atom,
    Dim,
    Extremum,
    IntegerExpression,
    Quotient,
    Remainder,
    Symbol,
    bounds,
    ceil_divide,
    coefficient_of,
    depends_on,
    evaluate,
    expression,
    linear_part,
    parts_of,
    substitute,
    symbols_of,
)

Restriction = Mapping[Symbol, Dim]
"""What symbols become: narrower ones, multiples of new ones, other symbols, or integers."""
MOST_DEPTH = 4
"""So many restrictions are put one on the other."""
LARGEST_MULTIPLE = 256


class Unequal(ShapeError):
    """Two dimensions have to be equal, and are not for all values of their symbols."""

    def __init__(self, message: str, left: Dim, right: Dim) -> None:
        super().__init__(message)
        self.left, self.right = left, right

    def within(self, where: str) -> Unequal:
        """The same, of the named operator or layer."""
        return Unequal(f"{where}: {self}", self.left, self.right)


def require_equal(left: Dim, right: Dim, message: str) -> None:
    """Raise `Unequal` if two dimensions are not the same expression."""
    if left != right:
        raise Unequal(message, left, right)


def restricted(dim: Dim, restriction: Restriction) -> Dim:
    """A dimension with its symbols restricted."""
    return substitute(dim, dict[Atom, Dim](restriction.items()))


def solution(left: Dim, right: Dim, depth: int = MOST_DEPTH) -> Restriction | None:
    """A restriction of symbols under which two dimensions are the same expression, or None if none was found.

    Ranges are narrowed first, then multiples are tried, the smallest first, then symbols are eliminated; those that are
    tuned for the same extent are more likely to be the same.
    """
    if left == right:
        return {}
    difference = left - right
    if depth == 0 or not isinstance(difference, IntegerExpression):
        return None
    restrictions = list(_restrictions(difference))
    for restriction in restrictions:
        if restricted(left, restriction) == restricted(right, restriction):
            return restriction
    for restriction in filter(_is_narrowing, restrictions):
        further = solution(restricted(left, restriction), restricted(right, restriction), depth - 1)
        if further is not None:
            return composed(restriction, further)
    return None


def composed(first: Restriction, second: Restriction) -> Restriction:
    """The restriction that is one after the other."""
    return {**second, **{symbol: restricted(dim, second) for symbol, dim in first.items()}}


def _is_narrowing(restriction: Restriction) -> bool:
    """Whether all symbols keep their names."""
    return all([one.name for one in symbols_of(dim)] == [symbol.name] for symbol, dim in restriction.items())


def _restrictions(difference: IntegerExpression) -> Iterator[Restriction]:
    atoms = list(_all_atoms(difference))
    for atom in atoms:
        if isinstance(atom, Extremum):
            yield from _narrowings(atom.left - atom.right)
    yield from _multiples(difference, atoms)
    yield from _eliminations(_without_common_factors(difference))
    for one, other in sorted(permutations(symbols_of(difference), 2), key=lambda pair: pair[0].opt != pair[1].opt):
        yield from _as_other(one, other, 1, 0)


def _narrowings(difference: Dim) -> Iterator[Restriction]:
    """Ranges in which a difference is nowhere positive, or nowhere negative."""
    linear = linear_part(difference)
    turned = linear or linear_part(-difference if isinstance(difference, IntegerExpression) else 0)
    if turned is not None:
        symbol, factor, rest = turned
        yield from _within(symbol, symbol.min, -rest // factor)
        yield from _within(symbol, ceil_divide(-rest, factor), symbol.max)


def _within(symbol: Symbol, low: int, high: int) -> Iterator[Restriction]:
    """The symbol in a range that is a proper part of its own."""
    least, most = max(low, symbol.min), min(high, symbol.max)
    if least < most and (least, most) != (symbol.min, symbol.max):
        yield {symbol: expression(replace(symbol, min=least, opt=min(max(symbol.opt, least), most), max=most))}
    elif least == most:
        yield {symbol: least}


def _multiples(difference: IntegerExpression, atoms: list[Atom]) -> Iterator[Restriction]:
    """Symbols as ``factor * other + rest``, for factors that leave nothing over where the difference divides."""
    total = 1
    for atom in atoms:
        if isinstance(atom, Quotient | Remainder) and isinstance(atom.denominator, int):
            total = min(total * atom.denominator, LARGEST_MULTIPLE)
    for factor in [number for number in range(2, total + 1) if total % number == 0]:
        for symbol in symbols_of(difference):
            for rest in range(factor):
                low, high = ceil_divide(symbol.min - rest, factor), (symbol.max - rest) // factor
                if 0 <= low < high and _agrees_at(difference, symbol, factor * high + rest):
                    opt = min(max((symbol.opt - rest) // factor, low), high)
                    part = replace(symbol, name=_part_name(symbol.name, factor), min=low, opt=opt, max=high)
                    yield {symbol: factor * expression(part) + rest}


def _agrees_at(difference: IntegerExpression, symbol: Symbol, value: int) -> bool:
    """Whether the difference is 0 for one value of a symbol, if that is its only one: most factors fail here."""
    return symbols_of(difference) != (symbol,) or evaluate(difference, {symbol.name: value}) == 0


def _part_name(name: str, factor: int) -> str:
    """``(height/4)`` for a quarter of ``height``, and for a half of ``(height/2)``."""
    whole, _, earlier = name[1:-1].rpartition("/")
    composite = name.startswith("(") and name.endswith(")") and whole and earlier.isdecimal()
    return f"({whole}/{int(earlier) * factor})" if composite else f"({name}/{factor})"


def _eliminations(difference: Dim) -> Iterator[Restriction]:
    """A symbol as what it has to be for the difference to be 0: an integer, or another symbol with a rest."""
    for symbol in symbols_of(difference):
        factor = coefficient_of(difference, symbol)
        if not isinstance(factor, int) or not factor:
            continue
        rest = difference - factor * expression(symbol)
        if depends_on(rest, symbol):
            continue
        if isinstance(rest, int) and rest % factor == 0 and symbol.min <= -rest // factor <= symbol.max:
            yield {symbol: -rest // factor}
        elif abs(factor) == 1 and (other := linear_part(-factor * rest)) is not None:
            yield from _as_other(symbol, *other)
        elif abs(factor) == 1 and _is_sum(-factor * rest) and symbol.max >= bounds(-factor * rest)[0]:
            yield {symbol: -factor * rest}


def _is_sum(dim: Dim) -> bool:
    """Whether a dimension is a sum of multiples of symbols."""
    terms = dim.terms if isinstance(dim, IntegerExpression) else ()
    return bool(terms) and all(
        factor > 0 and all(isinstance(atom, Symbol) for atom in monomial) and len(monomial) <= 1
        for monomial, factor in terms
    )


def _as_other(symbol: Symbol, other: Symbol, factor: int, rest: int) -> Iterator[Restriction]:
    """``symbol = factor * other + rest``, for as much of both ranges as there is."""
    low, high = max(other.min, ceil_divide(symbol.min - rest, factor)), min(other.max, (symbol.max - rest) // factor)
    if low < high:
        kept = replace(other, min=low, opt=min(max(other.opt, low), high), max=high)
        yield {symbol: factor * expression(kept) + rest, **({} if kept == other else {other: expression(kept)})}


def _without_common_factors(difference: IntegerExpression) -> Dim:
    """The difference without the symbols and the number that all of its terms have as a factor, if these are not 0."""
    number = gcd(*(coefficient for _, coefficient in difference.terms))
    common = [atom for atom in difference.terms[0][0] if bounds(expression(atom))[0] > 0]
    for monomial, _ in difference.terms[1:]:
        common = [atom for atom in dict.fromkeys(common) if atom in monomial]
    terms = []
    for monomial, coefficient in difference.terms:
        rest = list(monomial)
        for atom in common:
            rest.remove(atom)
        terms.append((tuple(rest), coefficient // number))
    return substitute(IntegerExpression(tuple(terms)), {})


def _all_atoms(dim: Dim) -> Iterator[Atom]:
    """The atoms of an expression, those inside quotients and the like included, inner ones last."""
    if isinstance(dim, IntegerExpression):
        for monomial, _ in dim.terms:
            for atom in monomial:
                yield atom
                for part in parts_of(atom):
                    yield from _all_atoms(part)
