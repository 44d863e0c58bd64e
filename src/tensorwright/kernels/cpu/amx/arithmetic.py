"""Which types tile registers multiply."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tensorwright.codegen.target import Target
from tensorwright.kernels.cpu.amx.registers import ROW_BYTES, ROWS
from tensorwright.kernels.numerics import Numerics
from tensorwright.kernels.tactic import Array
from tensorwright.tensor.dtype import BFLOAT16, INT16, INT32, UINT8, DType


@dataclass(frozen=True)
class TileArithmetic:
    """instruction: multiplies two registers. bits: the type in which elements of the left factor are moved as they are,
    without being converted.
    """

    numerics: Numerics
    instruction: str
    bits: DType

    @property
    def depth(self) -> int:
        """Elements of the reduction in one register."""
        return ROW_BYTES // self.bits.size

    def steps(self, depth: int) -> int:
        """Registers along a reduction."""
        return -(-depth // self.depth)

    def packed(self, matrix: Array) -> Array:
        """A right factor ``[depth, columns]``, columns a multiple of 16, as ``[steps, columns / 16, 16, 64 bytes]``: a
        row of a register has, for each of 16 columns, the neighbouring elements of the reduction that make up four
        bytes. The reduction is filled up with zeros.
        """
        depth, columns = matrix.shape
        group = self.depth // ROWS
        padded = np.pad(matrix, ((0, -depth % self.depth), (0, 0)))
        split = padded.reshape(self.steps(depth), ROWS, group, columns // ROWS, ROWS)
        return np.ascontiguousarray(split.transpose(0, 3, 1, 4, 2)).reshape(-1)


def tile_arithmetic(numerics: Numerics, target: Target) -> TileArithmetic | None:
    """How a target multiplies such factors in tile registers; None if it does not."""
    if not target.has_tiles:
        return None
    if numerics.total == INT32:
        return TileArithmetic(numerics, "tdpbusd", UINT8)
    if numerics.left == numerics.right == BFLOAT16:
        return TileArithmetic(numerics, "tdpbf16ps", INT16)
    return None
