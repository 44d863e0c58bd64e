"""Several ranges of sizes for one network: a graph for each, over which the build goes one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import SupportsIndex

from tensorwright.base.errors import BuildError
from tensorwright.graph.graph import Graph
from tensorwright.graph.substitute import with_dims
from tensorwright.plan.limits import MAX_PROFILES
from tensorwright.tensor.dim import Atom, Dim, Symbol, expression

Range = tuple[int, int, int]
Profiles = Sequence[Mapping[str, Range | int]]


@dataclass(frozen=True)
class Profile:
    """One of the ranges that a plan is tuned for.

    symbols: all of the network, in order, with the ranges that they have here; settled: what takes their place in the
    graph: the symbol itself, or an int where its range is one number.
    """

    symbols: tuple[Symbol, ...]
    settled: Mapping[Atom, Dim]

    def of(self, graph: Graph) -> Graph:
        """The network for these ranges."""
        return with_dims(graph, self.settled)


def profiles_of(graph: Graph, wanted: Profiles, batch_symbol: str | None) -> tuple[Profile, ...]:
    """The profiles that a user asks for; one of the network's own ranges if there are none.

    batch_symbol: stays a symbol whatever its range is.

    Raises:
        BuildError: a profile names what is no dimension of the network, or asks for more than the network allows.
    """
    return profiles_among(graph.symbols(), wanted, batch_symbol)


def profiles_among(symbols: tuple[Symbol, ...], wanted: Profiles, batch_symbol: str | None) -> tuple[Profile, ...]:
    """The same for a network with these symbols, in order."""
    if not wanted:
        return (Profile(symbols, {}),)
    if len(wanted) > MAX_PROFILES:
        raise BuildError(f"profiles: expected at most {MAX_PROFILES}, found {len(wanted)}; join some of them")
    return tuple(_profile(f"profiles[{n}]", symbols, one, batch_symbol) for n, one in enumerate(wanted))


def within(wanted: Profiles, symbols: Sequence[Symbol]) -> Profiles:
    """What profiles say of a part of the network that has these symbols: equal ones once, none if that is nothing."""
    names = {symbol.name for symbol in symbols}
    found = [{name: range_ for name, range_ in one.items() if name in names} for one in wanted]
    distinct = [one for number, one in enumerate(found) if one not in found[:number]]
    return distinct if any(distinct) else ()


def hull(profiles: Sequence[Profile]) -> tuple[Symbol, ...]:
    """The symbols with ranges that hold those of all profiles, tuned for what the first is tuned for."""
    every = zip(*(profile.symbols for profile in profiles), strict=True)
    return tuple(
        Symbol(same[0].name, min(s.min for s in same), same[0].opt, max(s.max for s in same)) for same in every
    )


def replacing(symbols: Sequence[Symbol], others: Sequence[Symbol]) -> dict[Atom, Dim]:
    """What `with_dims` needs to put other symbols in place of symbols."""
    pairs = zip(symbols, others, strict=True)
    return {symbol: expression(other) for symbol, other in pairs if symbol != other}


def _profile(
    where: str, symbols: Sequence[Symbol], wanted: Mapping[str, Range | int], batch_symbol: str | None
) -> Profile:
    names = [symbol.name for symbol in symbols]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise BuildError(
            f"{where}: the network has no variable dimension {', '.join(map(repr, unknown))}; expected some of "
            f"{', '.join(map(repr, names)) or 'none: all its dimensions are fixed'}"
        )
    found = [_narrowed(f"{where}['{s.name}']", s, wanted[s.name]) if s.name in wanted else s for s in symbols]
    settled: dict[Atom, Dim] = {
        symbol: one.min if one.min == one.max and one.name != batch_symbol else expression(one)
        for symbol, one in zip(symbols, found, strict=True)
    }
    return Profile(tuple(found), settled)


def _narrowed(where: str, symbol: Symbol, wanted: Range | int) -> Symbol:
    low, opt, high = _checked(where, wanted)
    if low < symbol.min or high > symbol.max:
        raise BuildError(
            f"{where}: the network allows {symbol.min} to {symbol.max}, {low} to {high} is asked for; read the model "
            "with a wider range, or ask for less"
        )
    return Symbol(symbol.name, low, opt, high)


def _checked(where: str, wanted: object) -> Range:
    given = wanted if isinstance(wanted, tuple | list) else (wanted, wanted, wanted)
    if len(given) == 3 and all(isinstance(value, SupportsIndex) and not isinstance(value, bool) for value in given):
        low, opt, high = map(index, given)
        if 0 <= low <= opt <= high:
            return low, opt, high
    raise BuildError(f"{where}: expected (min, opt, max) with 0 <= min <= opt <= max, or one integer, found {wanted!r}")
