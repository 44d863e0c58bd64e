"""Forms of tensors that change from call to call, and what fits them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from tensorwright.graph.graph import Value
from tensorwright.importers.onnx.parts import Form, Part
from tensorwright.importers.onnx.scope import Rows
from tensorwright.tensor.dim import (
    Atom,
    Dim,
    Symbol,
    bounds,
    expression,
    linear_part,
    substitute,
    symbol,
    symbols_of,
    upper_bound,
)
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.type import TensorType

Types = Mapping[str, TensorType]
"""Of tensors by name, with symbols for extents that follow from data or from open dimensions."""

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


def types_of(part: Part, forms: Mapping[str, Form]) -> dict[str, TensorType]:
    """The types of what is known when a part has run that was made for some forms; nothing is said of some tensors.

    What only a branch reads that runs on the host is among them.
    """
    found = {name: form for name, form in forms.items() if isinstance(form, TensorType)}
    for name, result in part.results.items():
        if isinstance(result, Rows):
            most = upper_bound(result.value.type.shape[0])
            found[name] = replace(result.value.type, shape=(_count(name, most), *result.value.type.shape[1:]))
        elif isinstance(result, Value):
            found[name] = result.type
    for node in part.hosted:
        if node.operator == "NonZero" and node.is_standard:
            of = found.get(node.arguments[0])
            if of is not None and of.rank:
                count = _count(node.results[0], upper_bound(of.elements))
                found[node.results[0]] = TensorType(INT64, (of.rank, count))
    return found


def _count(name: str, most: int) -> Dim:
    return symbol(f"extent of {name}", 0, min(1, most), most)


def foreseen(types: Types, exact: Mapping[str, Form]) -> dict[str, Form]:
    """The forms of what is known, with symbols where types say that extents may be others in the next call.

    They are tuned for what is here, or about that. What follows from a symbol that another tensor shows is computed
    from that.
    """
    fitting = {name: type for name, type in types.items() if _is_of(exact.get(name), type)}
    places = {
        dim: (f"extent {axis} of {name}", extent)
        for name, type in fitting.items()
        for axis, (dim, extent) in enumerate(zip(type.shape, _extents({name: exact[name]}), strict=True))
        if not isinstance(dim, int) and isinstance(extent, int)
    }
    shown: dict[Atom, Dim] = {
        found: symbol(found.name, found.min, _usual(extent, found.min, found.max), found.max)
        for dim, (_, extent) in places.items()
        if (found := _bare(dim)) is not None
    }
    tuned: dict[Dim, Dim] = {}
    for dim, (place, extent) in places.items():
        if set(symbols_of(dim)) <= set(shown):
            tuned[dim] = substitute(dim, shown)
        else:
            low, most = bounds(dim)
            tuned[dim] = symbol(place, max(0, low), _usual(extent, low, most), most)
    return {
        **exact,
        **{n: replace(type, shape=tuple(tuned.get(d, d) for d in type.shape)) for n, type in fitting.items()},
    }


def _usual(extent: int, low: int, most: int) -> int:
    """What an extent is tuned for. Those that may be 0 follow from data, and will be others in the next call: a power
    of two is as good for them, and the same for most, so that they share kernels.
    """
    return extent if low > 0 else min(1 << max(0, extent - 1).bit_length(), most)


def _bare(dim: Dim) -> Symbol | None:
    """The symbol that a dimension is."""
    found = symbols_of(dim)
    return found[0] if len(found) == 1 and dim == expression(found[0]) else None


def _is_of(form: Form, type: TensorType) -> bool:
    """Whether a form without symbols may be of a type."""
    if not isinstance(form, TensorType) or form.rank != type.rank or replace(form, shape=type.shape) != type:
        return False
    ranges = zip(form.tuning_shape, map(bounds, type.shape), strict=True)
    return all(low <= extent <= most for extent, (low, most) in ranges)


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
