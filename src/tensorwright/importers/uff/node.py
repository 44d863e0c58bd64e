"""What a handler of a UFF operator works with."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.importers.composer import Composer
from tensorwright.importers.custom import Custom, CustomNode

__all__ = ["Custom", "CustomNode", "Node"]


@dataclass(frozen=True, eq=False)
class Node(Composer):
    """A node of the file."""

    operation: str
