"""The network's inputs: which dimensions are symbols, and what range each has."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tensorwright.base.errors import ImportFailure, ShapeError
from tensorwright.tensor.dim import Dim, IntegerExpression, expression, symbol
from tensorwright.tensor.dim import Symbol as DimSymbol
from tensorwright.tensor.equations import Restriction, restricted

Range = int | tuple[int, int, int] | DimSymbol
"""What a named dimension may be: always this, or from min to max with opt to tune for."""
Entry = Range | str | tuple[str, int, int, int] | IntegerExpression | None
"""What an axis of an input may be: as `Range`, or a symbol by name; None or -1 for what the model says."""
ENTRIES = (int, str, tuple, DimSymbol, IntegerExpression)
UNSAID = (None, -1)
Shapes = Mapping[str, Sequence[Entry] | Range]

BATCH_RANGE = (1, 1, 16)
"""The default (min, opt, max) of an unknown first dimension."""
OTHER_RANGE = (1, 128, 512)
"""The default (min, opt, max) of an unknown dimension on another axis."""


MOST_NAMED = 20
"""Inputs that an error lists."""


class InputShapes:
    """Decides the dimensions of all inputs; a dimension's name means the same wherever it occurs.

    Args:
        shapes: ranges by input name (one entry per axis) or by dimension name.
        inputs: what the model says of each input: extents, names of unknown ones (empty where they have none), or
            None for an unknown rank.
        restriction: what symbols are replaced by at last.
    """

    def __init__(
        self,
        shapes: Shapes | None,
        inputs: Mapping[str, Sequence[int | str] | None],
        restriction: Restriction = MappingProxyType({}),
    ) -> None:
        self._restriction = restriction
        self._shapes = {} if shapes is None else checked_shapes(shapes)
        self._named: dict[str, Dim] = {}
        self._inputs = inputs
        known = set(inputs) | {_name(dim, name, a) for name, dims in inputs.items() for a, dim in enumerate(dims or ())}
        spelled = {e[0] if isinstance(e, tuple) else e for key in self._inputs for e in self._entries(key) or ()}
        unknown = sorted(set(self._shapes) - known - {name for name in spelled if isinstance(name, str)})
        if unknown:
            raise ImportFailure(
                f"shapes: the model has no input or dimension named {', '.join(map(repr, unknown))}; "
                f"it has {', '.join(map(repr, sorted(known)))}"
            )
        for name in inputs:
            if self._entries(name) is not None:
                self.shape_of(name)

    def shape_of(self, name: str) -> tuple[Dim, ...]:
        """The shape of an input.

        Raises:
            ImportFailure: its rank is unknown, or `shapes` contradicts the model.
        """
        what = f"input '{name}'"
        dims, entries = self._inputs[name], self._entries(name)
        if dims is None:
            if entries is None:
                raise self._unknown_ranks()
            dims = [""] * len(entries)
        if entries is not None and len(entries) != len(dims):
            raise ImportFailure(f"{what}: shapes gives {len(entries)} dimensions, the model has {len(dims)}")
        decided = [self._dim(name, axis, dims, entries) for axis in range(len(dims))]
        return tuple(restricted(dim, self._restriction) for dim in decided)

    def _unknown_ranks(self) -> ImportFailure:
        """The error for all inputs of which nobody says the rank."""
        names = [name for name, dims in self._inputs.items() if dims is None and self._entries(name) is None]
        shapes = "shapes={" + ", ".join(f"{name!r}: (...)" for name in names[:MOST_NAMED]) + "}"
        if len(names) == 1:
            return ImportFailure(
                f"input {names[0]!r}: its rank is unknown; give its shape with {shapes}, or its value with constants"
            )
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        listed = ", ".join(map(repr, names[:MOST_NAMED])) + more
        return ImportFailure(
            f"inputs {listed}: their ranks are unknown; give their shapes with {shapes}, or their values with constants"
        )

    def _entries(self, name: str) -> Sequence[Entry] | None:
        found = self._shapes.get(name)
        return None if name not in self._inputs or found is None or isinstance(found, int | DimSymbol) else found

    def _dim(self, name: str, axis: int, dims: Sequence[int | str], entries: Sequence[Entry] | None) -> Dim:
        found, entry = dims[axis], None if entries is None else entries[axis]
        if isinstance(found, int):
            if entry not in UNSAID and entry != found:
                raise ImportFailure(
                    f"input '{name}' axis {axis}: the model fixes it to {found}, shapes says {entry}; "
                    "export the model with a dynamic axis"
                )
            return found
        own = _name(found, name, axis)
        if isinstance(entry, str):
            return self._symbol(entry, None, axis)
        if isinstance(entry, IntegerExpression):
            return entry
        if isinstance(entry, tuple) and len(entry) == 4:
            return self._symbol(entry[0], entry[1:], axis)
        return self._symbol(own, None if entry == -1 else entry, axis)

    def _symbol(self, name: str, given: Range | None, axis: int) -> Dim:
        if given is None and name in self._named:
            return self._named[name]
        default = BATCH_RANGE if axis == 0 else OTHER_RANGE
        ranged = self._shapes.get(name, default) if name not in self._inputs else default
        chosen = ranged if given is None else given
        dim = _dimension(name, chosen)
        if self._named.setdefault(name, dim) != dim:
            raise ImportFailure(f"shapes: dimension '{name}' is given twice, as {self._named[name]!r} and {dim!r}")
        return dim


def checked_shapes(shapes: object) -> dict[str, Sequence[Entry] | Range]:
    """What a user says of shapes.

    Raises:
        ImportFailure: it is not said in the right form.
    """
    if not isinstance(shapes, Mapping):
        raise ImportFailure(f"shapes: expected a mapping such as {{'x': (1, 3, 224, 224)}}, found {shapes!r}")
    return {name: _said(name, entries) for name, entries in shapes.items()}


def _said(name: object, said: object) -> Sequence[Entry] | Range:
    """The entries of an input, or the range of a dimension; NumPy's integers and lists in their plain forms."""
    if isinstance(name, str) and isinstance(said, DimSymbol):
        return said
    if isinstance(name, str) and (number := _integer(said)) is not None:
        return number
    if isinstance(name, str) and isinstance(said, Sequence) and not isinstance(said, str | bytes):
        entries = [tuple(one) if isinstance(one, list) else one for one in said]
        plain = [one if (number := _integer(one)) is None else number for one in entries]
        if all(one is None or isinstance(one, ENTRIES) for one in plain):
            return tuple(plain)
    raise ImportFailure(
        f"shapes: expected for {name!r} an integer, (min, opt, max) or one entry for each axis, found {said!r}"
    )


def _integer(value: object) -> int | None:
    """An integer of any integer type, NumPy's included."""
    try:
        return None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def _dimension(name: str, chosen: object) -> Dim:
    if isinstance(chosen, DimSymbol):
        return expression(chosen)
    if (number := _integer(chosen)) is not None and number >= 0:
        return number
    numbers = [_integer(one) for one in chosen] if isinstance(chosen, tuple | list) else []
    if len(numbers) == 3 and all(n is not None for n in numbers):
        low, opt, high = (n or 0 for n in numbers)
        try:
            return low if low == high else symbol(name, low, opt, high)
        except ShapeError as error:
            raise ImportFailure(f"shapes: {error}") from None
    raise ImportFailure(f"shapes: dimension '{name}' has to be an integer or (min, opt, max), found {chosen!r}")


def _name(dim: int | str, name: str, axis: int) -> str:
    return f"{name}_{axis}" if dim == "" or isinstance(dim, int) else dim
