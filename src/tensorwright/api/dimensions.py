"""Dimensions whose range the user has not said yet, and what ranges they get when a build starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorwright.base.errors import NetworkError
from tensorwright.runtime.bindings import bare_symbol
from tensorwright.tensor.dim import Atom, Dim, Symbol, ceil_divide, expression, linear_part, upper_bound
from tensorwright.tensor.type import Shape

OPEN_MAX = 1 << 20
"""The largest value of a dimension of which nothing is known."""
BATCH_RANGE = (1, 1, 16)
"""The default (min, opt, max) of an unknown first dimension."""
OTHER_RANGE = (1, 128, 512)
"""The default (min, opt, max) of an unknown dimension on another axis."""

Range = tuple[int, int, int]


@dataclass(frozen=True, repr=False)
class OpenSymbol(Symbol):
    """A dimension whose range is said when a build starts: within these bounds, and not by them."""


def open_symbol(name: str, largest: int = OPEN_MAX) -> OpenSymbol:
    """A dimension from 1 to `largest`, whose range is open."""
    return OpenSymbol(name, 1, 1, largest)


def is_open(symbol: Symbol) -> bool:
    return isinstance(symbol, OpenSymbol)


@dataclass(frozen=True)
class InputRange:
    """The smallest, the usual and the largest shape of an input."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


def settled_symbols(
    inputs: Sequence[tuple[str, Shape]],
    profile: Mapping[str, InputRange],
    batch: tuple[str | None, int | None],
) -> dict[Atom, Dim]:
    """What to put in place of symbols when a build starts.

    Args:
        inputs: names and full shapes of the network's inputs.
        profile: ranges of shapes by input name.
        batch: the symbol of the implicit batch, if any, and the largest batch size, if the user said one.

    Raises:
        NetworkError: the profile does not fit the inputs or contradicts itself.
    """
    ranges = _profiled(inputs, profile)
    batch_symbol, max_batch = batch
    result: dict[Atom, Dim] = {}
    for name, shape in inputs:
        for axis, dim in enumerate(shape):
            linear = linear_part(dim)
            if linear is None or linear[0] in result:
                continue
            symbol, factor, rest = linear
            chosen = ranges.get(symbol)
            if chosen is None and is_open(symbol):
                share = _share(_default(symbol, axis, batch_symbol, max_batch), factor, rest)
                chosen = share if _is_said(symbol, axis, batch) else _clamped(share, symbol)
            if chosen is not None:
                result[symbol] = _dimension(symbol, chosen, name)
    return result


def assumed_symbols(
    inputs: Sequence[tuple[str, Shape]],
    profile: Mapping[str, InputRange],
    batch: tuple[str | None, int | None],
) -> tuple[Symbol, ...]:
    """The symbols to which `settled_symbols` gives a default range, with that range."""
    ranges = _profiled(inputs, profile)
    settled = settled_symbols(inputs, profile, batch)
    found: dict[str, Symbol] = {}
    for _, shape in inputs:
        for axis, symbol in enumerate(map(bare_symbol, shape)):
            if symbol is None or not is_open(symbol) or symbol in ranges:
                continue
            chosen = bare_symbol(settled[symbol])
            if not _is_said(symbol, axis, batch) and chosen is not None:
                found.setdefault(symbol.name, chosen)
    return tuple(found.values())


