"""Windows that slide over the spatial axes (2 onwards) of a tensor: extents, indices, guards and NumPy views."""

from __future__ import annotations

from math import prod

import numpy as np

from tensorwright.graph.expression import Scalar, compare, inside
from tensorwright.graph.op import Array, Op, expect
from tensorwright.tensor.dim import Dim, ceil_divide, floor_divide, minimum

Ints = tuple[int, ...]

MOST_PADDED = 1 << 24
"""Elements of an image with its padding, from which on only what lies under windows is made."""


def expect_per_axis(op: Op, spatial: int, low: int, **attributes: Ints) -> None:
    """Ask that attributes have one value, at least `low`, for every spatial axis."""
    for name, values in attributes.items():
        expect(
            len(values) == spatial and all(value >= low for value in values),
            op,
            f"{name}: expected {spatial} values of at least {low}, one per spatial axis, found {values}",
        )


def span(window: Dim, dilation: int) -> Dim:
    """Elements from the first to the last that a window touches."""
    return (window - 1) * dilation + 1


def window_count(
    extent: Dim, window: Dim, stride: int, before: int, after: int, dilation: int, ceil_mode: bool = False
) -> Dim:
    """How many positions a window has along an axis.

    With `ceil_mode` a last window may reach over the end, if it starts inside the input or the padding before it.
    """
    room = extent + (before + after) - span(window, dilation)
    if not ceil_mode:
        return floor_divide(room, stride) + 1
    return minimum(ceil_divide(room, stride) + 1, ceil_divide(extent + before, stride))


def window_guard(index: Dim, extent: Dim, before: int, beyond: bool) -> list[Scalar]:
    """The conditions, not already certain, under which an element of a window is not padding.

    Args:
        index: position of the element in the input.
        extent: extent of the input axis.
        before: padding before the input.
        beyond: whether windows may reach beyond the end of the input.
    """
    if beyond:
        return inside(index, extent)
    low = index if isinstance(index, int) else index.bounds[0]
    return [compare("less_equal", 0, index)] if before > 0 and low < 0 else []


def sliding_windows(
    x: Array, window: Ints, strides: Ints, before: Ints, after: Ints, dilations: Ints, fill: float
) -> Array:
    """A view of the padded input of shape ``[*batch, *positions, *window]``, for the last axes of x."""
    spatial = len(window)
    lead = x.ndim - spatial
    if prod(n + b + a for n, b, a in zip(x.shape[lead:], before, after, strict=True)) > MOST_PADDED:
        return _taken_windows(x, window, strides, before, after, dilations, fill)
    padded = np.pad(x, [(0, 0)] * lead + list(zip(before, after, strict=True)), constant_values=fill)
    spans = tuple((k - 1) * d + 1 for k, d in zip(window, dilations, strict=True))
    places = [max(0, n - s + 1) for n, s in zip(padded.shape[lead:], spans, strict=True)]
    if 0 in places:
        counts = (-(-n // stride) for n, stride in zip(places, strides, strict=True))
        return np.empty((*padded.shape[:lead], *counts, *window), x.dtype)
    view = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=tuple(range(lead, x.ndim)))
    every = (slice(None),) * lead + tuple(slice(None, None, s) for s in strides)
    return np.asarray(view[(*every, *(slice(None, None, d) for d in dilations))])


def _taken_windows(
    x: Array, window: Ints, strides: Ints, before: Ints, after: Ints, dilations: Ints, fill: float
) -> Array:
    """The same without the padded input, which may be far larger than all windows together."""
    spatial = len(window)
    lead = x.ndim - spatial
    for axis in range(spatial):
        at, extent = lead + axis, x.shape[lead + axis]
        if not extent:
            x = np.empty((*x.shape[:at], 1, *x.shape[at + 1 :]), x.dtype)
        room = extent + before[axis] + after[axis] - (window[axis] - 1) * dilations[axis] - 1
        starts = [number * strides[axis] - before[axis] for number in range(max(0, room // strides[axis] + 1))]
        places = [[start + tap * dilations[axis] for tap in range(window[axis])] for start in starts]
        inside = np.array([[0 <= p < extent for p in line] for line in places], bool).reshape(-1, window[axis])
        clipped = np.array([[min(max(p, 0), max(extent - 1, 0)) for p in line] for line in places], np.int64)
        taken = np.take(x, clipped.reshape(inside.shape), axis=at)
        shape = (1,) * at + inside.shape + (1,) * (x.ndim - at - 1)
        x = np.moveaxis(np.where(inside.reshape(shape), taken, np.asarray(fill, x.dtype)), at + 1, -1)
    return x
