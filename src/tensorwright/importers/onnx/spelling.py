"""Names in models have to be UTF-8: the protobuf library gives bytes, which nothing can show, for others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, ValueInfoProto

from tensorwright.base.errors import ImportFailure


def require_names(model: ModelProto, label: str) -> None:
    """Refuse a model with names that are not UTF-8.

    Raises:
        ImportFailure: there is one; the message shows it.
    """
    for name in _names(model):
        if not isinstance(name, str):
            raise ImportFailure(
                f"{label}: expected names in UTF-8, found {str(name)[:100]}; the file is damaged, or give it names "
                "of letters and export it again"
            )


def _names(model: ModelProto) -> Iterator[object]:
    yield from (entry.domain for entry in model.opset_import)
    for function in model.functions:
        yield from _of_function(function)
    waiting = [model.graph]
    waiting += [graph for function in model.functions for graph in _bodies(function.node)]
    while waiting:
        graph = waiting.pop()
        yield from _of_graph(graph)
        waiting += _bodies(graph.node)


def _of_function(function: FunctionProto) -> Iterator[object]:
    yield from (function.name, function.domain, *function.input, *function.output, *function.attribute)
    yield from _of_nodes(function.node)


def _of_graph(graph: GraphProto) -> Iterator[object]:
    yield graph.name
    yield from (tensor.name for tensor in graph.initializer)
    yield from (tensor.values.name for tensor in graph.sparse_initializer)
    for value in (*graph.input, *graph.output):
        yield from _of_value(value)
    yield from _of_nodes(graph.node)


def _of_value(value: ValueInfoProto) -> Iterator[object]:
    yield value.name
    yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)


def _of_nodes(nodes: Iterable[NodeProto]) -> Iterator[object]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _bodies(nodes: Iterable[NodeProto]) -> list[GraphProto]:
    """The graphs inside of nodes: branches and bodies of loops."""
    attributes = [attribute for node in nodes for attribute in node.attribute]
    single = [attribute.g for attribute in attributes if attribute.type == AttributeProto.GRAPH]
    return single + [graph for attribute in attributes for graph in attribute.graphs]
