"""Operators that pick or place elements by indices."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.arrays import packed
from tensorwright.importers.tensorflow.node import Node
from tensorwright.ops import indexing as ops
from tensorwright.tensor.dtype import INT64


def Gather(node: Node, x: Value, indices: Value, *, validate_indices: bool = True) -> Value:
    return node.apply(ops.Gather(0), x, indices)


def ResourceGather(
    node: Node, x: Value, indices: Value, *, batch_dims: int = 0, validate_indices: bool = True
) -> Value:
    return _gather(node, x, indices, 0, batch_dims)


def GatherV2(node: Node, x: Value, indices: Value, axis: Value, *, batch_dims: int = 0) -> Value:
    own = node.axis(int(node.number(axis, "the axis")), x.type.rank)
    return _gather(node, x, indices, own, batch_dims)


def _gather(node: Node, x: Value, indices: Value, axis: int, batch_dims: int) -> Value:
    if batch_dims < 0:
        batch_dims += indices.type.rank
    if batch_dims == 0:
        return node.apply(ops.Gather(axis), x, indices)
    if axis != batch_dims:
        node.unsupported(f"batch_dims {batch_dims} with axis {axis}: they must be equal")
    deeper = node.reshape(indices, (*indices.type.shape, 1))
    return node.apply(ops.GatherNd(batch_dims), x, deeper)


def GatherNd(node: Node, x: Value, indices: Value) -> Value:
    return node.apply(ops.GatherNd(0), x, indices)


def OneHot(node: Node, indices: Value, depth: Value, on: Value, off: Value, *, axis: int = -1) -> Value:
    """An index outside of 0 to depth - 1, negative ones too, gives `off` throughout."""
    count = int(node.number(depth, "depth"))
    own = node.axis(axis, indices.type.rank + 1)
    wide = node.cast(indices, INT64)
    beyond = node.select(node.binary("less", wide, node.scalar(0, wide)), node.scalar(count, wide), wide)
    return node.apply(ops.OneHot(count, own), beyond, packed(node, (off, on), 0))


def ScatterNd(node: Node, indices: Value, updates: Value, shape: Value) -> Value:
    """Updates of one element are added."""
    zeros = node.expand(node.scalar(0, updates), node.dims(shape, "the shape"))
    return node.apply(ops.ScatterNd("add"), zeros, indices, updates)


def TensorScatterUpdate(node: Node, x: Value, indices: Value, updates: Value) -> Value:
    return node.apply(ops.ScatterNd("none"), x, indices, updates)


def TensorScatterAdd(node: Node, x: Value, indices: Value, updates: Value) -> Value:
    return node.apply(ops.ScatterNd("add"), x, indices, updates)


def MatrixBandPart(node: Node, x: Value, lower: Value, upper: Value) -> Value:
    """So many diagonals below and above the main one, all of them if negative; elsewhere 0."""
    below, above = int(node.number(lower, "num_lower")), int(node.number(upper, "num_upper"))
    x = x if below < 0 else node.apply(ops.Trilu(True, -below), x)
    return x if above < 0 else node.apply(ops.Trilu(False, above), x)
