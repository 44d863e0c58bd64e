"""Decides what random numbers cannot change: a dropout that keeps everything multiplies by one.

``floor(keep + uniform)`` is 1 where keep is 1, since ``RandomUniform`` gives numbers from 0 to below 1; so is
``uniform >= 1 - keep``, as later versions write it. Such nodes become constants of the random tensor's shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil, floor

import numpy as np
import numpy.typing as npt

from tensorwright.importers.failures import Unsupported
from tensorwright.importers.tensorflow.constants import constant_node
from tensorwright.importers.tensorflow.messages import NodeDef, new_node
from tensorwright.importers.tensorflow.read import FrozenGraph, data_inputs
from tensorwright.importers.tensorflow.tensors import weights_from

UNIFORM = "RandomUniform"
DEEPEST = 16
"""Operators between the random numbers and what is decided."""


@dataclass(frozen=True)
class Range:
    """The numbers that all elements of a tensor lie between.

    is_open: whether `high` itself is not reached.
    shape: what says the tensor's shape, where it is random; a number has none.
    """

    low: float
    high: float
    is_open: bool = False
    shape: str | None = None


def decided(graph: FrozenGraph) -> FrozenGraph:
    """The graph with constants in place of what random numbers cannot change."""
    if not any(node.op == UNIFORM for node in graph.nodes.values()):
        return graph
    nodes = dict(graph.nodes)
    for node in graph.nodes.values():
        value, shape = _decision(graph, node)
        if value is None or shape is None:
            continue
        name = f"{node.name}/decided"
        while name in nodes:
            name += "_"
        nodes[name] = constant_node(name, value)
        nodes[node.name] = _fill(node.name, shape, name)
    return replace(graph, nodes=nodes)


def _fill(name: str, shape: str, value: str) -> NodeDef:
    node = new_node()
    node.name, node.op = name, "Fill"
    node.input.extend([shape, value])
    return node


def _decision(graph: FrozenGraph, node: NodeDef) -> tuple[npt.NDArray[np.generic] | None, str | None]:
    """The one value that all elements of a node have, and what says the node's shape."""
    if node.op not in ("Floor", *COMPARISONS):
        return None, None
    ranges = [_range(graph, source, DEEPEST) for source in _sources(node)]
    known = [one for one in ranges if one is not None]
    shapes = {one.shape for one in known} - {None}
    if len(known) < len(ranges) or not known or len(shapes) != 1:
        return None, None
    value = _floor(known[0]) if node.op == "Floor" else COMPARISONS[node.op](*known)
    return (None if value is None else np.asarray(value)), next(iter(shapes))


def _floor(x: Range) -> np.float32 | None:
    highest = ceil(x.high) - 1 if x.is_open else floor(x.high)
    return np.float32(highest) if floor(x.low) == highest else None


def _at_least(x: Range, y: Range) -> bool | None:
    if x.low >= y.high:
        return True
    return False if x.high < y.low or (x.high == y.low and x.is_open) else None


def _below(x: Range, y: Range) -> bool | None:
    known = _at_least(x, y)
    return None if known is None else not known


COMPARISONS: Mapping[str, Callable[[Range, Range], bool | None]] = {
    "GreaterEqual": _at_least,
    "Less": _below,
    "LessEqual": lambda x, y: _at_least(y, x),
    "Greater": lambda x, y: _below(y, x),
}


def _sources(node: NodeDef) -> list[str]:
    return [source for source in node.input if not source.startswith("^")]


def _range(graph: FrozenGraph, source: str, depth: int) -> Range | None:
    node = graph.nodes.get(source.removesuffix(":0"))
    if node is None or depth == 0:
        return None
    if node.op == UNIFORM:
        return Range(0.0, 1.0, True, _sources(node)[0]) if data_inputs(node) else None
    if node.op == "Const":
        return _number(node)
    below = [_range(graph, one, depth - 1) for one in _sources(node)]
    known = [one for one in below if one is not None]
    if len(known) < len(below):
        return None
    if node.op == "Identity" and len(known) == 1:
        return known[0]
    return ARITHMETIC[node.op](*known) if node.op in ARITHMETIC and len(known) == 2 else None


def _number(node: NodeDef) -> Range | None:
    try:
        array = weights_from(node.attr["value"].tensor, f"node '{node.name}'").array
    except Unsupported:
        return None
    return Range(float(array.reshape(-1)[0]), float(array.reshape(-1)[0])) if array.size == 1 else None


def _add(x: Range, y: Range) -> Range | None:
    if x.shape is not None and y.shape is not None:
        return None
    return Range(x.low + y.low, x.high + y.high, x.is_open or y.is_open, x.shape or y.shape)


def _subtract(x: Range, y: Range) -> Range | None:
    return None if y.shape is not None else Range(x.low - y.high, x.high - y.low, x.is_open, x.shape)


def _multiply(x: Range, y: Range) -> Range | None:
    if y.shape is not None:
        x, y = y, x
    if y.shape is not None or y.low < 0 or y.low != y.high:
        return None
    return Range(x.low * y.low, x.high * y.low, x.is_open and y.low > 0, x.shape)


ARITHMETIC: Mapping[str, Callable[[Range, Range], Range | None]] = {
    "Add": _add,
    "AddV2": _add,
    "Sub": _subtract,
    "Mul": _multiply,
}
