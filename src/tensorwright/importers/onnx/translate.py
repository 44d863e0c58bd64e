"""Walks the nodes of a model in order and builds the graph."""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NoReturn

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto

from tensorwright.base.errors import ImportFailure, NetworkError
from tensorwright.graph.graph import Graph, Value, constant_value, input_value
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.onnx.attributes import Attribute, attribute_value
from tensorwright.importers.onnx.failures import Finding, failure
from tensorwright.importers.onnx.functions import body_of
from tensorwright.importers.onnx.inputs import InputShapes, Shapes
from tensorwright.importers.onnx.node import Node, Term
from tensorwright.importers.onnx.read import STANDARD_DOMAINS, Source, opsets_of, read_model
from tensorwright.importers.onnx.registry import handler_of
from tensorwright.importers.onnx.tensors import ExternalFiles, weights_from

DEEPEST = 64


@dataclass(frozen=True)
class Import:
    """A model as a graph, and the value of every tensor of the model's main graph by its name there."""

    graph: Graph
    names: Mapping[str, Value]


@dataclass(frozen=True)
class Absent:
    """Stands for a tensor that could not be made. `reason` is empty where the cause has been reported already."""

    reason: str = ""


class Skipped(Exception):
    """A node needs what another, already reported, node should have made."""


Scope = MutableMapping[str, Term | Absent]


def import_onnx(source: str | os.PathLike[str] | bytes | ModelProto, *, shapes: Shapes | None = None) -> Graph:
    """The graph of an ONNX model.

    Args:
        source: a path, the bytes of a file, or a loaded model.
        shapes: what unknown dimensions are, by dimension name or by input name::

            {"batch": (1, 8, 32)}                   # min, opt (the value to tune for), max
            {"batch": 4}                            # always 4
            {"x": (("n", 1, 8, 32), 3, 224, 224)}   # one entry per axis; None keeps what the model says

            A dimension without a name is called ``<input>_<axis>``. Without an entry the first dimension of an input
            ranges from 1 to 16 (tuned for 1), every other one from 1 to 512 (tuned for 128).

    Raises:
        ImportFailure: the model cannot be read, is wrong, or uses what is not supported (all of it is listed).
    """
    return read_network(source, shapes=shapes).graph


def read_network(source: str | os.PathLike[str] | bytes | ModelProto, *, shapes: Shapes | None = None) -> Import:
    """As `import_onnx`, with the values of all tensors by name."""
    read = read_model(source)
    return _Translator(read).network(shapes)


@dataclass(frozen=True)
class Surroundings:
    """What the nodes of one graph or function body have in common."""

    opsets: Mapping[str, int]
    scope: Scope
    used: frozenset[str]
    attributes: Mapping[str, AttributeProto]
    path: str = ""
    depth: int = 0


