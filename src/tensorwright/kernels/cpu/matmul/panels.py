"""Constant right factors in panels: how they are packed, and where their elements then are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tensorwright.kernels.cpu.arithmetic import Arithmetic
from tensorwright.kernels.cpu.matmul.tiling import EvenSplit, Panels
from tensorwright.kernels.tactic import Array, Packing
from tensorwright.tensor.dim import Dim, maximum, minimum, upper_bound


def panel_packing(panels: Panels, arithmetic: Arithmetic, *, transposed: bool) -> Packing:
    """Panel after panel, each ``[depth][columns of the panel]``, the last vector of columns filled up with zeros.

    transposed: the constant is ``[columns, depth]``.
    """
    count = upper_bound(panels.count)

    def pack(array: Array) -> Array:
        matrix = array.reshape(array.shape[-2:])
        matrix = matrix.T if transposed else matrix
        padded = np.pad(matrix, ((0, 0), (0, -upper_bound(panels.columns) % panels.lanes)))
        edges = [upper_bound(panels.first_vector(panel)) * panels.lanes for panel in range(count + 1)]
        return np.concatenate([arithmetic.grouped(padded[:, a:b]).reshape(-1) for a, b in pairwise(edges)])

    kinds = [f"panels of {panels.most}×{panels.lanes} columns", "transposed" * transposed, arithmetic.name]
    return Packing(", ".join(filter(None, kinds)), pack)


def packed_address(panels: Panels, depth: int, row: Dim, column: Dim) -> Dim:
    """Where an element of a right factor of so many rows is once it is packed, elements of the depth one by one."""
    vectors, count = upper_bound(panels.vectors), upper_bound(panels.count)
    split = EvenSplit(vectors, count)
    least, longer = divmod(vectors, count)
    vector, before = column // panels.lanes, longer * (least + 1)
    panel = minimum(vector, before) // (least + 1) + maximum(vector - before, 0) // least
    first = split.start(panel) * panels.lanes
    return first * depth + row * (split.size(panel) * panels.lanes) + column - first
