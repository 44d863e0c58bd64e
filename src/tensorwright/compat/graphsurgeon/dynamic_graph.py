"""A TensorFlow graph whose nodes can be found, taken out and put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from google.protobuf.message import Message

from tensorwright.importers.tensorflow.messages import GraphDef, NodeDef, as_graph, graph_class, new_node
from tensorwright.importers.tensorflow.read import FrozenGraph, Source, read_graph, reference
from tensorwright.importers.tensorflow.translate import is_input, result_names

Nodes = NodeDef | Iterable[NodeDef]


class DynamicGraph:
    """A graph under change. Nodes are NodeDef messages; changing one changes the graph.

    Args:
        graph: a path, the bytes of a file, or a loaded graph.
    """

    def __init__(self, graph: Source | FrozenGraph) -> None:
        frozen = graph if isinstance(graph, FrozenGraph) else read_graph(graph)
        self.label, self._producer = frozen.label, frozen.producer
        self._nodes = {name: _copied(node) for name, node in frozen.nodes.items()}

    @property
    def node_map(self) -> Mapping[str, NodeDef]:
        """The nodes by name."""
        return self._nodes

    @property
    def graph_inputs(self) -> list[NodeDef]:
        return [node for node in self._nodes.values() if is_input(node)]

    @property
    def graph_outputs(self) -> list[NodeDef]:
        """The nodes whose result no other node takes."""
        names = result_names(FrozenGraph(self._nodes, self.label, self._producer, bytes))
        return [self._nodes[name] for name in names]

    def find_nodes_by_op(self, op: str | Iterable[str]) -> list[NodeDef]:
        wanted = {op} if isinstance(op, str) else set(op)
        return [node for node in self._nodes.values() if node.op in wanted]

    def find_nodes_by_name(self, name: str | Iterable[str]) -> list[NodeDef]:
        wanted = {name} if isinstance(name, str) else set(name)
        return [node for node in self._nodes.values() if node.name in wanted]

    def find_nodes_by_path(self, path: str | Iterable[str]) -> list[NodeDef]:
        """The nodes of scopes, and nodes that are called like these."""
        paths = [path] if isinstance(path, str) else list(path)
        return [node for node in self._nodes.values() if any(_is_in(node.name, scope) for scope in paths)]

    def append(self, node: NodeDef) -> None:
        self._nodes[node.name] = _copied(node)

    def extend(self, nodes: Iterable[NodeDef]) -> None:
        for node in nodes:
            self.append(node)

    def remove(self, nodes: Nodes, remove_exclusive_dependencies: bool = False) -> None:
        """Take nodes out, and what others say of them; if asked, also nodes that only these needed."""
        gone = {node.name for node in _listed(nodes) if node.name in self._nodes}
        waiting = list(gone) if remove_exclusive_dependencies else []
        readers = self._readers()
        while waiting:
            for name in _sources(self._nodes[waiting.pop()]):
                if name in self._nodes and name not in gone and readers[name] <= gone:
                    gone.add(name)
                    waiting.append(name)
        self._nodes = {name: node for name, node in self._nodes.items() if name not in gone}
        self._rename(dict.fromkeys(gone, ()))

    def forward_inputs(self, nodes: Nodes) -> None:
        """Take nodes out and give what they take to those that took them; nodes that wait for others stay."""
        for node in _listed(nodes):
            if node.name in self._nodes and not any(source.startswith("^") for source in node.input):
                inputs = tuple(self._nodes.pop(node.name).input)
                self._rename({node.name: inputs})

    def collapse_namespaces(
        self, namespace_map: Mapping[str, NodeDef], exclude_nodes: Nodes = (), unique_inputs: bool = True
    ) -> None:
        """Put one node in place of all nodes of a scope, for several scopes.

        Args:
            namespace_map: the node for each scope; several scopes may share one.
            exclude_nodes: nodes of the scopes that stay.
            unique_inputs: whether a tensor that is taken several times is listed once.
        """
        kept = {node.name for node in _listed(exclude_nodes)}
        places: dict[str, str] = {}
        for scope, node in namespace_map.items():
            members = [name for name in self._nodes if _is_in(name, scope) and name not in kept]
            places |= dict.fromkeys(members, node.name)
        collapsed = {node.name: _copied(node) for node in namespace_map.values()}
        for member, place in places.items():
            collapsed[place].input.extend(self._nodes[member].input)
        self._nodes = {name: node for name, node in self._nodes.items() if name not in places} | collapsed
        self._rename({member: (place,) for member, place in places.items() if member != place})
        for node in collapsed.values():
            node.input[:] = [source for source in node.input if reference(source, "").node != node.name]
        for node in self._nodes.values() if unique_inputs else ():
            if node.name in collapsed or any(reference(s, "").node in collapsed for s in node.input):
                node.input[:] = dict.fromkeys(node.input)

    def as_graph_def(self) -> GraphDef:
        """The graph as it is now."""
        message: Any = graph_class()()  # Members of messages that are made at run time are not known here.
        message.versions.producer = self._producer
        for node in self._nodes.values():
            message.node.add().CopyFrom(node)
        return as_graph(cast("Message", message))

    def _readers(self) -> dict[str, set[str]]:
        readers: dict[str, set[str]] = {name: set() for name in self._nodes}
        for node in self._nodes.values():
            for source in _sources(node):
                readers.setdefault(source, set()).add(node.name)
        return readers

    def _rename(self, places: Mapping[str, tuple[str, ...]]) -> None:
        """Let all nodes take other tensors, or none, in place of some."""
        for node in self._nodes.values():
            if any(source in places for source in _sources(node)):
                node.input[:] = [
                    other
                    for source in node.input
                    for other in places.get(reference(source.removeprefix("^"), "").node, (source,))
                ]


def _sources(node: NodeDef) -> list[str]:
    return [reference(source.removeprefix("^"), f"node '{node.name}'").node for source in node.input]


def _is_in(name: str, scope: str) -> bool:
    return name == scope or name.startswith(f"{scope.removesuffix('/')}/")


def _listed(nodes: Nodes) -> list[NodeDef]:
    return list(nodes) if isinstance(nodes, Iterable) else [nodes]


def _copied(node: NodeDef) -> NodeDef:
    """A node of our own, from a message of any library."""
    copy: Any = new_node()
    copy.ParseFromString(cast("Any", node).SerializeToString())
    return cast("NodeDef", copy)
