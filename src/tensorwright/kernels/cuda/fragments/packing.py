"""Weights in the order in which warps read them."""

from __future__ import annotations

import numpy as np

from tensorwright.kernels.cuda.problem import GROUP, Problem
from tensorwright.kernels.tactic import Array, Packing


def pack_weights(problem: Problem) -> Packing:
    """The right operand as ``[group, tap, block, tile, half, g, q, pair, row half, 2]``, padded with zeros.

    The thread of numbers g and q has, of each tile and each half of a block, what `multiply_16x8x16` wants of it: rows
    g and g + 8, which are column ``4 g + 2 tile + row half`` of the group; and of the depth, channel
    ``8 q + 4 half + 2 pair`` of the block and the next one.
    """
    taps, channels, columns = len(problem.taps), problem.channels, problem.columns
    groups, blocks = problem.groups, problem.blocks

    def pack(array: Array) -> Array:
        right = array if problem.transposed else array.T
        padded = np.zeros((groups * GROUP, blocks * GROUP, taps), array.dtype)
        padded[:columns, :channels] = right.reshape(columns, channels, taps)
        split = padded.reshape(groups, 8, 2, 2, blocks, 4, 2, 2, 2, taps)
        return np.ascontiguousarray(split.transpose(0, 9, 4, 2, 6, 1, 5, 7, 3, 8)).reshape(-1)

    return Packing(f"fragments transposed={problem.transposed} taps={taps}", pack)
