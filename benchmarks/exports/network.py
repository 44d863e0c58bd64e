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


def settle(module: Any, images: Any) -> None:
    """Give batch normalisations the statistics of some images: with random weights, maps vanish or outgrow all others.

    Where they vanish, outputs are the last layer's bias, whatever the image.
    """
    import torch

    norms = [inner for inner in module.modules() if isinstance(inner, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        module.train()
        with torch.no_grad():
            module(images)
    module.eval()
