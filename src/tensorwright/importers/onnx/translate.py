"""Walks the nodes of a model in order and builds the graph."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from tensorwright.base.errors import ImportFailure, NetworkError
from tensorwright.graph.graph import Graph, Value, constant_value, input_value
from tensorwright.importers.agreement import NONE, Agreement, until_agreed
from tensorwright.importers.constants import Constants, as_array
from tensorwright.importers.failures import NODES, Finding, LocatedFailure, Unsupported, UnsupportedModel, failure
from tensorwright.importers.names import nearest
from tensorwright.importers.onnx.attributes import attribute_value
from tensorwright.importers.onnx.functions import body_of, has_body
from tensorwright.importers.onnx.inputs import InputShapes, Shapes
from tensorwright.importers.onnx.legacy import MODERN, modernised
from tensorwright.importers.onnx.narrow import HELD, Narrow, small_type
from tensorwright.importers.onnx.node import Node, Term
from tensorwright.importers.onnx.read import STANDARD_DOMAINS, Source, opsets_of, read_model
from tensorwright.importers.onnx.registry import Handler, handler_of
from tensorwright.importers.onnx.scope import (
    Absent,
    Meaning,
    Scope,
    Skipped,
    Surroundings,
    bound_attributes,
    used_names,
)
from tensorwright.importers.onnx.tensors import ExternalFiles, dtype_from, weights_from, widened_weights
from tensorwright.tensor.weights import weights_of

MOST_UNROLLED = 1 << 15
"""So many nodes at most are translated in bodies of loops and branches."""
ADVICE = (
    "Export the model without these operators (fixed shapes and a simplifier often remove them), replace them in the "
    "model, or cut the graph before them."
)
CONVERTING = ("Cast", "CastLike", "DequantizeLinear", "QuantizeLinear")
"""Operators that know small element types."""
MOVING = ("Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that take and give the same numbers, whatever they are."""
KNOWING = frozenset((*CONVERTING, *MOVING))


@dataclass(frozen=True)
class Import:
    """A model as a graph, the value of every tensor of the model's main graph by its name there, and warnings."""

    graph: Graph
    names: Mapping[str, Value]
    warnings: tuple[str, ...]


def import_onnx(
    source: str | os.PathLike[str] | bytes | ModelProto,
    *,
    shapes: Shapes | None = None,
    constants: Constants | None = None,
) -> Graph:
    """The graph of an ONNX model.

    Args:
        source: a path, the bytes of a file, or a loaded model.
        shapes: what unknown dimensions are, by dimension name or by input name::

            {"batch": (1, 8, 32)}                   # min, opt (the value to tune for), max
            {"batch": 4}                            # always 4
            {"x": (("n", 1, 8, 32), 3, 224, 224)}   # one entry per axis; None keeps what the model says

            A dimension without a name is called ``<input>_<axis>``. Without an entry the first dimension of an input
            ranges from 1 to 16 (tuned for 1), every other one from 1 to 512 (tuned for 128). Where the network's
            tensors fit only for some extents (a table of 64 positions, halves that are joined with the whole), the
            dimension becomes such: a smaller range, a multiple, or an integer.
        constants: values in place of inputs, by name.

    Raises:
        ImportFailure: the model cannot be read, is wrong, or uses what is not supported (all of it is listed).
    """
    return read_network(source, shapes=shapes, constants=constants).graph


def read_network(
    source: str | os.PathLike[str] | bytes | ModelProto,
    *,
    shapes: Shapes | None = None,
    constants: Constants | None = None,
) -> Import:
    """As `import_onnx`, with the values of all tensors by name, and what its author should know."""
    read = read_model(source)
    return until_agreed(lambda agreement: Translator(read).network(shapes, constants or {}, agreement))


