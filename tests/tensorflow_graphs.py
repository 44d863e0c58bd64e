"""Small TensorFlow graphs, made with the messages that the importer reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tensorwright.importers.tensorflow.messages import graph_class
from tensorwright.importers.tensorflow.tensors import LISTS, NUMBERS
from tensorwright.tensor.dtype import DTYPES, DType, dtype_of


class Shape(tuple):
    """An attribute that is a shape; -1 for an unknown extent."""

    __slots__ = ()


class GraphMaker:
    """A GraphDef under construction; every call that adds a node gives its name."""

    def __init__(self, producer: int = 1000) -> None:
        self.message = graph_class()()
        self.message.versions.producer = producer

    def add(self, operator: str, *inputs: str, name: str | None = None, **attributes: object) -> str:
        node = self.message.node.add(op=operator)
        node.name = name or f"{operator.lower()}_{len(self.message.node)}"
        node.input.extend(inputs)
        for key, value in attributes.items():
            set_attribute(node.attr[key], value)
        return node.name

    def constant(self, array: object, name: str | None = None, *, listed: bool = False) -> str:
        """A constant: floats are float32, integers int32 unless the array says otherwise.

        As TensorFlow does, one element is listed, and more are bytes unless `listed` says otherwise.
        """
        values = np.asarray(array)
        if not isinstance(array, np.ndarray | np.generic):
            values = values.astype({"f": np.float32, "i": np.int32}.get(values.dtype.kind, values.dtype))
        dtype = dtype_of(values.dtype)
        made = self.add("Const", name=name, dtype=dtype)
        tensor = self.message.node[-1].attr["value"].tensor
        tensor.dtype = NUMBERS[dtype]
        tensor.tensor_shape.SetInParent()
        for extent in values.shape:
            tensor.tensor_shape.dim.add(size=extent)
        kind = LISTS.get(dtype, "int_val")
        if kind != "half_val" and (listed or values.size == 1):
            getattr(tensor, kind).extend(values.reshape(-1).tolist())
        else:
            tensor.tensor_content = values.tobytes()
        return made

    def placeholder(self, shape: Sequence[int] | None, name: str = "x", dtype: str = "float32") -> str:
        made = self.add("Placeholder", name=name, dtype=DTYPES[dtype])
        declared = self.message.node[-1].attr["shape"].shape
        declared.SetInParent()
        if shape is None:
            declared.unknown_rank = True
        for extent in shape or ():
            declared.dim.add(size=extent)
        return made

    def bytes(self) -> bytes:
        return self.message.SerializeToString(deterministic=True)


def set_attribute(attribute: object, value: object) -> None:
    """Give an AttrValue a Python value."""
    match value:
        case bool():
            attribute.b = value
        case int():
            attribute.i = value
        case float():
            attribute.f = value
        case str():
            attribute.s = value.encode()
        case DType():
            attribute.type = NUMBERS[value]
        case Shape():
            attribute.shape.SetInParent()
            for extent in value:
                attribute.shape.dim.add(size=extent)
        case list() | tuple():
            attribute.list.SetInParent()
            kind = "f" if any(isinstance(item, float) for item in value) else "i"
            getattr(attribute.list, kind).extend(value)
        case _:
            raise TypeError(f"no attribute can hold {value!r}")


def attributes(**given: object) -> Mapping[str, object]:
    return given
