"""NumPy arrays into layouts and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tensorwright.tensor.layout import Layout

Array = npt.NDArray[np.generic]
Places = tuple[npt.NDArray[np.int64], ...]
"""Indices of some elements: for each axis, those of all of them."""


def to_layout(array: Array, layout: Layout) -> Array:
    """The elements of a row-major array in memory order of a layout; padding is filled with zeros."""
    return np.ascontiguousarray(in_order(array, layout))


def in_order(array: Array, layout: Layout) -> Array:
    """The same, not copied where it need not be: the axes are in memory order, the elements where they were."""
    if layout.is_plain:
        return array
    channels, block = array.shape[1], layout.block
    padding = [(0, 0)] * array.ndim
    padding[1] = (0, -channels % block)
    padded = np.pad(array, padding) if channels % block else array
    split = padded.reshape(array.shape[0], -(-channels // block), block, *array.shape[2:])
    return np.moveaxis(split, 2, -1)


def from_layout(memory: Array, layout: Layout, shape: Sequence[int], places: Places | None = None) -> Array:
    """The row-major array of a logical shape from elements in memory order of a layout; or its elements at some places,
    of which nothing else is copied.
    """
    if places is not None:
        return _elements_at(memory, layout, shape, places)
    if layout.is_plain:
        return memory.reshape(tuple(shape))
    blocks = -(-shape[1] // layout.block)
    split = memory.reshape(shape[0], blocks, *shape[2:], layout.block)
    joined = np.moveaxis(split, -1, 2).reshape(shape[0], blocks * layout.block, *shape[2:])
    return np.ascontiguousarray(joined[:, : shape[1]])


def _elements_at(memory: Array, layout: Layout, shape: Sequence[int], places: Places) -> Array:
    if layout.is_plain:
        return np.asarray(memory.reshape(tuple(shape))[places]).reshape(-1)
    channels, blocks = places[1], -(-shape[1] // layout.block)
    split = memory.reshape(shape[0], blocks, *shape[2:], layout.block)
    return np.asarray(split[places[0], channels // layout.block, *places[2:], channels % layout.block])