class _Translator:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._files = ExternalFiles(source.folders)
        self._findings: list[Finding] = []
        self._functions = {(f.domain, f.name): f for f in source.model.functions}

    def network(self, shapes: Shapes | None) -> Import:
        """The whole model."""
        graph, label = self._source.model.graph, self._source.label
        constants = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
        declared = [value for value in graph.input if value.name not in constants]
        try:
            resolver = InputShapes(shapes, declared)
            inputs = [(value.name, input_value(value.name, resolver.type_of(value))) for value in declared]
        except (ImportFailure, Unsupported) as error:
            raise ImportFailure(f"{label}: {error}") from None
        scope: dict[str, Term | Absent] = dict(inputs)
        surroundings = Surroundings(self._source.opsets, scope, _used(graph.node, graph.output), {})
        self._run(graph, surroundings)
        if self._findings:
            raise failure(self._findings, label)
        outputs = [(value.name, self._output(value.name, scope)) for value in graph.output]
        names = {name: term for name, term in scope.items() if isinstance(term, Value)}
        return Import(Graph(tuple(inputs), tuple(outputs), graph.name or "network"), MappingProxyType(names))

    def _output(self, name: str, scope: Mapping[str, Term | Absent]) -> Value:
        term = scope.get(name)
        if isinstance(term, Value):
            return term
        found = "is a sequence; only tensors are supported" if isinstance(term, tuple) else "is made by no node"
        raise ImportFailure(f"{self._source.label}: output '{name}' {found}")

    def _run(self, graph: GraphProto, surroundings: Surroundings) -> None:
        for tensor in graph.initializer:
            try:
                surroundings.scope[tensor.name] = constant_value(weights_from(tensor, self._files), tensor.name)
            except Unsupported as error:
                surroundings.scope[tensor.name] = Absent(str(error))
            except ImportFailure as error:
                raise ImportFailure(f"{self._source.label}: {error}") from error
        for sparse in graph.sparse_initializer:
            surroundings.scope[sparse.values.name] = Absent("sparse tensors are not supported")
        for proto in graph.node:
            self._node(proto, surroundings)

    def _node(self, proto: NodeProto, around: Surroundings) -> None:
        domain = "" if proto.domain in STANDARD_DOMAINS else proto.domain
        own = proto.name or next((name for name in proto.output if name), proto.op_type)
        name = f"{around.path}/{own}" if around.path else own
        version = around.opsets.get(domain, 0)
        for output in proto.output:
            if output and output in around.scope and (output not in _parents(around.scope)):
                raise ImportFailure(f"{self._source.label}: node '{name}': tensor '{output}' is made twice")
        results: Sequence[Term | Absent]
        try:
            results = self._results(proto, Place(name, domain, version), around)
        except Unsupported as error:
            self._findings.append(Finding(proto.op_type, domain, version, name, str(error)))
            results = [Absent()] * len(proto.output)
        except Skipped:
            results = [Absent()] * len(proto.output)
        except ImportFailure as error:
            self._raise(proto, Place(name, domain, version), error)
        except (NetworkError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            self._raise(proto, Place(name, domain, version), error)
        around.scope.update({output: term for output, term in zip(proto.output, results, strict=False) if output})

    def _raise(self, proto: NodeProto, place: Place, error: Exception) -> NoReturn:
        if isinstance(error, LocatedFailure):
            raise error
        what = f"{self._source.label}: node '{place.name}' ({place.domain or 'ai.onnx'}.{proto.op_type}, opset {place.version})"
        detail = str(error) if isinstance(error, ImportFailure | NetworkError) else f"{type(error).__name__}: {error}"
        raise LocatedFailure(f"{what}: {detail}") from error

    def _results(self, proto: NodeProto, place: Place, around: Surroundings) -> Sequence[Term]:
        attributes = _bound_attributes(proto, around.attributes)
        function = self._functions.get((proto.domain, proto.op_type))
        handler = None if function else handler_of(place.domain, proto.op_type)
        try:
            inputs = [self._lookup(name, around.scope) for name in proto.input]
        except Skipped:
            if function is None and handler is None and not _has_body(proto, place):
                raise Unsupported("") from None
            raise
        if function is not None:
            return self._call(function, inputs, attributes, place, around)
        node = self._handle(proto, place, around)
        if handler is not None:
            try:
                values = {name: attribute_value(a, self._files) for name, a in attributes.items()}
                return self._checked(handler(node, inputs, values), node)
            except Unsupported as error:
                try:
                    return self._by_definition(proto, node, inputs, attributes, around)
                except (Unsupported, LocatedFailure):
                    raise error from None
        return self._by_definition(proto, node, inputs, attributes, around)

    def _by_definition(
        self,
        proto: NodeProto,
        node: Node,
        inputs: Sequence[Term],
        attributes: Mapping[str, AttributeProto],
        around: Surroundings,
    ) -> Sequence[Term]:
        """The outputs by the body that the ONNX standard gives the operator."""
        place = Place(node.name, node.domain, node.version)
        body = self._standard_body(proto, place, inputs, attributes)
        if body is None:
            raise Unsupported("")
        reported = len(self._findings)
        try:
            return self._checked(self._call(body, inputs, attributes, place, around), node)
        except Skipped:
            causes = self._findings[reported:]
            del self._findings[reported:]
            parts = sorted({f"{f.operator}{f' ({f.reason})' if f.reason else ''}" for f in causes})
            raise Unsupported(f"its definition uses {', '.join(parts)}" if parts else "") from None

    def _handle(self, proto: NodeProto, place: Place, around: Surroundings) -> Node:
        def translate(graph: GraphProto, given: Mapping[str, Term]) -> tuple[Term, ...]:
            scope: Scope = ChainMap(dict(given), *_maps(around.scope))
            used = _used(graph.node, graph.output)
            inner = Surroundings(around.opsets, scope, used, around.attributes, place.name, around.depth + 1)
            self._run(graph, inner)
            return tuple(self._lookup(value.name, scope) for value in graph.output)

        wanted = tuple(bool(output) and output in around.used for output in proto.output)
        return Node(place.name, proto.op_type, place.domain, place.version, wanted, translate)

    def _checked(self, results: Sequence[Term], node: Node) -> Sequence[Term]:
        for number, wanted in enumerate(node.wanted):
            if wanted and (number >= len(results) or results[number] is None):
                raise Unsupported(f"output {number} is not supported")
        return results

    def _standard_body(
        self, proto: NodeProto, place: Place, inputs: Sequence[Term], attributes: Mapping[str, AttributeProto]
    ) -> FunctionProto | None:
        plain = NodeProto()
        plain.CopyFrom(proto)
        del plain.attribute[:]
        plain.attribute.extend(attributes.values())
        return body_of(plain, place.domain, place.version, inputs)

    def _call(
        self,
        function: FunctionProto,
        inputs: Sequence[Term],
        attributes: Mapping[str, AttributeProto],
        place: Place,
        around: Surroundings,
    ) -> Sequence[Term]:
        if around.depth >= DEEPEST:
            raise ImportFailure(f"functions call each other more than {DEEPEST} deep; does '{function.name}' call itself?")
        given = list(inputs) + [None] * (len(function.input) - len(inputs))
        scope: Scope = dict(zip(function.input, given, strict=False))
        bound = {a.name: a for a in function.attribute_proto} | dict(attributes)
        used = frozenset(function.output) | _names_in(function.node)
        opsets = {**around.opsets, **opsets_of(function)}
        inner = Surroundings(opsets, scope, used, bound, place.name, around.depth + 1)
        for proto in function.node:
            self._node(proto, inner)
        return [self._lookup(name, scope) if name in scope else None for name in function.output]

    def _lookup(self, name: str, scope: Mapping[str, Term | Absent]) -> Term:
        if not name:
            return None
        if name not in scope:
            raise ImportFailure(f"tensor '{name}' is made by no earlier node; nodes must be in topological order")
        term = scope[name]
        if isinstance(term, Absent):
            if term.reason:
                raise Unsupported(term.reason)
            raise Skipped
        return term


@dataclass(frozen=True)
class Place:
    """Where a node is: its full name, its domain and the imported version of that."""

    name: str
    domain: str
    version: int


class LocatedFailure(ImportFailure):
    """A failure whose message already names the node."""


def _has_body(proto: NodeProto, place: Place) -> bool:
    try:
        return body_of(proto, place.domain, place.version, [None] * len(proto.input)) is not None
    except (RuntimeError, ValueError):
        return True


def _bound_attributes(proto: NodeProto, outer: Mapping[str, AttributeProto]) -> dict[str, AttributeProto]:
    """The node's attributes; those that refer to an attribute of the enclosing function take its value."""
    bound: dict[str, AttributeProto] = {}
    for attribute in proto.attribute:
        if not attribute.ref_attr_name:
            bound[attribute.name] = attribute
        elif attribute.ref_attr_name in outer:
            bound[attribute.name] = AttributeProto()
            bound[attribute.name].CopyFrom(outer[attribute.ref_attr_name])
            bound[attribute.name].name = attribute.name
    return bound


def _used(nodes: Iterable[NodeProto], outputs: Iterable[object]) -> frozenset[str]:
    return _names_in(nodes) | {str(getattr(value, "name", "")) for value in outputs}


def _names_in(nodes: Iterable[NodeProto]) -> frozenset[str]:
    return frozenset(_walk(nodes))


def _walk(nodes: Iterable[NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs] if attribute.type in GRAPHS else ():
                yield from _walk(graph.node)
                yield from (value.name for value in graph.output)


GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def _maps(scope: Scope) -> list[MutableMapping[str, Term | Absent]]:
    return list(scope.maps) if isinstance(scope, ChainMap) else [scope]


def _parents(scope: Scope) -> Mapping[str, Term | Absent]:
    return scope.parents if isinstance(scope, ChainMap) else {}


__all__ = ["Attribute", "Import", "import_onnx", "read_network"]
