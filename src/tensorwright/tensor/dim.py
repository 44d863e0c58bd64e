"""Integers that may be unknown until run time: dimensions, indices and addresses.

A `Dim` is an `int` or an `IntegerExpression`, a polynomial with integer coefficients over atoms (symbols, loop
variables, quotients, remainders, minima, maxima). Polynomials are kept in canonical form, so equal expressions
compare equal, and arithmetic that leaves a constant returns an `int`. Bounds of the atoms simplify quotients and
remainders: with ``0 <= lane < 16`` the quotient ``(16 * block + lane) // 16`` is ``block``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Protocol, overload, runtime_checkable

from tensorwright.base.errors import ShapeError
from tensorwright.base.fork import cached_property

LARGEST_SIZE = 1 << 14
LARGEST_ATOM = 1 << 10
"""How long expressions and atoms may be to write; shapes that need more come from damaged or hostile models."""

LONGEST_QUOTIENT = 8
"""Terms of the quotients that long division looks for."""


@runtime_checkable
class Atom(Protocol):
    """What a polynomial is made of: hashable, with inclusive bounds known at build time."""

    @property
    def bounds(self) -> tuple[int, int]: ...


@dataclass(frozen=True)
class Symbol:
    """A named dimension with the range it may take at run time and the value to tune for."""

    name: str
    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 0 <= self.min <= self.opt <= self.max:
            raise ShapeError(
                f"dimension '{self.name}': expected 0 <= min <= opt <= max, found "
                f"min={self.min} opt={self.opt} max={self.max}"
            )

    @property
    def bounds(self) -> tuple[int, int]:
        return self.min, self.max

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Quotient:
    """``numerator // denominator``, rounded down."""

    numerator: IntegerExpression
    denominator: Dim

    @property
    def bounds(self) -> tuple[int, int]:
        corners = [n // d for n in bounds(self.numerator) for d in bounds(self.denominator) if d != 0]
        return min(corners), max(corners)

    @cached_property
    def _text(self) -> str:
        return f"({self.numerator} // {self.denominator})"

    def __repr__(self) -> str:
        return self._text


@dataclass(frozen=True)
class Remainder:
    """``numerator % denominator`` with the sign of the denominator."""

    numerator: IntegerExpression
    denominator: Dim

    @property
    def bounds(self) -> tuple[int, int]:
        return 0, max(0, bounds(self.denominator)[1] - 1)

    @cached_property
    def _text(self) -> str:
        return f"({self.numerator} % {self.denominator})"

    def __repr__(self) -> str:
        return self._text


@dataclass(frozen=True)
class Extremum:
    """The smaller (``min``) or larger (``max``) of two integers."""

    function: str
    left: Dim
    right: Dim

    @property
    def bounds(self) -> tuple[int, int]:
        pick: Callable[[int, int], int] = min if self.function == "min" else max
        (left_low, left_high), (right_low, right_high) = bounds(self.left), bounds(self.right)
        return pick(left_low, right_low), pick(left_high, right_high)

    @cached_property
    def _text(self) -> str:
        return f"{self.function}({self.left}, {self.right})"

    def __repr__(self) -> str:
        return self._text


Monomial = tuple[Atom, ...]


@dataclass(frozen=True)
class IntegerExpression:
    """A polynomial: pairs of (sorted atoms, coefficient), sorted, without zero coefficients."""

    terms: tuple[tuple[Monomial, int], ...]

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value, by interval arithmetic."""
        low = high = 0
        for monomial, coefficient in self.terms:
            term_low, term_high = coefficient, coefficient
            for atom in monomial:
                corners = [a * b for a in (term_low, term_high) for b in atom.bounds]
                term_low, term_high = min(corners), max(corners)
            low, high = low + term_low, high + term_high
        return low, high

    @cached_property
    def size(self) -> int:
        """How many atoms it is written with, those inside quotients and the like included; at least 1."""
        return max(1, sum(_size_of_atom(atom) for monomial, _ in self.terms for atom in monomial))

    def __add__(self, other: Dim) -> Dim:
        return _collect([*self.terms, *_terms(other)])

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + other * -1

    def __rsub__(self, other: Dim) -> Dim:
        return self * -1 + other

    def __mul__(self, other: Dim) -> Dim:
        _expect_small(self.size * size_of(other), LARGEST_SIZE)
        return _collect((_sorted_atoms(left + right), a * b) for left, a in self.terms for right, b in _terms(other))

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        return floor_divide(self, other)

    def __rfloordiv__(self, other: Dim) -> Dim:
        return floor_divide(other, self)

    def __mod__(self, other: Dim) -> Dim:
        return remainder(self, other)

    def __rmod__(self, other: Dim) -> Dim:
        return remainder(other, self)

    def __repr__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        """What terms are sorted by: written once for each expression."""
        return " + ".join(
            "*".join(([] if c == 1 and monomial else [str(c)]) + [repr(atom) for atom in monomial])
            for monomial, c in self.terms
        )

    @cached_property
    def atoms(self) -> frozenset[Atom]:
        """The atoms of the polynomial itself, not those inside quotients and the like."""
        return frozenset(atom for monomial, _ in self.terms for atom in monomial)


Dim = int | IntegerExpression


def _terms(value: Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(value, IntegerExpression):
        return value.terms
    return (((), int(value)),) if value else ()


def _sorted_atoms(atoms: Iterable[Atom]) -> Monomial:
    return tuple(sorted(atoms, key=repr))


def _collect(terms: Iterable[tuple[Monomial, int]]) -> Dim:
    sums: dict[Monomial, int] = {}
    for monomial, coefficient in terms:
        sums[monomial] = sums.get(monomial, 0) + coefficient
    kept = [(monomial, c) for monomial, c in sums.items() if c]
    if len(kept) > 1:
        return IntegerExpression(tuple(sorted(kept, key=repr)))
    ((monomial, c),) = kept or [((), 0)]
    return IntegerExpression(((monomial, c),)) if monomial else c


def expression(atom: Atom) -> IntegerExpression:
    """The polynomial that is just this atom."""
    return IntegerExpression((((atom,), 1),))


def symbol(name: str, min: int, opt: int, max: int) -> IntegerExpression:
    """A named dimension; see `Symbol`."""
    return expression(Symbol(name, min, opt, max))


def bounds(value: Dim) -> tuple[int, int]:
    """Smallest and largest value that an integer can take (inclusive)."""
    return value.bounds if isinstance(value, IntegerExpression) else (value, value)


def is_static(value: Dim) -> bool:
    return not isinstance(value, IntegerExpression)


def floor_divide(numerator: Dim, denominator: Dim) -> Dim:
    """``numerator // denominator``, rounded down; the denominator must be positive."""
    if isinstance(denominator, int):
        if isinstance(numerator, int):
            return numerator // denominator
        return _divide_by_constant(numerator, denominator)
    exact = _divide_exactly(numerator, denominator)
    if exact is not None:
        return exact
    low, high = bounds(numerator)
    if low >= 0 and high < bounds(denominator)[0]:
        return 0
    return _composed(Quotient(_as_expression(numerator), denominator))


def remainder(numerator: Dim, denominator: Dim) -> Dim:
    """``numerator % denominator`` for a positive denominator."""
    if isinstance(numerator, int) and isinstance(denominator, int):
        return numerator % denominator
    low, high = bounds(numerator)
    if low >= 0 and high < bounds(denominator)[0]:
        return numerator
    if isinstance(denominator, int):
        rest = _collect((m, c % denominator) for m, c in _terms(numerator))
        low, high = bounds(rest)
        if low >= 0 and high < denominator:
            return rest
        return rest if isinstance(rest, int) else _composed(Remainder(rest, denominator))
    if _divide_exactly(numerator, denominator) is not None:
        return 0
    return _composed(Remainder(_as_expression(numerator), denominator))


def minimum(left: Dim, right: Dim) -> Dim:
    """The smaller of two integers."""
    return _extremum("min", left, right)


def maximum(left: Dim, right: Dim) -> Dim:
    """The larger of two integers."""
    return _extremum("max", left, right)


@overload
def ceil_divide(numerator: int, denominator: int) -> int: ...
@overload
def ceil_divide(numerator: Dim, denominator: int) -> Dim: ...
def ceil_divide(numerator: Dim, denominator: int) -> Dim:
    """``numerator / denominator``, rounded up."""
    return floor_divide(numerator + (denominator - 1), denominator)


def product(factors: Iterable[Dim]) -> Dim:
    """The product of all factors, 1 for none."""
    start: Dim = 1
    return reduce(lambda left, right: left * right, factors, start)


def upper_bound(value: Dim) -> int:
    """The largest value that the integer can take."""
    return bounds(value)[1]


def evaluate(value: Dim, environment: Mapping[str, int]) -> int:
    """The value once every symbol has one. `environment` maps symbol names to integers."""
    if isinstance(value, int):
        return value
    return sum(c * prod(_evaluate_atom(atom, environment) for atom in monomial) for monomial, c in value.terms)


def tuning_value(value: Dim) -> int:
    """The value when every symbol takes its `opt`."""
    return evaluate(value, {s.name: s.opt for s in symbols_of(value)})


def symbols_of(value: Dim) -> tuple[Symbol, ...]:
    """All symbols that the integer depends on, sorted by name."""
    found: set[Symbol] = set()
    _walk_symbols(value, found)
    return tuple(sorted(found, key=lambda s: s.name))


def substitute(value: Dim, replacements: Mapping[Atom, Dim]) -> Dim:
    """The integer with atoms replaced, simplified again."""
    if isinstance(value, int):
        return value
    terms: list[tuple[Monomial, int]] = []
    for monomial, coefficient in value.terms:
        if len(monomial) == 1:
            replaced = _substitute_atom(monomial[0], replacements)
            terms += ((atoms, c * coefficient) for atoms, c in _terms(replaced))
        else:
            terms += _terms(product([coefficient, *(_substitute_atom(atom, replacements) for atom in monomial)]))
    return _collect(terms)


def dims_for(others: Mapping[Symbol, Symbol | int]) -> Mapping[Atom, Dim]:
    """What `substitute` needs to put other symbols, or numbers, in place of symbols."""
    return {symbol: one if isinstance(one, int) else expression(one) for symbol, one in others.items()}


def coefficient_of(value: Dim, atom: Atom) -> Dim | None:
    """How much the integer grows when `atom` grows by one; None when it is not linear in the atom."""
    if isinstance(value, int):
        return 0
    linear: list[tuple[Monomial, int]] = []
    for monomial, coefficient in value.terms:
        count = monomial.count(atom)
        rest = tuple(other for other in monomial if other != atom)
        if count > 1 or any(depends_on(other, atom) for other in rest):
            return None
        if count == 1:
            linear.append((rest, coefficient))
    return _collect(linear)


def linear_part(dim: Dim) -> tuple[Symbol, int, int] | None:
    """``(symbol, factor, rest)`` for ``factor * symbol + rest`` with a positive factor; None for anything else."""
    found = symbols_of(dim)
    if len(found) != 1:
        return None
    factor = coefficient_of(dim, found[0])
    rest = None if factor is None else dim - factor * expression(found[0])
    return (found[0], factor, rest) if isinstance(factor, int) and isinstance(rest, int) and factor > 0 else None


def depends_on(value: Dim | Atom, atom: Atom) -> bool:
    """Whether `atom` occurs anywhere in the integer, quotients and the like included."""
    if isinstance(value, IntegerExpression):
        return any(depends_on(other, atom) for monomial, _ in value.terms for other in monomial)
    if isinstance(value, int):
        return False
    return value == atom or any(depends_on(part, atom) for part in parts_of(value))


def parts_of(atom: Atom) -> tuple[Dim, ...]:
    """The integers inside a quotient, remainder or extremum; nothing for other atoms."""
    if isinstance(atom, Quotient | Remainder):
        return atom.numerator, atom.denominator
    if isinstance(atom, Extremum):
        return atom.left, atom.right
    return ()


def size_of(value: Dim) -> int:
    """How long it is to write an integer down; see `IntegerExpression.size`."""
    return value.size if isinstance(value, IntegerExpression) else 1


def _size_of_atom(atom: Atom) -> int:
    return 1 + sum(size_of(part) for part in parts_of(atom))


def _expect_small(size: int, largest: int) -> None:
    """Refuse what would grow without bounds.

    Raises:
        ShapeError: it would take more atoms than `largest`.
    """
    if size > largest:
        raise ShapeError(
            f"an expression over dimensions takes up to {size} terms, more than {largest}; give the shapes of the "
            "inputs, or check that the model is not damaged"
        )


def _composed(atom: Quotient | Remainder | Extremum) -> IntegerExpression:
    _expect_small(_size_of_atom(atom), LARGEST_ATOM)
    return expression(atom)


def _as_expression(value: Dim) -> IntegerExpression:
    return value if isinstance(value, IntegerExpression) else IntegerExpression(_terms(value))


def _divide_by_constant(numerator: IntegerExpression, denominator: int) -> Dim:
    if denominator == 1:
        return numerator
    whole = _collect((m, c // denominator) for m, c in numerator.terms if not m or c % denominator == 0)
    rest = _collect((m, c if m else c % denominator) for m, c in numerator.terms if c % denominator)
    low, high = bounds(rest)
    if low // denominator == high // denominator:
        return whole + low // denominator
    return whole + _composed(Quotient(_as_expression(rest), denominator))


def _divide_exactly(numerator: Dim, denominator: IntegerExpression) -> Dim | None:
    """The polynomial that, times the denominator, is the numerator; None if there is none, or none that is short."""
    if numerator == denominator:
        return 1
    if len(denominator.terms) > 1:
        return _divide_at_length(numerator, denominator)
    quotient = [_divide_term(term, denominator.terms[0]) for term in _terms(numerator)]
    exact = [term for term in quotient if term is not None]
    return _collect(exact) if len(exact) == len(quotient) else None


def _divide_at_length(numerator: Dim, denominator: IntegerExpression) -> Dim | None:
    """By long division: the largest term that is left is divided by that of the denominator until nothing is left."""
    if size_of(numerator) * denominator.size > LARGEST_SIZE:
        return None
    divisor, rest, quotient = max(denominator.terms, key=_order), numerator, list[tuple[Monomial, int]]()
    while rest != 0:
        term = _divide_term(max(_terms(rest), key=_order), divisor)
        if term is None or len(quotient) == LONGEST_QUOTIENT:
            return None
        quotient.append(term)
        rest = rest - denominator * _collect([term])
    return _collect(quotient)


def _order(term: tuple[Monomial, int]) -> tuple[int, list[str]]:
    """An order that products keep: first by degree, then by the atoms."""
    return len(term[0]), [repr(atom) for atom in term[0]]


def _divide_term(numerator: tuple[Monomial, int], denominator: tuple[Monomial, int]) -> tuple[Monomial, int] | None:
    rest = list(numerator[0])
    for atom in denominator[0]:
        if atom not in rest:
            return None
        rest.remove(atom)
    factor, left = divmod(numerator[1], denominator[1])
    return None if left else (tuple(rest), factor)


def _extremum(function: str, left: Dim, right: Dim) -> Dim:
    if left == right:
        return left
    low, high = bounds(left - right)
    if high <= 0:
        return left if function == "min" else right
    if low >= 0:
        return right if function == "min" else left
    return _composed(Extremum(function, left, right))


def _evaluate_atom(atom: Atom, environment: Mapping[str, int]) -> int:
    if isinstance(atom, Symbol):
        return environment[atom.name]
    if isinstance(atom, Quotient):
        return evaluate(atom.numerator, environment) // evaluate(atom.denominator, environment)
    if isinstance(atom, Remainder):
        return evaluate(atom.numerator, environment) % evaluate(atom.denominator, environment)
    if isinstance(atom, Extremum):
        pick: Callable[[int, int], int] = min if atom.function == "min" else max
        return pick(evaluate(atom.left, environment), evaluate(atom.right, environment))
    raise ShapeError(f"{atom} has no value outside generated code")


def _walk_symbols(value: Dim, found: set[Symbol]) -> None:
    if isinstance(value, IntegerExpression):
        for monomial, _ in value.terms:
            for atom in monomial:
                if isinstance(atom, Symbol):
                    found.add(atom)
                for part in parts_of(atom):
                    _walk_symbols(part, found)


def _substitute_atom(atom: Atom, replacements: Mapping[Atom, Dim]) -> Dim:
    if atom in replacements:
        return replacements[atom]
    if isinstance(atom, Quotient):
        return floor_divide(substitute(atom.numerator, replacements), substitute(atom.denominator, replacements))
    if isinstance(atom, Remainder):
        return remainder(substitute(atom.numerator, replacements), substitute(atom.denominator, replacements))
    if isinstance(atom, Extremum):
        return _extremum(atom.function, substitute(atom.left, replacements), substitute(atom.right, replacements))
    return expression(atom)
