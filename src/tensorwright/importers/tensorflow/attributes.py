"""Attributes of nodes as plain Python values."""

from __future__ import annotations

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.tensorflow.messages import AttrValue, ListValue
from tensorwright.importers.tensorflow.tensors import dtype_from, extents_from, weights_from
from tensorwright.tensor.dtype import DType
from tensorwright.tensor.weights import Weights

Extents = tuple[int, ...] | None
"""A shape: -1 for an unknown extent, None for an unknown rank."""
Attribute = (
    int | float | str | bool | DType | Extents | Weights
    | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | tuple[DType, ...]
)  # fmt: skip


def attribute_value(name: str, attribute: AttrValue) -> Attribute:
    """The value: a number, string, element type, shape, weights, or a tuple of these.

    Raises:
        Unsupported: it is a function, or has an element type that is not supported.
        ImportFailure: it has no value, or one that is damaged.
    """
    kind = attribute.WhichOneof("value")
    if kind is None:
        raise ImportFailure(f"attribute '{name}' has no value")
    what = f"attribute '{name}'"
    match kind:
        case "s":
            return _text(attribute.s)
        case "i":
            return attribute.i
        case "f":
            return attribute.f
        case "b":
            return attribute.b
        case "type":
            return dtype_from(attribute.type, what)
        case "shape":
            return extents_from(attribute.shape)
        case "tensor":
            return weights_from(attribute.tensor, what)
        case "list":
            return _items(attribute.list, what)
        case _:
            raise Unsupported(f"attribute {name}, a {kind}, is not supported")


def _items(items: ListValue, what: str) -> Attribute:
    if items.type:
        return tuple(dtype_from(number, what) for number in items.type)
    if items.s:
        return tuple(_text(text) for text in items.s)
    return tuple(items.i) or tuple(items.f) or tuple(items.b)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")
