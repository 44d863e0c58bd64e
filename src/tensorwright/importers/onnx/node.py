"""What a handler of an ONNX operator works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorwright.graph.graph import Value
from tensorwright.importers.composer import Composer
from tensorwright.importers.onnx.narrow import Narrow

if TYPE_CHECKING:
    from onnx import GraphProto

Term = Value | Narrow | tuple["Term", ...] | None
"""What a name of the model stands for: a tensor (one of a small type for operators that know these), a sequence of
tensors, or an absent optional."""


@dataclass(frozen=True, eq=False)
class Node(Composer):
    """A node of the model: what it is called, its opset version, and which of its outputs anybody uses."""

    operator: str
    domain: str
    version: int
    wanted: tuple[bool, ...]
    open_ended: bool
    """Whether results may be `Rows`."""
    translate: Callable[[GraphProto, Mapping[str, Term]], tuple[Term, ...]]
    """Translates a subgraph (a branch or body) whose names may refer to the node's surroundings; gives its outputs."""

    def wants(self, output: int) -> bool:
        """Whether anything uses the output of this number."""
        return output < len(self.wanted) and self.wanted[output]
