"""The right operand in the order in which blocks copy it."""

from __future__ import annotations

import numpy as np

from tensorwright.kernels.cuda.operands import nearest_tf32
from tensorwright.kernels.cuda.problem import GROUP, Problem
from tensorwright.kernels.cuda.tiles.steps import PIECES, Steps
from tensorwright.kernels.tactic import Array, Packing


def pack_tiles(problem: Problem, *, rounds: bool) -> Packing:
    """The right operand as ``[group, step, row, piece, elements of a piece]``, padded with zeros.

    Row ``8 j + 2 q + e`` of a group is its column ``8 q + 2 j + e``, and piece p of row r lies at ``p xor (r mod 8)``.
    rounds: to TF32, to the nearest. Of a step of several taps the pieces are those of one tap after the other.
    """
    steps, taps = Steps(problem), len(problem.taps)
    turns = steps.count // steps.slabs

    def pack(array: Array) -> Array:
        right = array if problem.transposed else array.T
        padded = np.zeros((problem.groups * GROUP, steps.slabs * steps.channels, turns * steps.taps), array.dtype)
        padded[: problem.columns, : problem.channels, :taps] = right.reshape(problem.columns, problem.channels, taps)
        split = padded.reshape(problem.groups, 4, 4, 2, steps.slabs, steps.pieces, problem.piece, turns, steps.taps)
        rows = split.transpose(0, 7, 4, 2, 1, 3, 8, 5, 6).reshape(-1, GROUP, PIECES, problem.piece)
        places = np.arange(PIECES) ^ (np.arange(GROUP) % 8)[:, None]
        swizzled = np.take_along_axis(rows, places[None, :, :, None], axis=2)
        return nearest_tf32(swizzled).reshape(-1) if rounds else np.ascontiguousarray(swizzled).reshape(-1)

    name = f"tiles transposed={problem.transposed} taps={taps}" + (" tf32" if rounds else "")
    return Packing(name, pack)
