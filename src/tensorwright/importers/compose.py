"""Tensors that several operators are composed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tensorwright.graph.graph import Value
from tensorwright.importers.composer import Composer
from tensorwright.ops.reduction import CumulativeSum
from tensorwright.ops.shape import Concatenation, Slice
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import FLOAT32, INT32, INT64, DType

LONGEST = 1 << 24
"""How many numbers are listed at most; a damaged model may claim any number."""


def counting(node: Composer, extent: Dim) -> Value:
    """The vector 0, 1, ..., extent - 1 of int64; `extent` may be symbolic."""
    if isinstance(extent, int):
        if extent > LONGEST:
            node.unsupported(f"counting to {extent}, beyond {LONGEST}")
        return node.constant(np.arange(extent), INT64)
    ones = node.expand(node.constant(np.ones(1), INT64), (extent,))
    return node.apply(CumulativeSum(0, True, False), ones)


def iota(node: Composer, extent: Dim, axis: int, rank: int) -> Value:
    """0, 1, 2, ... along an axis of a tensor whose other axes have extent 1."""
    return node.reshape(counting(node, extent), [1] * axis + [extent] + [1] * (rank - axis - 1))


def part(node: Composer, x: Value, ranges: Mapping[int, tuple[Dim, Dim]]) -> Value:
    """A block of a tensor: from which index and how many elements, by axis; all of every other axis."""
    starts = tuple(ranges[axis][0] if axis in ranges else 0 for axis in range(x.type.rank))
    extents = tuple(ranges[axis][1] if axis in ranges else x.type.shape[axis] for axis in range(x.type.rank))
    return x if extents == x.type.shape else node.apply(Slice(starts, extents, (1,) * x.type.rank), x)


def element(node: Composer, x: Value, axis: int, index: Dim) -> Value:
    """One position of an axis, without that axis."""
    picked = part(node, x, {axis: (index, 1)})
    return node.reshape(picked, x.type.shape[:axis] + x.type.shape[axis + 1 :])


def reversed_along(node: Composer, x: Value, axis: int) -> Value:
    """The tensor with the order along an axis turned round."""
    last = x.type.shape[axis] - 1
    starts = tuple(last if a == axis else 0 for a in range(x.type.rank))
    return node.apply(Slice(starts, x.type.shape, tuple(-1 if a == axis else 1 for a in range(x.type.rank))), x)


def exact_sum_type(dtype: DType) -> DType:
    """The type in which sums of products of small integers are exact."""
    return INT32 if dtype.size < 4 else INT64


def computing_type(dtype: DType) -> DType:
    """The type to compute statistics in: at least float32."""
    return dtype if dtype.is_float and dtype.size >= 4 else FLOAT32


def stacked(node: Composer, values: Sequence[Value], axis: int) -> Value:
    """Tensors of one shape, one beside the other along a new axis."""
    shape = values[0].type.shape
    wide = [node.reshape(value, (*shape[:axis], 1, *shape[axis:])) for value in values]
    return joined(node, wide, axis)


def joined(node: Composer, values: Sequence[Value], axis: int) -> Value:
    """Tensors one after the other along an axis."""
    return values[0] if len(values) == 1 else node.apply(Concatenation(axis), *values)