def agreement_of(read: Source, shapes: Shapes | None) -> Agreement:
    """What dimensions of the inputs have to be for the tensors to fit, as far as the model can be translated."""
    found = NONE

    def attempt(agreement: Agreement) -> None:
        nonlocal found
        found = agreement
        Translator(read).network(shapes, {}, agreement)

    with suppress(ImportFailure):
        until_agreed(attempt)
    return found


@dataclass(frozen=True)
class Place:
    """Where a node is: its full name, its operator, the operator's domain and the imported version of that."""

    name: str
    operator: str
    domain: str
    version: int

    def __str__(self) -> str:
        return f"node '{self.name}' ({self.domain or 'ai.onnx'}.{self.operator}, opset {self.version})"


@dataclass(frozen=True)
class Refusal:
    """A node of the main graph that was not translated: its number, why, and `Unsupported.needs`."""

    number: int
    reason: str
    needs: tuple[Value, ...]


class Translator:
    """Makes values of the nodes of one model.

    by_parts: whether the sizes of tensors may be left open, for a network that runs in parts.
    """

    def __init__(self, source: Source, by_parts: bool = False) -> None:
        self._source = source
        self._files = ExternalFiles(source.folders)
        self._findings: list[Finding] = []
        self._by_parts = by_parts
        self._unrolled = 0
        self._functions = {(f.domain, f.name): f for f in source.model.functions}

    def network(self, shapes: Shapes | None, given: Constants, agreement: Agreement) -> Import:
        """The whole model."""
        graph, label = self._source.model.graph, self._source.label
        constants = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
        declared = [value for value in graph.input if value.name not in constants]
        free = [value for value in declared if value.name not in given]
        try:
            fixed = {name: _given(name, value, declared) for name, value in given.items()}
            resolver = InputShapes(shapes, free, agreement.restriction)
            inputs = [(value.name, input_value(value.name, resolver.type_of(value))) for value in free]
        except Unsupported as error:
            raise UnsupportedModel(f"{label}: {error}") from None
        except ImportFailure as error:
            raise ImportFailure(f"{label}: {error}") from None
        scope: dict[str, Meaning] = {**dict(inputs), **fixed}
        self._run(graph, Surroundings(self._source.opsets, scope, used_names(graph), None))
        if self._findings:
            raise failure(self._findings, label, ADVICE)
        outputs = [(value.name, self._output(value.name, scope)) for value in graph.output]
        names = {name: term for name, term in scope.items() if isinstance(term, Value)}
        network = Graph(tuple(inputs), tuple(outputs), graph.name or "network")
        return Import(network, MappingProxyType(names), agreement.reasons)

    def translate(self, scope: Scope, numbers: Iterable[int]) -> list[Refusal]:
        """Translate some nodes of the main graph, as far as what `scope` holds allows, and put the results there.

        A node that needs what another one did not make is passed over in silence: its outputs are `Absent`.
        """
        graph = self._source.model.graph
        around = Surroundings(self._source.opsets, scope, used_names(graph), None)
        refusals = []
        for number in numbers:
            before, proto = len(self._findings), graph.node[number]
            self._unrolled = 0
            try:
                self._node(proto, around)
            except LocatedFailure as error:
                scope.update((name, Absent()) for name in proto.output if name)
                self._findings.append(Finding(proto.op_type, proto.name, str(error)))
            causes = self._findings[before:]
            if causes:
                needs = [value for cause in causes for value in cause.needs] if all(c.needs for c in causes) else []
                reason = "; ".join(dict.fromkeys(cause.explain(NODES) for cause in causes))
                refusals.append(Refusal(number, reason, tuple(needs)))
        return refusals

    def constants(self) -> dict[str, Meaning]:
        """What the names of the main graph's initializers stand for."""
        scope: dict[str, Meaning] = {}
        self._read_constants(self._source.model.graph, scope)
        return scope

    def _output(self, name: str, scope: Mapping[str, Meaning]) -> Value:
        term = scope.get(name)
        if isinstance(term, Value):
            return term
        if isinstance(term, Narrow):
            raise UnsupportedModel(f"{self._source.label}: {term.reason} as output '{name}'")
        if isinstance(term, tuple):
            raise UnsupportedModel(f"{self._source.label}: output '{name}' is a sequence; only tensors are supported")
        raise ImportFailure(f"{self._source.label}: output '{name}' is made by no node")

    def _run(self, graph: GraphProto, around: Surroundings) -> None:
        self._read_constants(graph, around.scope)
        for proto in graph.node:
            self._node(proto, around)

    def _read_constants(self, graph: GraphProto, scope: Scope) -> None:
        for tensor in graph.initializer:
            try:
                scope[tensor.name] = constant_meaning(tensor, self._files)
            except ImportFailure as error:
                raise ImportFailure(f"{self._source.label}: {error}") from error
        for sparse in graph.sparse_initializer:
            scope[sparse.values.name] = Absent("sparse tensors are not supported")

    def _node(self, proto: NodeProto, around: Surroundings) -> None:
        domain = "" if proto.domain in STANDARD_DOMAINS else proto.domain
        own = proto.name or next((name for name in proto.output if name), proto.op_type)
        name = f"{around.path}/{own}" if around.path else own
        place = Place(name, proto.op_type, domain, around.opsets.get(domain, 0))
        results: Sequence[Meaning]
        try:
            results = self._results(proto, place, around)
        except Unsupported as error:
            details = (("domain", domain or "ai.onnx"), ("opset", str(place.version)))
            self._findings.append(Finding(proto.op_type, name, str(error), details, error.needs))
            results = [Absent()] * len(proto.output)
        except Skipped:
            results = [Absent()] * len(proto.output)
        except LocatedFailure:
            raise
        except (ImportFailure, NetworkError) as error:
            raise LocatedFailure(f"{self._source.label}: {place}: {error}") from error
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            MemoryError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            raise LocatedFailure(f"{self._source.label}: {place}: {type(error).__name__}: {error}") from error
        for output, term in zip(proto.output, results, strict=False):
            if output in around.own:
                raise ImportFailure(f"{self._source.label}: {place}: tensor '{output}' is made twice")
            if output:
                around.scope[output] = term

    def _results(self, proto: NodeProto, place: Place, around: Surroundings) -> Sequence[Term]:
        attributes = bound_attributes(proto, around.attributes)
        function = self._functions.get((proto.domain, proto.op_type))
        handler = None if function else handler_of(place.domain, proto.op_type)
        try:
            inputs: Sequence[Term] = [around.lookup(name, proto.op_type in KNOWING) for name in proto.input]
        except Skipped:
            if function is None and handler is None and not has_body(place.operator, place.domain, place.version):
                raise Unsupported("") from None
            raise
        if function is not None:
            return self._call(function, inputs, attributes, place, around)
        node = self._handle(proto, place, around)
        if handler is None:
            return self._by_definition(proto, node, inputs, attributes, around)
        try:
            values = {name: attribute_value(attribute, self._files) for name, attribute in attributes.items()}
            if node.version < MODERN and not node.domain:
                inputs, values = modernised(node, inputs, values)
            if proto.op_type in MOVING:
                return checked(moved(handler, node, inputs, values), node)
            return checked(handler(node, inputs, values), node)
        except Unsupported as error:
            try:
                return self._by_definition(proto, node, inputs, attributes, around)
            except (Unsupported, LocatedFailure):
                raise error from None

    def _handle(self, proto: NodeProto, place: Place, around: Surroundings) -> Node:
        def translate(graph: GraphProto, given: Mapping[str, Term]) -> tuple[Term, ...]:
            inner = around.branch(graph, given, place.name)
            self._unrolled += 1 + len(graph.node)
            if self._unrolled > MOST_UNROLLED:
                raise Unsupported(f"loops and branches of more than {MOST_UNROLLED} nodes are not unrolled")
            self._run(graph, inner)
            return tuple(inner.lookup(value.name) for value in graph.output)

        wanted = tuple(bool(output) and output in around.used for output in proto.output)
        open_ended = self._by_parts and not around.path
        return Node(place.name, proto.op_type, place.domain, place.version, wanted, open_ended, translate)

    def _by_definition(
        self,
        proto: NodeProto,
        node: Node,
        inputs: Sequence[Term],
        attributes: Mapping[str, AttributeProto],
        around: Surroundings,
    ) -> Sequence[Term]:
        """The outputs by the body that the ONNX standard gives the operator."""
        place = Place(node.name, node.operator, node.domain, node.version)
        plain = NodeProto()
        plain.CopyFrom(proto)
        del plain.attribute[:]
        plain.attribute.extend(attributes.values())
        body = body_of(plain, place.domain, place.version, inputs)
        if body is None:
            raise Unsupported("")
        reported = len(self._findings)
        try:
            return checked(self._call(body, inputs, attributes, place, around), node)
        except Skipped:
            causes = self._findings[reported:]
            del self._findings[reported:]
            parts = sorted({f"{f.operator}{f' ({f.reason})' if f.reason else ''}" for f in causes})
            needs = [value for finding in causes for value in finding.needs] if all(f.needs for f in causes) else []
            raise Unsupported(f"its definition uses {', '.join(parts)}" if parts else "", needs) from None

    def _call(
        self,
        function: FunctionProto,
        inputs: Sequence[Term],
        attributes: Mapping[str, AttributeProto],
        place: Place,
        around: Surroundings,
    ) -> Sequence[Term]:
        given = list(inputs) + [None] * (len(function.input) - len(inputs))
        scope: dict[str, Meaning] = dict(zip(function.input, given, strict=False))
        bound = {a.name: a for a in function.attribute_proto} | dict(attributes)
        opsets = {**around.opsets, **opsets_of(function)}
        inner = Surroundings(opsets, scope, used_names(function), bound, place.name)
        for proto in function.node:
            self._node(proto, inner)
        return [inner.lookup(name) if name in scope else None for name in function.output]


