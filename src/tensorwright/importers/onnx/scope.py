"""What the names of a graph stand for while it is read."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass

from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto

from tensorwright.base.errors import ImportFailure
from tensorwright.graph.graph import Value
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.onnx.narrow import Narrow
from tensorwright.importers.onnx.node import Term

GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


@dataclass(frozen=True)
class Absent:
    """Stands for a tensor that could not be made. `reason` is empty where the cause has been reported already."""

    reason: str = ""


@dataclass(frozen=True)
class Rows:
    """Stands for a tensor whose size follows from data: those rows of a value of which a vector of bools is true.

    It becomes a tensor when a part of the network has run, and means nothing to nodes before that.
    """

    value: Value
    kept: Value


Meaning = Term | Absent | Rows
Scope = MutableMapping[str, Meaning]


class Skipped(Exception):
    """A node needs what another, already reported, node should have made."""


@dataclass(frozen=True)
class Surroundings:
    """What the nodes of one graph or function body have in common. attributes: of the function; None in none."""

    opsets: Mapping[str, int]
    scope: Scope
    used: frozenset[str]
    attributes: Mapping[str, AttributeProto] | None
    path: str = ""

    def branch(self, graph: GraphProto, given: Mapping[str, Term], path: str) -> Surroundings:
        """The surroundings of a subgraph: names it does not define mean what they mean here."""
        outer = list(self.scope.maps) if isinstance(self.scope, ChainMap) else [self.scope]
        scope: Scope = ChainMap(dict(given), *outer)
        return Surroundings(self.opsets, scope, used_names(graph), self.attributes, path)

    @property
    def own(self) -> Mapping[str, Meaning]:
        """The names that were defined here and not further out."""
        return self.scope.maps[0] if isinstance(self.scope, ChainMap) else self.scope

    def lookup(self, name: str, accepts_narrow: bool = False) -> Term:
        """What a name means; None for the empty name.

        Raises:
            ImportFailure: nothing of this name has been made.
            Unsupported: it could not be made.
            Skipped: it could not be made, and that has been reported.
        """
        if not name:
            return None
        if name not in self.scope:
            raise ImportFailure(f"tensor '{name}' is made by no earlier node; nodes must be in topological order")
        match self.scope[name]:
            case Absent(reason=reason):
                if reason:
                    raise Unsupported(reason)
                raise Skipped
            case Narrow(reason=reason) as narrow:
                if not accepts_narrow:
                    raise Unsupported(reason)
                return narrow
            case Rows():
                raise Skipped
            case term:
                return term


def used_names(graph: GraphProto | FunctionProto) -> frozenset[str]:
    """All names that the nodes of a graph, those of its subgraphs, or its outputs refer to."""
    outputs = graph.output if isinstance(graph, FunctionProto) else [value.name for value in graph.output]
    return frozenset(_names(graph.node)) | set(outputs)


def node_names(node: NodeProto) -> frozenset[str]:
    """All names that a node or its subgraphs refer to."""
    return frozenset(_names([node])) - {""}


def _names(nodes: Iterable[NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield from node.input
        for graph in graphs_of(node):
            yield from used_names(graph)


def graphs_of(node: NodeProto) -> Iterator[GraphProto]:
    """The branches and bodies of a node."""
    for attribute in node.attribute:
        if attribute.type in GRAPHS:
            yield from (attribute.g, *attribute.graphs)


def bound_attributes(proto: NodeProto, outer: Mapping[str, AttributeProto] | None) -> dict[str, AttributeProto]:
    """The node's attributes; those that refer to an attribute of the enclosing function take its value.

    Raises:
        ImportFailure: one refers to an attribute of a function, and the node is in none (`outer` is None).
    """
    bound: dict[str, AttributeProto] = {}
    for attribute in proto.attribute:
        if not attribute.ref_attr_name:
            bound[attribute.name] = attribute
        elif outer is None:
            raise ImportFailure(
                f"'{attribute.name}' refers to '{attribute.ref_attr_name}' of a function; it is in none"
            )
        elif attribute.ref_attr_name in outer:
            copied = AttributeProto()
            copied.CopyFrom(outer[attribute.ref_attr_name])
            copied.name = attribute.name
            bound[attribute.name] = copied
    return bound
