"""Dimensions in JSON.

A dimension is an integer or ``["sum", [coefficient, atom, ...], ...]``; an atom is the name of a symbol or
``[operator, left, right]`` with one of the operators ``//``, ``%``, ``min`` and ``max``.
"""

from __future__ import annotations

from collections.abc import Mapping

from tensorwright.base.errors import PlanError
from tensorwright.plan.fields import integer, refuse
from tensorwright.plan.limits import MAX_DEPTH, MAX_SIZE, MAX_TERMS
from tensorwright.plan.plan import Json
from tensorwright.tensor.dim import (
    Atom,
    Dim,
    Extremum,
    IntegerExpression,
    Monomial,
    Quotient,
    Remainder,
    Symbol,
    bounds,
)


def write_dim(dim: Dim) -> Json:
    if not isinstance(dim, IntegerExpression):
        return dim
    return ["sum", *([coefficient, *map(_write_atom, monomial)] for monomial, coefficient in dim.terms)]


def _write_atom(atom: Atom) -> Json:
    if isinstance(atom, Symbol):
        return atom.name
    if isinstance(atom, Quotient):
        return ["//", write_dim(atom.numerator), write_dim(atom.denominator)]
    if isinstance(atom, Remainder):
        return ["%", write_dim(atom.numerator), write_dim(atom.denominator)]
    if isinstance(atom, Extremum):
        return [atom.function, write_dim(atom.left), write_dim(atom.right)]
    raise PlanError(f"a binding's dimension contains {atom}, which has no value at run time; use symbols only")


def read_dim(item: Json, symbols: Mapping[str, Symbol], where: str, depth: int = 0) -> Dim:
    """A dimension over symbols by name. Raises Refusal."""
    if not isinstance(item, list):
        return integer(item, where, -MAX_SIZE, MAX_SIZE)
    if depth > MAX_DEPTH or not 1 <= len(item) <= MAX_TERMS or item[0] != "sum":
        refuse(where, f'an integer or ["sum", ...], at most {MAX_DEPTH} deep, of less than {MAX_TERMS} terms', item)
    dim = IntegerExpression(tuple(_read_term(term, symbols, where, depth) for term in item[1:]))
    if max(map(abs, bounds(dim))) > MAX_SIZE:
        refuse(where, f"values of at most {MAX_SIZE}", item)
    return dim


def _read_term(item: Json, symbols: Mapping[str, Symbol], where: str, depth: int) -> tuple[Monomial, int]:
    if not isinstance(item, list) or not 1 <= len(item) <= MAX_DEPTH:
        refuse(where, "[coefficient, atom, ...]", item)
    coefficient = integer(item[0], where, -MAX_SIZE, MAX_SIZE)
    return tuple(_read_atom(atom, symbols, where, depth) for atom in item[1:]), coefficient


def _read_atom(item: Json, symbols: Mapping[str, Symbol], where: str, depth: int) -> Atom:
    if isinstance(item, str) and item in symbols:
        return symbols[item]
    if not isinstance(item, list) or len(item) != 3:
        refuse(where, "a symbol or [operator, left, right]", item)
    left, right = (read_dim(part, symbols, where, depth + 1) for part in item[1:])
    if item[0] == "min" or item[0] == "max":
        return Extremum(item[0], left, right)
    if item[0] not in ("//", "%") or not isinstance(left, IntegerExpression) or bounds(right)[0] < 1:
        refuse(where, "an operator //, %, min or max, and a sum over a positive divisor for the first two", item)
    return Quotient(left, right) if item[0] == "//" else Remainder(left, right)
