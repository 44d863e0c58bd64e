"""Walks a TensorFlow graph from its outputs and writes a UFF model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.base.errors import ImportFailure
from tensorwright.compat.uff.custom import custom
from tensorwright.compat.uff.model import UffWriter
from tensorwright.compat.uff.source import PASSED_ON, Constants, TensorFlowNode, Types, passed_on, uff_name
from tensorwright.importers.failures import Finding, Unsupported, failure
from tensorwright.importers.registry import handlers_in
from tensorwright.importers.tensorflow.attributes import Attribute, attribute_value
from tensorwright.importers.tensorflow.messages import NodeDef
from tensorwright.importers.tensorflow.read import FREEZE, FrozenGraph, Reference, data_inputs, reference
from tensorwright.importers.tensorflow.translate import VARIABLES, is_input

OPERATORS = "tensorwright.compat.uff.operators"
SEVERAL_OUTPUTS = frozenset({"Split", "SplitV", "Unpack"})
ADVICE = "Name output nodes before these operators, or replace them in the graph."


@dataclass(frozen=True)
class Converted:
    """A UFF model, what became a custom node in it, and the inputs and outputs of the graph."""

    model: UffWriter
    custom: tuple[NodeDef, ...]
    inputs: tuple[NodeDef, ...]
    outputs: tuple[NodeDef, ...]


def convert(graph: FrozenGraph, outputs: Sequence[str]) -> Converted:
    """The UFF model of a frozen graph.

    Args:
        graph: the graph.
        outputs: the nodes to compute.

    Raises:
        ImportFailure: an output does not exist (the nearest names are listed), or the graph is wrong or uses what UFF
            cannot say, not even as a custom operator (all of it is listed).
    """
    return _Converter(graph, outputs).converted(outputs)


class _Converter:
    def __init__(self, graph: FrozenGraph, outputs: Sequence[str]) -> None:
        self._graph = graph
        self._constants, self._types = Constants(graph), Types(graph, outputs)
        self._model = UffWriter()
        self._done: set[str] = set()
        self._findings: list[Finding] = []
        self._custom: list[NodeDef] = []
        self._inputs: list[NodeDef] = []

    def converted(self, outputs: Sequence[str]) -> Converted:
        wanted = [reference(name, f"{self._graph.label}: output '{name}'") for name in outputs]
        nodes = [self._graph.require(source.node) for source in wanted]
        for source in wanted:
            self._convert(source)
        for number, source in enumerate(wanted):
            self._model.add("MarkOutput", f"MarkOutput_{number}", [uff_name(source)])
        if self._findings:
            raise failure(self._findings, self._graph.label, ADVICE)
        return Converted(self._model, tuple(self._custom), tuple(self._inputs), tuple(nodes))

    def _convert(self, output: Reference) -> None:
        """Convert a tensor and all that it needs, the latest input of a node first, as converters always did."""
        waiting = [output]
        while waiting:
            source = waiting.pop()
            if source.node in self._done or uff_name(source) in self._model:
                self._require_output(source)
                continue
            node = self._graph.require(source.node)
            if node.op in PASSED_ON:
                below = passed_on(self._graph, source)
                self._model.add("Identity", uff_name(source), [uff_name(below)])
                waiting.append(below)
                continue
            try:
                waiting += self._written(node)
            except Unsupported as error:
                self._findings.append(Finding(node.op, node.name, str(error)))
            except ImportFailure as error:
                raise self._located(node, str(error)) from error
            except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError, RecursionError) as error:
                raise self._located(node, f"{type(error).__name__}: {error}") from error
            self._done.add(node.name)
            self._require_output(source)

    def _located(self, node: NodeDef, detail: str) -> ImportFailure:
        """A failure that says where, unless it does already."""
        label = self._graph.label
        return ImportFailure(
            detail if detail.startswith(label) else f"{label}: node '{node.name}' ({node.op}): {detail}"
        )

    def _require_output(self, source: Reference) -> None:
        if source.output and uff_name(source) not in self._model and not self._findings:
            node = self._graph.require(source.node)
            reason = f"output {source.output} is used; nodes of UFF have one output"
            self._findings.append(Finding(node.op, node.name, reason))

    def _written(self, node: NodeDef) -> list[Reference]:
        if node.op in VARIABLES:
            raise Unsupported(f"a variable; {FREEZE}")
        handler = handlers_in(OPERATORS).get(node.op)
        own = TensorFlowNode(
            node.name,
            node.op,
            data_inputs(node),
            _attributes(node),
            self._graph,
            self._constants,
            self._types,
            self._model,
        )
        if is_input(node):
            self._inputs.append(node)
        elif handler is None and (array := self._constants.array(Reference(node.name))) is not None:
            self._model.constant(node.name, array)
            return []
        sources = custom(own) if handler is None else handler(own, (), {})
        if handler is None:
            self._custom.append(node)
        if not isinstance(sources, list):
            raise ImportFailure(f"{self._graph.label}: node '{node.name}' ({node.op}) was not converted")
        return sources


def _attributes(node: NodeDef) -> dict[str, Attribute]:
    """All attributes that have a plain value; the value of a constant is read elsewhere."""
    values: dict[str, Attribute] = {}
    for name in sorted(node.attr):
        if node.attr[name].WhichOneof("value") != "tensor":
            try:
                values[name] = attribute_value(name, node.attr[name])
            except Unsupported:
                continue
    return values
