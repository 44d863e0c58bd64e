"""Attributes of nodes as plain Python values."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnx import AttributeProto, GraphProto

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.onnx.tensors import ExternalFiles, weights_from
from tensorwright.tensor.weights import Weights

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Weights | GraphProto


def attribute_value(attribute: AttributeProto, files: ExternalFiles) -> Attribute:
    """The value: a number, string, tuple of these, weights or a subgraph.

    Raises:
        Unsupported: it is a sparse tensor, a type, or a list of tensors or graphs.
    """
    if attribute.type == AttributeProto.TENSOR:
        return weights_from(attribute.t, files)
    reader = READERS.get(attribute.type)
    if reader is None:
        if attribute.type not in AttributeProto.AttributeType.values() or attribute.type == AttributeProto.UNDEFINED:
            raise ImportFailure(f"attribute '{attribute.name}' has no type")
        kind = AttributeProto.AttributeType.Name(attribute.type).lower()
        raise Unsupported(f"attribute {attribute.name} of type {kind} is not supported")
    return reader(attribute)


READERS: Mapping[int, Callable[[AttributeProto], Attribute]] = {
    AttributeProto.INT: lambda attribute: attribute.i,
    AttributeProto.FLOAT: lambda attribute: attribute.f,
    AttributeProto.STRING: lambda attribute: attribute.s.decode("utf-8", "replace"),
    AttributeProto.INTS: lambda attribute: tuple(attribute.ints),
    AttributeProto.FLOATS: lambda attribute: tuple(attribute.floats),
    AttributeProto.STRINGS: lambda attribute: tuple(text.decode("utf-8", "replace") for text in attribute.strings),
    AttributeProto.GRAPH: lambda attribute: attribute.g,
}
