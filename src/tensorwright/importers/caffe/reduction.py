"""Layers that reduce axes."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tensorwright.graph.graph import Value
from tensorwright.importers.caffe.layer import Layer
from tensorwright.importers.caffe.registry import reads
from tensorwright.importers.caffe.schema import Unsigned
from tensorwright.importers.compose import joined, reversed_along
from tensorwright.ops.indexing import GatherElements, TopKIndices
from tensorwright.ops.reduction import ArgReduction, Function
from tensorwright.tensor.dim import product
from tensorwright.tensor.dtype import FLOAT32, INT64

_FUNCTIONS: dict[str, Function] = {"SUM": "add", "ASUM": "l1", "SUMSQ": "sum_square", "MEAN": "mean"}


@reads("reduction_param")
def Reduction(
    layer: Layer,
    x: Value,
    *,
    operation: Literal["SUM", "ASUM", "SUMSQ", "MEAN"] = "SUM",
    axis: int = 0,
    coeff: float = 1.0,
) -> Value:
    """Sum, sum of absolute values, sum of squares or mean, times `coeff`, over all axes from `axis` on."""
    axes = range(layer.axis(axis, x.type.rank), x.type.rank)
    result = layer.reduce(_FUNCTIONS[operation], x, axes, keep_dims=False)
    return result if coeff == 1 else layer.multiply(result, layer.scalar(coeff, x))


@reads("argmax_param")
def ArgMax(layer: Layer, x: Value, *, out_max_val: bool = False, top_k: Unsigned = 1, axis: int | None = None) -> Value:
    """The indices, as floats, of the `top_k` largest elements along an axis, or the elements with `out_max_val`.

    Without an axis those of each image, its elements in a row: N×1×top_k, or N×2×top_k with `out_max_val`, the indices
    before the elements. Of equal elements the one with the higher index comes first.
    """
    if axis is not None:
        along = layer.axis(axis, x.type.rank)
        indices = _largest(layer, x, along, top_k)
        return layer.apply(GatherElements(along), x, indices) if out_max_val else layer.cast(indices, FLOAT32)
    if x.type.rank < 1:
        layer.fail(f"expected a bottom of at least 1 axis, found {x.type}")
    batch, inner = x.type.shape[0], product(x.type.shape[1:])
    rows = layer.reshape(x, (batch, 1, inner))
    indices = _largest(layer, rows, 2, top_k)
    found = layer.cast(indices, FLOAT32)
    if out_max_val:
        found = joined(layer, [found, layer.apply(GatherElements(2), rows, indices)], 1)
    return layer.reshape(found, (*found.type.shape, *[1] * (x.type.rank - 3)))


def _largest(layer: Layer, x: Value, axis: int, count: int) -> Value:
    extent = x.type.shape[axis]
    if count < 1 or (isinstance(extent, int) and count > extent):
        layer.fail(f"top_k: expected 1 to {extent}, found {count}")
    if count == 1:
        return layer.apply(ArgReduction("max", axis, True, True), x)
    (last,) = layer.static((extent - 1,), "the extent of the axis")
    backwards = layer.apply(TopKIndices(count, axis), reversed_along(layer, x, axis))
    return layer.subtract(layer.constant(np.asarray(last), INT64), backwards)
