"""How many nodes a model becomes when calls of its functions are replaced by the functions' bodies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from onnx import ModelProto, NodeProto

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.onnx.scope import graphs_of

DEEPEST = 64
MOST_NODES = 1 << 16
"""More than any real network has in calls."""


def require_bounded(model: ModelProto, label: str) -> None:
    """Refuse a model whose functions share a name, call themselves or make too many nodes, before a call is replaced.

    Raises:
        ImportFailure: as said.
    """
    named = Counter((function.domain, function.name, function.overload) for function in model.functions)
    for (domain, name, _), count in named.items():
        if count > 1:
            raise ImportFailure(f"{label}: {count} functions are called '{name}' in the domain '{domain}'; rename them")
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def made_by(nodes: Iterable[NodeProto], depth: int) -> int:
        """The nodes in the bodies of all that some nodes call."""
        found = 0
        for node in nodes:
            found += sum(made_by(graph.node, depth) for graph in graphs_of(node))
            if (node.domain, node.op_type) in bodies:
                found += size((node.domain, node.op_type), depth + 1)
        return found

    def size(called: tuple[str, str], depth: int) -> int:
        if depth > DEEPEST:
            raise ImportFailure(
                f"{label}: functions are nested more than {DEEPEST} deep; does '{called[1]}' call itself?"
            )
        if called not in sizes:
            sizes[called] = len(bodies[called]) + made_by(bodies[called], depth)
        return sizes[called]

    found = made_by(model.graph.node, 0)
    if found > MOST_NODES:
        raise ImportFailure(
            f"{label}: its functions make {found} nodes, no more than {MOST_NODES} are supported; is the file damaged?"
        )