def _share(wanted: Range, factor: int, rest: int) -> Range:
    """The range of a symbol, of whose range times `factor` plus `rest` is said; empty if there is no such integer."""
    low, opt, high = wanted
    least, most = max(0, ceil_divide(low - rest, factor)), (high - rest) // factor
    return least, min(max((opt - rest) // factor, least), most), most


def _is_said(symbol: Symbol, axis: int, batch: tuple[str | None, int | None]) -> bool:
    """Whether the user said the range of a dimension as that of the batch."""
    return symbol.name == batch[0] or (axis == 0 and batch[1] is not None)


def _clamped(wanted: Range, symbol: Symbol) -> Range:
    """As much of a range as the network allows."""
    low, opt, high = (min(max(value, symbol.min), symbol.max) for value in wanted)
    return low, opt, high


def _default(symbol: Symbol, axis: int, batch_symbol: str | None, max_batch: int | None) -> Range:
    if symbol.name == batch_symbol:
        largest = max_batch or 1
        return 1, largest, largest
    if axis == 0 and max_batch:
        return 1, max_batch, max_batch
    return BATCH_RANGE if axis == 0 else OTHER_RANGE


def _dimension(symbol: Symbol, chosen: Range, name: str) -> Dim:
    low, opt, high = chosen
    if low < symbol.min or high > symbol.max:
        raise NetworkError(
            f"input '{name}': dimension '{symbol.name}' can be from {symbol.min} to {symbol.max} by the definition of "
            f"the network, {low} to {high} is asked for; widen the definition or ask for less"
        )
    return expression(Symbol(symbol.name, low, opt, high)) if symbol_varies(chosen, symbol) else low


def range_of(dim: Dim) -> Range:
    """The range of a symbol that `settled_symbols` gives, as a dimension."""
    symbol = bare_symbol(dim)
    return (symbol.min, symbol.opt, symbol.max) if symbol is not None else (upper_bound(dim),) * 3


def symbol_varies(chosen: Range, symbol: Symbol) -> bool:
    """Whether a range leaves anything open; an implicit batch of at most 1 stays a dimension of its own."""
    return chosen[0] != chosen[2] or symbol.name == IMPLICIT_BATCH


IMPLICIT_BATCH = "batch"
"""The name of the leading dimension of all tensors of a network with implicit batch."""


def _profiled(inputs: Sequence[tuple[str, Shape]], profile: Mapping[str, InputRange]) -> dict[Symbol, Range]:
    shapes = dict(inputs)
    unknown = sorted(set(profile) - set(shapes))
    if unknown:
        raise NetworkError(
            f"optimization profile: the network has no input {', '.join(map(repr, unknown))}; it has "
            f"{', '.join(map(repr, shapes))}"
        )
    found: dict[Symbol, Range] = {}
    for name, wanted in profile.items():
        for axis, dim in enumerate(_matching(name, shapes[name], wanted)):
            _merge(found, name, axis, dim, (wanted.min[axis], wanted.opt[axis], wanted.max[axis]))
    return found


def _matching(name: str, shape: Shape, wanted: InputRange) -> Shape:
    if not len(wanted.min) == len(wanted.opt) == len(wanted.max) == len(shape):
        raise NetworkError(
            f"optimization profile, input '{name}': expected {len(shape)} dimensions, found min {wanted.min}, "
            f"opt {wanted.opt}, max {wanted.max}"
        )
    return shape


def _merge(found: dict[Symbol, Range], name: str, axis: int, dim: Dim, wanted: Range) -> None:
    where = f"optimization profile, input '{name}', axis {axis}"
    if not 0 <= wanted[0] <= wanted[1] <= wanted[2]:
        raise NetworkError(f"{where}: expected 0 <= min <= opt <= max, found {wanted}")
    linear = linear_part(dim)
    if linear is not None:
        symbol, factor, rest = linear
        share = _share(wanted, factor, rest)
        if share[0] > share[2]:
            raise NetworkError(f"{where}: the network needs {dim}, which is nothing from {wanted[0]} to {wanted[2]}")
        if found.setdefault(symbol, share) != share:
            raise NetworkError(
                f"{where}: dimension '{symbol.name}' is given twice, as {found[symbol]} and {share}; inputs that "
                "share a dimension need the same range"
            )
    elif isinstance(dim, int) and wanted != (dim, dim, dim):
        raise NetworkError(
            f"{where}: the network fixes it to {dim}, the profile asks for {wanted}; define the input with -1 there"
        )
