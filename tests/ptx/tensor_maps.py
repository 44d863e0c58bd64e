"""What the copy engine brings of a tensor, and where it leaves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ptx.memory import Addresses, Stray
from tensorwright.devices.cuda.tensor_map import SWIZZLED_BYTES, PlacedMap

PIECE_BYTES = 16
Bytes = npt.NDArray[np.uint8]


def box_of(placed: PlacedMap, first: Sequence[int], load: Callable[[Addresses], Bytes]) -> Bytes:
    """The pieces of a box from an index on, row after row; zeros outside of the tensor. load: reads memory."""
    size = placed.element_bytes
    if placed.address % PIECE_BYTES or any(stride % PIECE_BYTES for stride in placed.strides):
        raise Stray("a tensor map whose rows do not begin at multiples of 16 bytes")
    inner = first[0] + np.arange(0, placed.box[0], PIECE_BYTES // size)
    at, inside = placed.address + inner * size, (inner >= 0) & (inner < placed.extents[0])
    ends = inner + PIECE_BYTES // size > placed.extents[0]
    if (inside & ends).any():
        raise NotImplementedError("a box that ends within a piece")
    for extent, stride, start, count in zip(placed.extents[1:], placed.strides, first[1:], placed.box[1:], strict=True):
        index = start + np.arange(count)
        at = index[:, None] * stride + at.reshape(1, -1)
        inside = ((index >= 0) & (index < extent))[:, None] & inside.reshape(1, -1)
        at, inside = at.reshape(-1), inside.reshape(-1)
    content = np.zeros((len(at), PIECE_BYTES), np.uint8)
    content[inside] = load(at[inside])
    return content


def box_places(to: int, pieces: int) -> Addresses:
    """Where the pieces of a box lie in shared memory: rows of 128 bytes, swizzled by their address."""
    if to % (8 * SWIZZLED_BYTES):
        raise NotImplementedError("a box that does not begin at a multiple of 1024 bytes")
    at = to + np.arange(pieces) * PIECE_BYTES
    return at ^ (at >> 7 & 7) << 4
