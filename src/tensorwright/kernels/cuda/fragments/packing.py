"""Weights in the order in which warps read them."""

from __future__ import annotations

import numpy as np

from tensorwright.kernels.cuda.operands import nearest_tf32
from tensorwright.kernels.cuda.problem import GROUP, Problem
from tensorwright.kernels.tactic import Array, Packing


def pack_weights(problem: Problem, *, rounds: bool = False) -> Packing:
    """The right operand as ``[group, tap, slab, tile, half, g, q, word, row half, w]``, padded with zeros.

    The thread of numbers g and q has, of each tile and each half of a slab, what `multiply_16x8` wants of it: rows g
    and g + 8, which are column ``4 g + 2 tile + row half`` of the group; and of the depth, channel
    ``4 w q + 2 w half + w word`` of the slab and the w - 1 next ones; w is 1 for float32, 2 for two-byte types,
    4 for bytes. rounds: to TF32, to the nearest.
    """
    taps, channels, columns = len(problem.taps), problem.channels, problem.columns
    groups, slabs, word = problem.groups, problem.slabs, problem.piece // 4

    def pack(array: Array) -> Array:
        right = array if problem.transposed else array.T
        padded = np.zeros((groups * GROUP, slabs * problem.slab, taps), array.dtype)
        padded[:columns, :channels] = right.reshape(columns, channels, taps)
        split = padded.reshape(groups, 8, 2, 2, slabs, 4, 2, 2, word, taps)
        turned = np.ascontiguousarray(split.transpose(0, 9, 4, 2, 6, 1, 5, 7, 3, 8)).reshape(-1)
        return nearest_tf32(turned) if rounds else turned

    return Packing(f"fragments transposed={problem.transposed} taps={taps}" + (" tf32" if rounds else ""), pack)
