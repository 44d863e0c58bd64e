"""Puts inputs in place of nodes of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf.message import Message

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.tensorflow.messages import as_graph, graph_class
from tensorwright.importers.tensorflow.read import FrozenGraph, as_frozen
from tensorwright.importers.tensorflow.tensors import NUMBERS
from tensorwright.tensor.dtype import DTYPES, DType

FORM = "name,new_name,dtype,dim1,dim2,..."


@dataclass(frozen=True)
class NewInput:
    """An input that takes the place of a node. Extents include the batch; -1 for an unknown one."""

    node: str
    name: str
    dtype: DType
    shape: tuple[int, ...]


def new_input(text: str) -> NewInput:
    """The input that a text of the form ``name,new_name,dtype,dim1,dim2,...`` describes.

    Raises:
        ImportFailure: it has another form, or there is no such element type.
    """
    node, *others = (part.strip() for part in text.split(","))
    if len(others) < 2 or not node or not others[0]:
        raise ImportFailure(f"an input must be written {FORM}, found '{text}'")
    name, kind, *dims = others
    dtype = kind.rpartition(".")[2].lower().removeprefix("dt_")
    dtype = {"float": "float32", "half": "float16"}.get(dtype, dtype)
    if dtype not in DTYPES:
        raise ImportFailure(f"input '{text}': expected one of the element types {', '.join(DTYPES)}, found '{kind}'")
    try:
        return NewInput(node, name, DTYPES[dtype], tuple(int(dim) for dim in dims))
    except ValueError:
        raise ImportFailure(f"input '{text}': dimensions must be integers, found {dims}") from None


def with_inputs(graph: FrozenGraph, inputs: Sequence[NewInput]) -> FrozenGraph:
    """The graph with some nodes replaced by inputs, and what they were called by the inputs' names.

    Raises:
        ImportFailure: there is no such node, or a new name is taken.
    """
    if not inputs:
        return graph
    renamed = {graph.require(one.node).name: one for one in inputs}
    # Members of messages that are made at run time are not known to the type checker.
    message: Any = graph_class()()
    message.versions.producer = graph.producer
    for name, node in graph.nodes.items():
        if name in renamed:
            _add_placeholder(message, renamed[name])
            continue
        copy = message.node.add()
        copy.CopyFrom(node)
        for number, source in enumerate(copy.input):
            own, colon, rest = source.partition(":")
            mark = "^" if own.startswith("^") else ""
            if own.removeprefix("^") in renamed:
                copy.input[number] = mark + renamed[own.removeprefix("^")].name + colon + rest
    return as_frozen(as_graph(cast("Message", message)), graph.label)


def _add_placeholder(message: Any, given: NewInput) -> None:  # noqa: ANN401  # See with_inputs.
    node = message.node.add(name=given.name, op="Placeholder")
    node.attr["dtype"].type = NUMBERS[given.dtype]
    shape = node.attr["shape"].shape
    shape.SetInParent()
    for extent in given.shape:
        shape.dim.add(size=extent)
