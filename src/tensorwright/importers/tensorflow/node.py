"""What a handler of a TensorFlow operator works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tensorwright.graph.graph import Value
from tensorwright.importers.composer import Composer

Term = Value | None
"""A tensor, or None in the branch of a condition that is not taken."""


@dataclass(frozen=True, eq=False)
class Made:
    """Where a tensor comes from: a node with the tensors that it takes and where they come from."""

    operator: str
    inputs: tuple[Term, ...]
    attributes: Mapping[str, object]
    producers: tuple[Made | None, ...]


@dataclass(frozen=True, eq=False)
class Node(Composer):
    """A node of the graph."""

    operator: str
    producers: tuple[Made | None, ...]
    """Where each input comes from; None for a network input."""