def _given(name: str, value: object, declared: Sequence[ValueInfoProto]) -> Value:
    """What the user says in place of an input."""
    found = [one for one in declared if one.name == name]
    if not found:
        names = [one.name for one in declared]
        raise ImportFailure(f"constants: there is no input '{name}'; {nearest(name, names, 'inputs')}")
    dtype = dtype_from(found[0].type.tensor_type.elem_type, f"input '{name}'")
    return constant_value(weights_of(as_array(name, value, dtype)), name)


def constant_meaning(tensor: TensorProto, files: ExternalFiles) -> Meaning:
    """What the name of an initializer stands for."""
    dtype = small_type(tensor.data_type)
    if dtype is not None:
        return Narrow(constant_value(widened_weights(tensor, HELD[dtype.name], files), tensor.name), dtype)
    try:
        return constant_value(weights_from(tensor, files), tensor.name)
    except Unsupported as error:
        return Absent(str(error))


def moved(handler: Handler, node: Node, inputs: Sequence[Term], attributes: Mapping[str, object]) -> Sequence[Term]:
    """The outputs of an operator that only moves elements; of a small type if its inputs are."""
    found = {term.dtype for term in inputs if isinstance(term, Narrow)}
    results = handler(node, [term.value if isinstance(term, Narrow) else term for term in inputs], attributes)
    if not found:
        return results
    (dtype,) = found
    return [Narrow(result, dtype) if isinstance(result, Value) else result for result in results]


def checked(results: Sequence[Term], node: Node) -> Sequence[Term]:
    """The outputs, none of those missing that something uses."""
    for number, wanted in enumerate(node.wanted):
        if wanted and (number >= len(results) or results[number] is None):
            raise Unsupported(f"output {number} is not supported")
    return results
