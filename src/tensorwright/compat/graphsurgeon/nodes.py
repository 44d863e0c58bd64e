"""New nodes for a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.tensorflow.messages import NodeDef, new_node
from tensorwright.importers.tensorflow.tensors import NUMBERS
from tensorwright.tensor.dtype import dtype_of


def create_node(name: str, op: str | None = None, trt_plugin: bool = False, **attributes: object) -> NodeDef:
    """A node; its operator is called like it unless `op` says otherwise.

    Args:
        name: its name.
        op: its operator.
        trt_plugin: whether a plugin implements it; it makes no difference, every operator that UFF lacks is for one.
        attributes: numbers, strings, element types, or lists of numbers or strings; ``shape`` is a shape.
    """
    del trt_plugin
    node = new_node()
    node.name, node.op = name, op or name
    for key, value in attributes.items():
        _set(node.attr[key], key, value)
    return node


def create_plugin_node(name: str, op: str | None = None, **attributes: object) -> NodeDef:
    """A node that a plugin implements; see `create_node`."""
    return create_node(name, op, True, **attributes)


def _set(attribute: Any, key: str, value: object) -> None:  # noqa: ANN401  # A message that is made at run time.
    if isinstance(value, bool | np.bool_):
        attribute.b = bool(value)
    elif isinstance(value, int | np.integer):
        attribute.i = int(value)
    elif isinstance(value, float | np.floating):
        attribute.f = float(value)
    elif isinstance(value, str | bytes):
        attribute.s = value.encode() if isinstance(value, str) else value
    elif hasattr(value, "as_datatype_enum"):
        attribute.type = value.as_datatype_enum
    elif key == "shape" and isinstance(value, Sequence):
        attribute.shape.SetInParent()
        for extent in value:
            attribute.shape.dim.add(size=-1 if extent is None else int(extent))
    elif isinstance(value, list | tuple | np.ndarray):
        _set_list(attribute.list, key, list(value))
    elif isinstance(value, type | np.dtype):
        attribute.type = NUMBERS[dtype_of(np.dtype(value))]
    else:
        raise ImportFailure(f"attribute '{key}': expected numbers, strings or an element type, found {value!r}")


def _set_list(items: Any, key: str, values: Sequence[object]) -> None:  # noqa: ANN401  # See _set.
    items.SetInParent()
    if all(isinstance(value, int | np.integer) for value in values):
        items.i.extend(map(int, values))  # type: ignore[arg-type]
    elif all(isinstance(value, int | float | np.number) for value in values):
        items.f.extend(map(float, values))  # type: ignore[arg-type]
    elif all(isinstance(value, str) for value in values):
        items.s.extend(str(value).encode() for value in values)
    else:
        raise ImportFailure(f"attribute '{key}': expected a list of numbers or of strings, found {values!r}")
