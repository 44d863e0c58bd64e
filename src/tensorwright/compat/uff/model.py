"""A UFF model under construction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from google.protobuf import text_format

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.uff.fields import NUMBERS
from tensorwright.importers.uff.messages import ANY_RANK, INCREMENT, meta_graph_class
from tensorwright.tensor import dtype as types
from tensorwright.tensor.dtype import DType, dtype_of

ORDERS: Mapping[str, tuple[int, ...]] = {
    "N+C": (0, 2, INCREMENT, 1),
    "NC+": (0, 1, 2, INCREMENT),
    "+CK": (2, INCREMENT, 1, 0),
    "+KC": (2, INCREMENT, 0, 1),
    "NC": (0, 1),
    "CN": (1, 0),
    "CK": (1, 0),
    "KC": (0, 1),
}
"""How the axes of a tensor follow each other: N batch, C channels, K output channels, + all spatial axes."""
NARROWED: Mapping[DType, DType] = {types.FLOAT64: types.FLOAT32}
SHOWN_BYTES = 32


class Orders(tuple[str, ...]):
    """A field that says the orders of the axes of some inputs, each by its letters."""

    __slots__ = ()


FieldValue = str | float | bool | DType | Orders | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]

NO_FIELDS: Mapping[str, FieldValue] = MappingProxyType({})


class UffWriter:
    """Takes nodes and makes the file."""

    def __init__(self) -> None:
        # Members of messages that are made at run time are not known to the type checker.
        self._meta: Any = cast("Any", meta_graph_class()(version=1, descriptor_core_version=1))
        self._meta.descriptors.add(id="tensorflow_extension", version=1)
        self._graph = self._meta.graphs.add(id="main")
        self._names: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __len__(self) -> int:
        return len(self._graph.nodes)

    def add(
        self, operation: str, name: str, inputs: Sequence[str] = (), fields: Mapping[str, FieldValue] = NO_FIELDS
    ) -> str:
        """A node; gives its name.

        Raises:
            ImportFailure: there is a node of this name.
        """
        if name in self._names:
            raise ImportFailure(f"the UFF model would have two nodes called '{name}'; rename one in the graph")
        self._names.add(name)
        node = self._graph.nodes.add(id=name, inputs=list(inputs), operation=operation)
        for key, value in fields.items():
            self._set(node.fields[key], value)
        if operation.startswith("_"):
            self._require_descriptor("custom")
        return name

    def constant(self, name: str, array: npt.NDArray[np.generic]) -> str:
        """A node with a constant; float64 becomes float32, which is the widest type of UFF.

        Raises:
            ImportFailure: UFF has no such element type, or an element is outside of float32.
        """
        dtype = dtype_of(array.dtype)
        stored = uff_dtype(dtype, f"constant '{name}'")
        with np.errstate(all="ignore"):
            converted = np.ascontiguousarray(array, stored.numpy)
        if stored != dtype and np.isfinite(converted).sum() != np.isfinite(array).sum():
            raise ImportFailure(f"constant '{name}': an element is outside of float32, the widest type of UFF")
        blob = converted.tobytes()
        reference = f"weights_{name}"
        self._meta.referenced_data[reference].blob = blob
        made = self.add("Const", name, (), {"dtype": stored, "shape": list(array.shape)})
        self._graph.nodes[-1].fields["values"].ref = reference
        return made

    def serialized(self) -> bytes:
        """The bytes of the file, the same for the same model."""
        return cast("bytes", self._meta.SerializeToString(deterministic=True))

    def text(self) -> str:
        """The model as text, for reading only: long blobs are left out."""
        shown = meta_graph_class()()
        shown.CopyFrom(self._meta)
        referenced = cast("Any", shown).referenced_data
        for name in sorted(referenced):
            size = len(referenced[name].blob)
            if size > SHOWN_BYTES:
                referenced[name].blob = f"({size} bytes are left out)".encode()
        return text_format.MessageToString(shown)

    def _require_descriptor(self, name: str) -> None:
        if all(descriptor.id != name for descriptor in self._meta.descriptors):
            self._meta.descriptors.add(id=name, version=1)

    def _set(self, data: Any, value: FieldValue) -> None:  # noqa: ANN401  # See __init__.
        match value:
            case str():
                data.s = value
            case bool():
                data.b = value
            case int():
                data.i = value
            case float():
                data.d = value
            case DType():
                data.dtype = NUMBERS[value]
            case Orders():
                data.ref = self._orders(value)
            case _:
                self._set_list(data, list(value))

    def _set_list(self, data: Any, values: list[object]) -> None:  # noqa: ANN401  # See __init__.
        kind = "i_list"
        for candidate, type in (("s_list", str), ("b_list", bool), ("d_list", float)):
            if values and all(isinstance(value, type) for value in values):
                kind = candidate
                break
        items = getattr(data, kind)
        items.SetInParent()
        items.val.extend(values)

    def _orders(self, orders: Orders) -> str:
        reference = f"orders_{'_'.join(orders)}"
        if reference not in self._meta.referenced_data:
            listed = self._meta.referenced_data[reference].dim_orders_list
            for letters in orders:
                listed.val.add().orders.add(key=ANY_RANK).value.val.extend(ORDERS[letters])
        return reference


def uff_dtype(dtype: DType, what: str) -> DType:
    """The type in which UFF stores an element type.

    Raises:
        ImportFailure: there is none.
    """
    stored = NARROWED.get(dtype, dtype)
    if stored not in NUMBERS:
        known = ", ".join(sorted(known.name for known in NUMBERS))
        raise ImportFailure(f"{what}: UFF has no element type {dtype.name}, it has {known}; cast it in the graph")
    return stored
