"""Forms of tensors that change from call to call, and what fits them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tensorwright.importers.onnx.parts import Form
from tensorwright.tensor.dim import Dim, linear_part, symbol
from tensorwright.tensor.type import TensorType

if TYPE_CHECKING:
    pass

LONGEST = 8
"""So many forms are remembered."""


@dataclass(eq=False)
class History:
    """The forms that came to a stage. Extents that changed alike are taken for one symbol."""

    seen: list[dict[str, Form]] = field(default_factory=list)

    def generalised(self, forms: Mapping[str, Form]) -> dict[str, Form]:
        """The forms, with symbols for all extents that differ from those seen before; remembers them.

        Tensors without elements are for themselves: no symbol has the value 0.
        """
        if any(0 in type.shape for form in forms.values() for type in _types(form)):
            return dict(forms)
        alike = [old for old in self.seen if _outline(old) == _outline(forms)]
        self.seen = [*self.seen[1 - LONGEST :], dict(forms)]
        columns = [_extents(old) for old in (*alike, forms)]
        chosen = iter([_dim(extents) for extents in zip(*columns, strict=True)])
        return {name: _replaced(form, chosen) for name, form in forms.items()}


def covers(forms: Mapping[str, Form], exact: Mapping[str, Form]) -> bool:
    """Whether forms without symbols are among some forms, for some values of the symbols in those."""
    values: dict[str, int] = {}
    return set(forms) == set(exact) and all(_cover(forms[name], exact[name], values) for name in forms)


def _cover(form: Form, exact: Form, values: dict[str, int]) -> bool:
    if isinstance(form, tuple) and isinstance(exact, tuple) and len(form) == len(exact):
        return all(_cover(item, other, values) for item, other in zip(form, exact, strict=True))
    if not isinstance(form, TensorType) or not isinstance(exact, TensorType):
        return form == exact
    if form.rank != exact.rank or replace(form, shape=()) != replace(exact, shape=()):
        return False
    return all(_match_dim(dim, extent, values) for dim, extent in zip(form.shape, exact.tuning_shape, strict=True))


def _match_dim(dim: Dim, extent: int, values: dict[str, int]) -> bool:
    linear = linear_part(dim)
    if linear is None:
        return not isinstance(dim, int) or dim == extent
    found, factor, rest = linear
    value, left = divmod(extent - rest, factor)
    return not left and found.min <= value <= found.max and values.setdefault(found.name, value) == value


def _outline(forms: Mapping[str, Form]) -> object:
    """The forms without extents."""

    def of(form: Form) -> object:
        if isinstance(form, tuple):
            return tuple(of(item) for item in form)
        return (replace(form, shape=()), form.rank) if isinstance(form, TensorType) else form

    return [(name, of(form)) for name, form in forms.items()]


def _types(form: Form) -> Iterator[TensorType]:
    if isinstance(form, tuple):
        for item in form:
            yield from _types(item)
    elif isinstance(form, TensorType):
        yield form


def _extents(forms: Mapping[str, Form]) -> list[Dim]:
    return [dim for form in forms.values() for type in _types(form) for dim in type.shape]


def _dim(extents: tuple[Dim, ...]) -> Dim:
    """The newest extent, or a symbol if it is not the only one; its range has room for twice the largest."""
    known = [extent for extent in extents if isinstance(extent, int)]
    if len(set(known)) == 1:
        return known[0]
    name = "x".join(map(str, known))
    return symbol(name, 1, known[-1], 1 << (2 * max(known) - 1).bit_length())


def _replaced(form: Form, dims: Iterator[Dim]) -> Form:
    if isinstance(form, tuple):
        return tuple(_replaced(item, dims) for item in form)
    if not isinstance(form, TensorType):
        return form
    return replace(form, shape=tuple(next(dims) for _ in form.shape))
