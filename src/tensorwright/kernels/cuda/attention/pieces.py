"""The sizes of an attention, split among warps."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.cuda.targets import WARP
from tensorwright.kernels.attention.problem import KnownProblem
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import DType

ROWS = 16
"""Rows of a block."""
TILE = 8
"""Columns of one instruction."""
WIDTH = 32
"""Elements of the width that belong together: four tiles."""
RUN = 8
"""Neighbouring ones of these that a thread ends with."""
QUADS, GROUPS = 4, 8
"""Threads of a warp: four for each of eight columns or rows."""
ACCESS_BYTES = 16
"""What a thread reads at once."""


@dataclass(frozen=True)
class Pieces:
    """An attention whose columns are shared out to some warps. splits: whether each factor is the sum of two."""

    problem: KnownProblem
    warps: int
    splits: bool = False

    @property
    def threads(self) -> int:
        return WARP * self.warps

    @property
    def dtype(self) -> DType:
        """The type of all factors and of the result."""
        return self.problem.result.output.type.dtype

    @property
    def access(self) -> int:
        """Elements that a thread reads at once."""
        return ACCESS_BYTES // self.dtype.size

    @property
    def size(self) -> int:
        """Columns, and elements of the depth, of a piece: 64 bytes, which two instructions multiply."""
        return QUADS * self.access

    @property
    def tiles(self) -> int:
        """Tiles of a piece of the columns."""
        return self.size // TILE

    @property
    def depth(self) -> int:
        """Pieces of the depth."""
        return -(-self.problem.depth // self.size)

    @property
    def width(self) -> int:
        """Pieces of the width."""
        return -(-self.problem.width // WIDTH)

    @property
    def columns(self) -> int:
        """Pieces of the columns."""
        return -(-self.problem.columns // self.size)

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
    def kept_registers(self) -> int:
        """Registers for the result and two rows of queries, and for what a split leaves of these."""
        return 8 * self.units + (16 if self.splits else 8) * self.depth

    @property
    def registers(self) -> int:
        """Registers for what is kept, scores, keys and values of a piece, and addresses."""
        return 24 + self.kept_registers + 4 * self.tiles * (1 + self.depth) + 16 * self.width
