"""Small models, and how the tests compute what an imported graph gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.onnx import import_onnx
from tensorwright.importers.onnx.inputs import Shapes

Arrays = Mapping[str, np.ndarray]


def model_of(
    nodes: Sequence[NodeProto],
    inputs: Arrays | Mapping[str, tuple[int, Sequence[int | str | None] | None]],
    outputs: Sequence[str],
    opset: int = 20,
    constants: Arrays | None = None,
    domains: Mapping[str, int] | None = None,
    **fields: object,
) -> ModelProto:
    """A model; inputs are given by example arrays or as (element type, shape)."""
    declared = [_declared(name, given) for name, given in inputs.items()]
    initializers = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    unknown = [ValueInfoProto(name=name) for name in outputs]
    graph = helper.make_graph(list(nodes), "test", declared, unknown, initializers)
    imports = [helper.make_opsetid(domain, version) for domain, version in {"": opset, **(domains or {})}.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, **fields)


def _declared(name: str, given: np.ndarray | tuple[int, Sequence[int | str | None] | None]) -> object:
    if isinstance(given, tuple):
        return helper.make_tensor_value_info(name, *given)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(given.dtype), given.shape)


def node(operator: str, inputs: str, outputs: str, **attributes: object) -> NodeProto:
    """A node; names are separated by spaces, ``_`` is an omitted one."""
    names = [["" if name == "_" else name for name in text.split()] for text in (inputs, outputs)]
    return helper.make_node(operator, *names, **attributes)


def run(model: ModelProto, inputs: Arrays, shapes: Shapes | None = None) -> list[np.ndarray]:
    """The outputs of the imported model."""
    graph = import_onnx(model, shapes=shapes)
    return list(evaluate_graph(graph, {name: inputs[name] for name, _ in graph.inputs}).values())
