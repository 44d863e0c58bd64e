"""Transformed weights in the order in which warps read them."""

from __future__ import annotations

import numpy as np

from tensorwright.codegen.winograd import transformed_taps, weight_transform
from tensorwright.kernels.cuda.problem import GROUP, Problem
from tensorwright.kernels.cuda.winograd.problem import EIGHT, PLACES, POINTS, TAPS
from tensorwright.kernels.cuda.winograd.tiling import COLUMNS
from tensorwright.kernels.tactic import Array, Packing

THREAD = 4
"""Weights of a thread in a fragment."""
FRAGMENT = COLUMNS * EIGHT


def pack_points(problem: Problem) -> Packing:
    """``[O, C, 3, 3]`` as ``[columns / 16, channels / 8, point, g, q, channel of two, half]``, padded with zeros.

    The thread of numbers g and q has columns g and g + 8 of each fragment, and channels 2 q and 2 q + 1.
    """
    columns, channels = problem.groups * GROUP, problem.channels

    def pack(array: Array) -> Array:
        once = weight_transform(POINTS, TAPS, TAPS)
        points = np.zeros((PLACES, columns, channels), np.float32)
        points[:, : problem.columns] = transformed_taps(array, once, once)
        split = points.reshape(PLACES, columns // COLUMNS, 2, EIGHT, channels // EIGHT, EIGHT // 2, 2)
        return np.ascontiguousarray(split.transpose(1, 4, 0, 3, 5, 6, 2)).reshape(-1)

    return Packing("points of fragments", pack)
