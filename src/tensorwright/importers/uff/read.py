"""Reads UFF files: from a path or from bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.files import read_bytes
from tensorwright.importers.names import nearest
from tensorwright.importers.order import sources_first
from tensorwright.importers.protobuf import parse_bytes
from tensorwright.importers.uff.messages import Data, Node, as_meta_graph, meta_graph_class

WHAT = "a UFF model"
Source = str | os.PathLike[str] | bytes


@dataclass(frozen=True, eq=False)
class UffModel:
    """The nodes of the main graph by name, in the order of the file, and the data that their fields refer to."""

    nodes: Mapping[str, Node]
    referenced: Mapping[str, Data]
    label: str

    def require(self, name: str, what: str) -> Node:
        """The node of a name.

        Raises:
            ImportFailure: there is none; the message says which names come near.
        """
        if name not in self.nodes:
            raise ImportFailure(f"{self.label}: {what}: there is no node '{name}'; {nearest(name, self.nodes)}")
        return self.nodes[name]


def read_model(source: Source) -> UffModel:
    """Load a model and check that it is one.

    Raises:
        ImportFailure: there is no such file, it is no UFF model, it is damaged, or two nodes have one name.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        data, label, where = bytes(source), "the model", "the given bytes"
    else:
        data, label, where = read_bytes(source, WHAT), str(source), str(source)
    meta = as_meta_graph(parse_bytes(meta_graph_class(), data, where, WHAT))
    if not meta.graphs:
        raise ImportFailure(f"{label}: not {WHAT}: it has no graph; convert the model again")
    nodes: dict[str, Node] = {}
    for number, node in enumerate(meta.graphs[0].nodes):
        if not node.id or not node.operation:
            raise ImportFailure(f"{label}: node number {number} has no {'operation' if node.id else 'name'}; damaged?")
        if node.id in nodes:
            raise ImportFailure(f"{label}: two nodes are called '{node.id}'; the file is damaged")
        nodes[node.id] = node
    if not nodes:
        raise ImportFailure(f"{label}: not {WHAT}: its graph has no nodes; convert the model again")
    return UffModel(nodes, meta.referenced_data, label)


def order_of(model: UffModel, roots: Sequence[str]) -> list[Node]:
    """The nodes that some nodes need and these, each behind its inputs.

    Raises:
        ImportFailure: a node takes one that is missing, or there is a cycle.
    """

    def sources(name: str) -> list[str]:
        node = model.nodes[name]
        what = f"an input of node '{node.id}' ({node.operation})"
        return [model.require(source, what).id for source in node.inputs]

    def cycle(names: Sequence[str]) -> ImportFailure:
        loop = " -> ".join(map(repr, [*names[:8], names[0]]))
        return ImportFailure(f"{model.label}: the nodes form a cycle: {loop}; the file is damaged")

    wanted = [model.require(root, "output").id for root in roots]
    return [model.nodes[name] for name in sources_first(wanted, sources, cycle)]
