"""Sequences and optionals: they exist only while the model is read, as tuples of values."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.arrays import expect_parts
from tensorwright.importers.compose import joined, stacked
from tensorwright.importers.onnx.node import Node, Term
from tensorwright.importers.onnx.shape import split_along
from tensorwright.tensor.dtype import BOOL, INT64


def SequenceConstruct(node: Node, *values: Term) -> Term:
    return tuple(values)


def SequenceEmpty(node: Node, *, dtype: int = 1) -> Term:
    return ()


def SequenceLength(node: Node, sequence: Term) -> Value:
    return node.constant(len(_items(node, sequence)), INT64)


def SequenceAt(node: Node, sequence: Term, position: Value) -> Term:
    items = _items(node, sequence)
    return items[_place(node, position, len(items), len(items) - 1)]


def SequenceErase(node: Node, sequence: Term, position: Value | None = None) -> Term:
    items = _items(node, sequence)
    place = len(items) - 1 if position is None else _place(node, position, len(items), len(items) - 1)
    return items[:place] + items[place + 1 :]


def SequenceInsert(node: Node, sequence: Term, tensor: Term, position: Value | None = None) -> Term:
    items = _items(node, sequence)
    place = len(items) if position is None else _place(node, position, len(items), len(items))
    return (*items[:place], tensor, *items[place:])


def SplitToSequence(node: Node, x: Value, split: Value | None = None, *, axis: int = 0, keepdims: int = 1) -> Term:
    own = node.axis(axis, x.type.rank)
    (extent,) = node.static([x.type.shape[own]], "the extent of the axis that is split")
    given = None if split is None else node.integers(split, "split")
    size = 1 if given is None else given[0] if split is not None and split.type.rank == 0 else extent
    if size < 1 < extent:
        node.fail(f"an axis of {extent} elements in parts of {size}; expected at least 1")
    expect_parts(node, -(-extent // max(1, size)))
    if given is None:
        parts = split_along(node, x, own, [1] * extent)
        shape = x.type.shape[:own] + x.type.shape[own + 1 :]
        return tuple(parts if keepdims else [node.reshape(part, shape) for part in parts])
    sizes = list(given)
    if split is not None and split.type.rank == 0:
        sizes = [size] * (extent // size) + ([extent % size] if extent % size else [])
    return tuple(split_along(node, x, own, sizes))


def ConcatFromSequence(node: Node, sequence: Term, *, axis: int, new_axis: int = 0) -> Value:
    values = [value for value in _items(node, sequence) if isinstance(value, Value)]
    if not values:
        node.fail("the sequence is empty")
    if new_axis:
        return stacked(node, values, node.axis(axis, values[0].type.rank + 1))
    return joined(node, values, node.axis(axis, values[0].type.rank))


def Optional(node: Node, value: Term = None) -> Term:
    return value


def OptionalGetElement(node: Node, value: Term) -> Term:
    return value


def OptionalHasElement(node: Node, value: Term = None) -> Value:
    return node.constant(value is not None, BOOL)


def _items(node: Node, term: Term) -> tuple[Term, ...]:
    if not isinstance(term, tuple):
        node.fail(f"expected a sequence, found {term}")
    return term


def _place(node: Node, position: Value, length: int, last: int) -> int:
    """A position counted from the front; negative ones count from the end of a sequence, also where one inserts."""
    place = node.integers(position, "the position")[0]
    if not -length <= place <= last:
        node.fail(f"position {place} is outside of a sequence of {length}: expected {-length} to {last}")
    return place + length if place < 0 else place
