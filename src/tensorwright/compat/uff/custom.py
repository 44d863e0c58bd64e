"""Operators that UFF does not know: custom nodes, for a plugin of their name."""

from __future__ import annotations

from tensorwright.compat.uff.model import FieldValue
from tensorwright.compat.uff.source import TensorFlowNode
from tensorwright.importers.tensorflow.attributes import Attribute
from tensorwright.importers.tensorflow.read import Reference
from tensorwright.importers.uff.fields import NUMBERS
from tensorwright.tensor.dtype import DType
from tensorwright.tensor.weights import Weights


def custom(node: TensorFlowNode) -> list[Reference]:
    """Write a node ``_Operator`` with all inputs, and all attributes as fields."""
    fields = {
        name: field
        for name, value in node.attributes.items()
        if not name.startswith("_") and (field := as_field(value)) is not None
    }
    return node.write(f"_{node.operator}", *range(len(node.inputs)), **fields)


def as_field(value: Attribute) -> FieldValue | None:
    """An attribute as a field; element types that UFF lacks by their name, unknown shapes and tensors not at all."""
    match value:
        case None | Weights():
            return None
        case DType():
            return value if value in NUMBERS else value.name
        case tuple():
            return [item.name if isinstance(item, DType) else item for item in value]  # type: ignore[return-value]
        case _:
            return value
