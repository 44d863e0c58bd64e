"""The network's inputs: which dimensions are symbols, and what range each has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import TypeProto, ValueInfoProto

from tensorwright.base.errors import ImportFailure, ShapeError
from tensorwright.importers.onnx.tensors import dtype_from
from tensorwright.tensor.dim import Dim, IntegerExpression, expression, symbol
from tensorwright.tensor.dim import Symbol as DimSymbol
from tensorwright.tensor.type import TensorType

Range = int | tuple[int, int, int] | DimSymbol
"""What a named dimension may be: always this, or from min to max with opt to tune for."""
Entry = Range | str | tuple[str, int, int, int] | IntegerExpression | None
"""What an axis of an input may be: as `Range`, or a symbol by name; None keeps what the model says."""
Shapes = Mapping[str, Sequence[Entry] | Range]

BATCH_RANGE = (1, 1, 16)
"""The default (min, opt, max) of an unknown first dimension."""
OTHER_RANGE = (1, 128, 512)
"""The default (min, opt, max) of an unknown dimension on another axis."""


class InputShapes:
    """Decides the dimensions of all inputs; a dimension's name means the same wherever it occurs.

    Args:
        shapes: ranges by input name (one entry per axis) or by dimension name.
    """

    def __init__(self, shapes: Shapes | None, inputs: Sequence[ValueInfoProto]) -> None:
        self._shapes = dict(shapes or {})
        self._named: dict[str, Dim] = {}
        self._inputs = {value.name for value in inputs}
        known = self._inputs | {_name(dim, v.name, a) for v in inputs for a, dim in enumerate(_dims(v.type) or ())}
        spelled = {e[0] if isinstance(e, tuple) else e for key in self._inputs for e in self._entries(key) or ()}
        unknown = sorted(set(self._shapes) - known - {name for name in spelled if isinstance(name, str)})
        if unknown:
            raise ImportFailure(
                f"shapes: the model has no input or dimension named {', '.join(map(repr, unknown))}; "
                f"it has {', '.join(map(repr, sorted(known)))}"
            )
        for value in inputs:
            if self._entries(value.name) is not None:
                self._shape(value)

    def type_of(self, value: ValueInfoProto) -> TensorType:
        """The type of an input.

        Raises:
            ImportFailure: it is not a tensor, its rank is unknown, or `shapes` contradicts the model.
            Unsupported: its element type is not supported.
        """
        what = f"input '{value.name}'"
        if value.type.WhichOneof("value") != "tensor_type":
            raise ImportFailure(f"{what}: only tensors are supported, found {value.type.WhichOneof('value')}")
        return TensorType(dtype_from(value.type.tensor_type.elem_type, what), self._shape(value))

    def _shape(self, value: ValueInfoProto) -> tuple[Dim, ...]:
        what = f"input '{value.name}'"
        dims, entries = _dims(value.type), self._entries(value.name)
        if dims is None:
            if entries is None:
                raise ImportFailure(f"{what}: its rank is unknown; give its shape with shapes={{'{value.name}': ...}}")
            dims = [""] * len(entries)
        if entries is not None and len(entries) != len(dims):
            raise ImportFailure(f"{what}: shapes gives {len(entries)} dimensions, the model has {len(dims)}")
        return tuple(self._dim(value.name, axis, dims, entries) for axis in range(len(dims)))

    def _entries(self, name: str) -> Sequence[Entry] | None:
        found = self._shapes.get(name)
        return None if name not in self._inputs or found is None or isinstance(found, int | DimSymbol) else found

    def _dim(self, name: str, axis: int, dims: Sequence[int | str], entries: Sequence[Entry] | None) -> Dim:
        found, entry = dims[axis], None if entries is None else entries[axis]
        if isinstance(found, int):
            if entry is not None and entry != found:
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
        return self._symbol(own, entry, axis)

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


def _dimension(name: str, chosen: object) -> Dim:
    if isinstance(chosen, DimSymbol):
        return expression(chosen)
    if isinstance(chosen, int) and chosen >= 0:
        return chosen
    if isinstance(chosen, tuple | list) and len(chosen) == 3 and all(isinstance(n, int) for n in chosen):
        low, opt, high = chosen
        try:
            return low if low == high else symbol(name, low, opt, high)
        except ShapeError as error:
            raise ImportFailure(f"shapes: {error}") from None
    raise ImportFailure(f"shapes: dimension '{name}' has to be an integer or (min, opt, max), found {chosen!r}")


def _dims(type: TypeProto) -> list[int | str] | None:
    """Extents; a string for an unknown one, empty if it has no name. None for an unknown rank."""
    tensor = type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param for dim in tensor.shape.dim
    ]


def _name(dim: int | str, name: str, axis: int) -> str:
    return f"{name}_{axis}" if dim == "" or isinstance(dim, int) else dim
