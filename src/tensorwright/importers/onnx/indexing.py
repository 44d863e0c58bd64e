"""Operators that pick elements by indices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tensorwright.graph.graph import Value
from tensorwright.importers.compose import iota
from tensorwright.importers.onnx.node import Node
from tensorwright.ops import indexing as ops
from tensorwright.ops.cache import CacheUpdate
from tensorwright.tensor.dim import bounds
from tensorwright.tensor.dtype import INT64

FARTHEST = 1 << 48
"""Beyond all diagonals of all matrices."""


def Gather(node: Node, x: Value, indices: Value, *, axis: int = 0) -> Value:
    return node.apply(ops.Gather(node.axis(axis, x.type.rank)), x, indices)


def GatherElements(node: Node, x: Value, indices: Value, *, axis: int = 0) -> Value:
    return node.apply(ops.GatherElements(node.axis(axis, x.type.rank)), x, indices)


def GatherND(node: Node, x: Value, indices: Value, *, batch_dims: int = 0) -> Value:
    return node.apply(ops.GatherNd(batch_dims), x, indices)


def OneHot(node: Node, indices: Value, depth: Value, values: Value, *, axis: int = -1) -> Value:
    count = int(node.number(depth, "depth"))
    own = node.axis(axis, indices.type.rank + 1)
    return node.apply(ops.OneHot(count, own), node.cast(indices, INT64), values)


def Trilu(node: Node, x: Value, k: Value | None = None, *, upper: int = 1) -> Value:
    """The triangle on and above (or below) the k-th diagonal; elsewhere 0."""
    diagonal = 0 if k is None else max(-FARTHEST, min(int(node.number(k, "k")), FARTHEST))
    return node.apply(ops.Trilu(bool(upper), diagonal), x)


def ScatterND(node: Node, x: Value, indices: Value, updates: Value, *, reduction: str = "none") -> Value:
    return node.apply(ops.ScatterNd(_reduction(node, reduction)), x, indices, updates)


def ScatterElements(
    node: Node, x: Value, indices: Value, updates: Value, *, axis: int = 0, reduction: str = "none"
) -> Value:
    own = node.axis(axis, x.type.rank)
    return node.apply(ops.ScatterElements(own, _reduction(node, reduction)), x, indices, updates)


def Scatter(node: Node, x: Value, indices: Value, updates: Value, *, axis: int = 0) -> Value:
    return ScatterElements(node, x, indices, updates, axis=axis)


def _reduction(node: Node, reduction: str) -> ops.ScatterReduction:
    if reduction not in REDUCTIONS:
        node.fail(f"reduction must be one of {', '.join(REDUCTIONS)}, found {reduction}")
    return REDUCTIONS[reduction]


REDUCTIONS: Mapping[str, ops.ScatterReduction] = {
    "none": "none",
    "add": "add",
    "mul": "mul",
    "max": "max",
    "min": "min",
}


def Compress(node: Node, x: Value, condition: Value, *, axis: int | None = None) -> Value:
    """A condition that is longer than the axis has no meaning beyond it."""
    picked = np.flatnonzero(node.data(condition, "the condition of Compress"))
    if axis is None:
        x = node.reshape(x, (x.type.elements,))
    own = node.axis(axis or 0, x.type.rank)
    extent = x.type.shape[own]
    if isinstance(extent, int):
        picked = picked[picked < extent]
    elif picked.size and picked[-1] >= bounds(extent)[0]:
        node.unsupported(f"a condition of {picked[-1] + 1} elements for an axis of extent {extent}")
    return node.apply(ops.Gather(own), x, node.constant(picked, INT64))


def NonZero(node: Node, x: Value) -> Value:
    return node.constant(np.array(np.nonzero(np.atleast_1d(node.data(x, "the input of NonZero")))), INT64)


def Unique(node: Node, x: Value, *, axis: int | None = None, sorted: int = 1) -> list[Value]:
    array = node.data(x, "the input of Unique")
    own = None if axis is None else node.axis(axis, x.type.rank)
    unique, first, inverse, counts = np.unique(array, True, True, True, axis=own)
    inverse = inverse.reshape(-1)
    if not sorted:
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        unique = np.take(unique, order, axis=0 if own is None else own)
        first, counts, inverse = first[order], counts[order], place[inverse]
    return [node.constant(unique), *(node.constant(part, INT64) for part in (first, inverse, counts))]


def ReverseSequence(node: Node, x: Value, lengths: Value, *, batch_axis: int = 1, time_axis: int = 0) -> Value:
    """The first `lengths[b]` time steps of each batch element in reverse, the others as they are."""
    rank, time, batch = x.type.rank, time_axis % x.type.rank, batch_axis % x.type.rank
    step = iota(node, x.type.shape[time], time, rank)
    shape = [lengths.type.shape[0] if axis == batch else 1 for axis in range(rank)]
    length = node.reshape(node.cast(lengths, INT64), shape)
    mirrored = node.subtract(node.subtract(length, node.scalar(1, length)), step)
    source = node.select(node.binary("less", step, length), mirrored, step)
    return node.apply(ops.GatherElements(time), x, node.expand(source, x.type.shape))


def TensorScatter(
    node: Node, cache: Value, update: Value, write_indices: Value | None = None, *, axis: int = -2, mode: str = "linear"
) -> Value:
    """Writes `update` along an axis from a position of each batch element on; circular writes wrap around."""
    own = node.axis(axis, cache.type.rank)
    if update.type.shape[own] == 0:
        return cache
    indices = [] if write_indices is None else [write_indices]
    return node.apply(CacheUpdate(own, 0, circular=mode == "circular"), cache, update, *indices)
