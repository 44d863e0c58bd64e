"""What an ONNX model says of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from onnx import TypeProto, ValueInfoProto

from tensorwright.importers import inputs
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.inputs import Shapes
from tensorwright.importers.onnx.tensors import dtype_from
from tensorwright.tensor.equations import Restriction
from tensorwright.tensor.type import TensorType


class InputShapes(inputs.InputShapes):
    """Decides the types of all inputs of a model."""

    def __init__(
        self, shapes: Shapes | None, declared: Sequence[ValueInfoProto], restriction: Restriction = MappingProxyType({})
    ) -> None:
        super().__init__(shapes, {value.name: _dims(value.type) for value in declared}, restriction)

    def type_of(self, value: ValueInfoProto) -> TensorType:
        """The type of an input.

        Raises:
            ImportFailure: its rank is unknown, or `shapes` contradicts the model.
            Unsupported: it is not a tensor, or its element type is not supported.
        """
        what = f"input '{value.name}'"
        if value.type.WhichOneof("value") != "tensor_type":
            raise Unsupported(f"{what}: only tensors are supported, found {value.type.WhichOneof('value')}")
        return TensorType(dtype_from(value.type.tensor_type.elem_type, what), self.shape_of(value.name))


def _dims(type: TypeProto) -> list[int | str] | None:
    """Extents; a string for an unknown one, empty if it has no name. None for an unknown rank."""
    tensor = type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param for dim in tensor.shape.dim
    ]


__all__ = ["InputShapes", "Shapes"]
