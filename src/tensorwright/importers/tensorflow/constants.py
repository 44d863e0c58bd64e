"""Puts constants of users in place of nodes: whether the graph trains, how much a dropout keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.constants import Constants, as_array
from tensorwright.importers.tensorflow.messages import NodeDef, new_node
from tensorwright.importers.tensorflow.read import FrozenGraph
from tensorwright.importers.tensorflow.tensors import NUMBERS, dtype_from, extents_from
from tensorwright.tensor.dtype import dtype_of


def with_constants(graph: FrozenGraph, constants: Constants) -> FrozenGraph:
    """The graph with constants in place of nodes, by name.

    Raises:
        ImportFailure: there is no such node, or the value is not one that the node can have.
    """
    nodes = dict(graph.nodes)
    for name, value in constants.items():
        replaced = graph.require(name.removesuffix(":0"))
        nodes[replaced.name] = constant_node(replaced.name, _checked(name, value, replaced))
    return replace(graph, nodes=nodes)


def constant_node(name: str, array: npt.NDArray[np.generic]) -> NodeDef:
    """A node Const of a name."""
    node = new_node()
    node.name, node.op = name, "Const"
    number = NUMBERS[dtype_of(array.dtype)]
    node.attr["dtype"].type = number
    tensor = node.attr["value"].tensor
    tensor.dtype = number
    tensor.tensor_content = np.ascontiguousarray(array).tobytes()
    for extent in array.shape:
        tensor.tensor_shape.dim.add(size=extent)
    return node


def _checked(name: str, value: object, node: NodeDef) -> npt.NDArray[np.generic]:
    dtype = dtype_from(node.attr["dtype"].type, f"node '{name}'") if "dtype" in node.attr else None
    array = as_array(name, value, dtype)
    wanted = extents_from(node.attr["shape"].shape) if "shape" in node.attr else None
    fits = not wanted or (
        len(wanted) == array.ndim and all(w in (-1, n) for w, n in zip(wanted, array.shape, strict=True))
    )
    if not fits:
        raise ImportFailure(f"constants: '{name}' has the shape {list(wanted or ())}, found {list(array.shape)}")
    return array
