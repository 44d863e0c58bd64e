"""Reads frozen graphs: from a path, from bytes or from a message that is already loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.files import HEAD, read_bytes
from tensorwright.importers.formats import Model, first_field
from tensorwright.importers.names import nearest
from tensorwright.importers.order import sources_first
from tensorwright.importers.protobuf import parse_bytes
from tensorwright.importers.prototext import Limits, parse_text
from tensorwright.importers.tensorflow.functions import nodes_of
from tensorwright.importers.tensorflow.messages import GraphDef, NodeDef, as_graph, graph_class

WHAT = "a frozen TensorFlow graph"
FREEZE = (
    "freeze the graph first: tf.compat.v1.graph_util.convert_variables_to_constants, or "
    "convert_variables_to_constants_v2 for TensorFlow 2"
)


Source = Model
LIMITS = Limits(text=1 << 28, line=1 << 28)
"""Weights stand in texts of graphs, each tensor in one line."""


@dataclass(frozen=True, eq=False)
class FrozenGraph:
    """The nodes of a graph by name, in the order of the file, and what to call the graph in messages."""

    nodes: Mapping[str, NodeDef]
    label: str
    producer: int
    serialized: Callable[[], bytes]

    def require(self, name: str) -> NodeDef:
        """The node of a name.

        Raises:
            ImportFailure: there is none; the message says which names come near.
        """
        if name not in self.nodes:
            raise ImportFailure(f"{self.label}: there is no node '{name}'; {nearest(name, self.nodes)}")
        return self.nodes[name]


@dataclass(frozen=True)
class Reference:
    """Output number `output` of a node."""

    node: str
    output: int = 0


def read_graph(source: Source) -> FrozenGraph:
    """Load a graph and check that it is one.

    Raises:
        ImportFailure: there is no such file, it is no graph, it is damaged, or two nodes have one name.
    """
    return as_frozen(*_load(source))


def as_frozen(graph: GraphDef, label: str) -> FrozenGraph:
    """A loaded graph, checked.

    Raises:
        ImportFailure: it has no nodes, or two of one name.
    """
    nodes: dict[str, NodeDef] = {}
    for number, node in enumerate(_nodes(graph, label)):
        if not node.name or not node.op:
            raise ImportFailure(f"{label}: node number {number} has no {'operator' if node.name else 'name'}; damaged?")
        if node.name in nodes:
            raise ImportFailure(f"{label}: two nodes are called '{node.name}', a {nodes[node.name].op} and a {node.op}")
        nodes[node.name] = node
    if not nodes:
        raise ImportFailure(
            f"{label}: not {WHAT}: it has no nodes. A SavedModel or a checkpoint is no frozen graph; {FREEZE}"
        )
    return FrozenGraph(nodes, label, graph.versions.producer, graph.SerializeToString)


def _nodes(graph: GraphDef, label: str) -> Iterator[NodeDef]:
    try:
        yield from nodes_of(graph)
    except ImportFailure as error:
        raise ImportFailure(f"{label}: {error}") from None


def data_inputs(node: NodeDef) -> tuple[Reference, ...]:
    """Where the tensors that a node takes come from; that it waits for others is left out.

    Raises:
        ImportFailure: an input is not of the form ``name`` or ``name:number``.
    """
    return tuple(reference(text, f"node '{node.name}'") for text in node.input if not text.startswith("^"))


def branches(graph: FrozenGraph, node: NodeDef) -> tuple[Reference, ...]:
    """Which branches of conditions a node without tensors waits for: it is there only if they are taken."""
    if any(not text.startswith("^") for text in node.input):
        return ()
    waited = (graph.nodes.get(text.removeprefix("^")) for text in node.input)
    return tuple(Reference(one.name) for one in waited if one is not None and is_branch(graph, one))


def is_branch(graph: FrozenGraph, node: NodeDef) -> bool:
    """Whether a node only stands for a branch of a condition."""
    if node.op != "Identity" or len(node.input) != 1:
        return False
    below = graph.nodes.get(node.input[0].partition(":")[0])
    return below is not None and below.op in ("Switch", "RefSwitch")


def reference(text: str, what: str) -> Reference:
    """The output of a node that a text names."""
    name, colon, number = text.rpartition(":")
    if not colon:
        return Reference(text)
    if not number.isascii() or not number.isdigit() or len(number) > 6 or not name:
        raise ImportFailure(f"{what}: expected an input of the form name or name:number, found '{text}'")
    return Reference(name, int(number))


def order_of(graph: FrozenGraph, roots: Sequence[str]) -> list[NodeDef]:
    """The nodes that some nodes need and these, each behind all whose tensors it takes.

    Raises:
        ImportFailure: a node takes a tensor of one that is missing, or there is a cycle.
    """

    def sources(name: str) -> list[str]:
        node = graph.require(name)
        return [_required(graph, node, source.node) for source in (*data_inputs(node), *branches(graph, node))]

    def cycle(names: Sequence[str]) -> ImportFailure:
        return ImportFailure(f"{graph.label}: {_cycle([graph.nodes[name] for name in names])}")

    return [graph.nodes[name] for name in sources_first(roots, sources, cycle)]


def _required(graph: FrozenGraph, node: NodeDef, name: str) -> str:
    if name not in graph.nodes:
        raise ImportFailure(
            f"{graph.label}: node '{node.name}' ({node.op}) takes '{name}', which the graph lacks; "
            f"{nearest(name, graph.nodes)}"
        )
    return name


def _cycle(loop: Sequence[NodeDef]) -> str:
    names = " -> ".join(f"'{node.name}' ({node.op})" for node in [*loop[:8], loop[0]])
    if any(node.op in ("NextIteration", "RefNextIteration") for node in loop):
        return f"while loops are not supported; this one runs through {names}"
    return f"the nodes form a cycle: {names}; a frozen graph has none, the file is damaged"


def _load(source: Source) -> tuple[GraphDef, str]:
    if isinstance(source, bytes | bytearray | memoryview):
        return _parsed(bytes(source), "the given bytes"), "the graph"
    if isinstance(source, str | os.PathLike):
        return _parsed(read_bytes(source, WHAT), str(source)), str(source)
    message = source.as_graph_def() if hasattr(source, "as_graph_def") else source
    if not hasattr(message, "SerializeToString"):
        raise ImportFailure(
            f"expected the path of {WHAT}, its bytes, a GraphDef or a tf.Graph, found {type(source).__name__}"
        )
    return as_graph(parse_bytes(graph_class(), message.SerializeToString(), "the given graph", WHAT)), "the graph"


def _parsed(data: bytes, label: str) -> GraphDef:
    """The graph in some bytes, binary or text."""
    if not first_field(data[:HEAD]) and not label.endswith(".pbtxt"):
        return as_graph(parse_bytes(graph_class(), data, label, WHAT))
    return as_graph(parse_text(graph_class(), data, label, WHAT, limits=LIMITS)[0])
