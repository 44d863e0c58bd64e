"""What is exported, as the benchmark knows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Made = tuple[Any, tuple[Any, ...]]
"""A module in evaluation mode, and its arguments."""


@dataclass(frozen=True)
class Network:
    """make: for a size of the batch, the module and its arguments. names: of the arguments.

    open: names of the open axes by argument; other extents are tried by adding `steps` of an axis' name to them.
    finds: whether it gives boxes, scores and labels, of which the numbers follow from the image.
    """

    make: Callable[[int], Made]
    names: tuple[str, ...]
    open: Mapping[str, Mapping[int, str]]
    steps: Mapping[str, int] = field(default_factory=lambda: {"batch": 1, "height": 32, "width": 64, "sequence": -3})
    finds: bool = False
