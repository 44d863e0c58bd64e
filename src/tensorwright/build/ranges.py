"""Symbols keep to the values for which all tensors exist: no extent is negative, nothing outside a tensor is taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tensorwright.graph.graph import Graph, Value
from tensorwright.graph.substitute import with_dims
from tensorwright.tensor.dim import Atom, Dim, Symbol, bounds, evaluate, expression, is_static, symbols_of

MOST_ROUNDS = 8


def narrowed(graph: Graph) -> Graph:
    """The graph with symbols of smaller ranges, where they have values at an end for which some tensor cannot exist.

    What several symbols decide together stays as it is.
    """
    for _ in range(MOST_ROUNDS):
        found = _narrower(dim for value in graph.order() for dim in _needed(value))
        if not found:
            break
        graph = with_dims(graph, {old: expression(new) for old, new in found.items()})
    return graph


def _needed(value: Value) -> Iterator[Dim]:
    """What may not be negative."""
    yield from value.type.shape
    yield from value.op.nonnegative([operand.type for operand in value.inputs])


def _narrower(needed: Iterable[Dim]) -> dict[Atom, Symbol]:
    found: dict[Atom, Symbol] = {}
    for dim in dict.fromkeys(dim for dim in needed if not is_static(dim) and bounds(dim)[0] < 0):
        symbols = symbols_of(dim)
        if len(symbols) == 1:
            known = found.get(symbols[0], symbols[0])
            least, most = _range(dim, known)
            if (least, most) != (known.min, known.max):
                found[symbols[0]] = replace(known, min=least, opt=min(max(known.opt, least), most), max=most)
    return found


def _range(dim: Dim, symbol: Symbol) -> tuple[int, int]:
    """The values of a symbol for which a dimension that grows or falls with it is not negative.

    If there are none, or it is negative between its ends only: all values.
    """

    def is_possible(value: int) -> bool:
        return evaluate(dim, {symbol.name: value}) >= 0

    low, high = symbol.min, symbol.max
    if is_possible(low) == is_possible(high):
        return low, high
    rises = is_possible(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_possible(middle) == rises else (middle, high)
    return (high, symbol.max) if rises else (symbol.min, low)
