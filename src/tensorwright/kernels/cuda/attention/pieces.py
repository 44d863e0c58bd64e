"""The sizes of an attention, split among warps."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.cuda.targets import WARP
from tensorwright.kernels.attention.problem import KnownProblem
from tensorwright.tensor.dim import Dim

ROWS = 16
"""Rows of a block."""
PIECE = 32
"""Columns, and elements of depth and width, that belong together."""
ACCESS = 8
"""Elements that a thread reads at once."""


@dataclass(frozen=True)
class Pieces:
    """An attention whose columns are shared out to some warps."""

    problem: KnownProblem
    warps: int

    @property
    def threads(self) -> int:
        return WARP * self.warps

    @property
    def depth(self) -> int:
        """Pieces of the depth."""
        return -(-self.problem.depth // PIECE)

    @property
    def width(self) -> int:
        """Pieces of the width."""
        return -(-self.problem.width // PIECE)

    @property
    def columns(self) -> int:
        """Pieces of the columns."""
        return -(-self.problem.columns // PIECE)

    @property
    def rounds(self) -> int:
        """Pieces of the columns that a warp goes through."""
        return -(-self.columns // self.warps)

    @property
    def units(self) -> int:
        """Pieces of a warp's result: 8 rows by 32 columns each, 8 numbers for every thread."""
        return 2 * self.width

    @property
    def grid(self) -> tuple[Dim, Dim, Dim]:
        return -(-self.problem.rows // ROWS), self.problem.batches, 1

    @property
    def shared_bytes(self) -> int:
        """Shared memory for sums, and for the largest score and the sum of powers of two rows, of every thread."""
        return self.threads * (8 * self.units + 4) * 4

    @property
    def registers(self) -> int:
        """Registers for the result, scores, a piece of every operand, and addresses."""
        return 24 + 8 * self.units + 16 + 8 * self.depth + 16 * self.depth + 16 * self.width
