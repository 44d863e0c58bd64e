"""What a handler of a UFF operator works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tensorwright.graph.graph import Value
from tensorwright.importers.composer import Composer


@dataclass(frozen=True, eq=False)
class Node(Composer):
    """A node of the file."""

    operation: str


@dataclass(frozen=True, eq=False)
class CustomNode(Composer):
    """A node with an operator of its user: ``_Name`` in the file, here without the underscore."""

    operation: str
    inputs: tuple[Value, ...]
    fields: Mapping[str, object]


Custom = Callable[[CustomNode], Value | None]
"""Makes the value of a custom node; None where there is nothing of that name."""
