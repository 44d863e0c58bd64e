"""Choosing boxes among many that overlap."""

from __future__ import annotations

from math import inf

from tensorwright.graph.graph import Value
from tensorwright.importers.compose import iota, part, stacked
from tensorwright.importers.contents import contents_of
from tensorwright.importers.onnx.node import Node
from tensorwright.importers.onnx.scope import Rows
from tensorwright.ops.detection import BoxSuppression
from tensorwright.tensor.dim import product, upper_bound


def NonMaxSuppression(
    node: Node,
    boxes: Value,
    scores: Value,
    most: Value | None = None,
    overlap: Value | None = None,
    lowest: Value | None = None,
    *,
    center_point_box: int = 0,
) -> Rows:
    """The places of the kept boxes as rows of batch, class and box; how many there are follows from data."""
    limit = 0 if most is None else _known(most)
    threshold = 0.0 if overlap is None else node.number(overlap, "iou_threshold")
    least = -inf if lowest is None else node.number(lowest, "score_threshold")
    if not node.open_ended:
        node.unsupported("the size of its result follows from data")
    batch, classes, count = scores.type.shape
    places = upper_bound(count)
    corners = node.reshape(_corners(node, boxes, bool(center_point_box)), (batch, 1, count, 4))
    size = (batch, classes, max(1, places if limit is None else min(limit, places)))
    found = node.apply(BoxSuppression(size[2], threshold, least), scores, corners)
    kept = node.binary("less_equal", node.scalar(0, found), found)
    if limit is None and most is not None:
        ranks = node.expand(iota(node, size[2], 2, 3), size)
        kept = node.binary("and", kept, node.binary("less", ranks, node.reshape(most, (1, 1, 1))))
    elif limit is not None and limit < 1:
        kept = node.binary("and", kept, node.constant(False))
    indices = [node.expand(iota(node, size[axis], axis, 3), size) for axis in range(2)]
    table = node.reshape(stacked(node, [*indices, found], 3), (product(size), 3))
    return Rows(table, node.reshape(kept, (product(size),)))


def _known(most: Value) -> int | None:
    """The largest number of boxes, unless it follows from data or open dimensions."""
    contents = contents_of(most)
    limit = None if contents is None else contents.reshape(-1)[0]
    return limit if isinstance(limit, int) else None


def _corners(node: Node, boxes: Value, centred: bool) -> Value:
    """Boxes ``[N, P, 4]`` as least and greatest corner; given are two opposite ones, or centre and size."""
    first, second = part(node, boxes, {2: (0, 2)}), part(node, boxes, {2: (2, 2)})
    if centred:
        half = node.multiply(second, node.scalar(0.5, second))
        first, second = node.subtract(first, half), node.add(first, half)
    sides = [node.binary(function, first, second) for function in ("min", "max")]
    shape = (*boxes.type.shape[:2], 4)
    return node.reshape(stacked(node, sides, 2), shape)
