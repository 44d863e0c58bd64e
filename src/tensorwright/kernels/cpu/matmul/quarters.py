"""One level of Strassen's algorithm in Winograd's form: seven products of quarters instead of eight.

With the quarters ``a = [[a11, a12], [a21, a22]]`` and so for b and c (Winograd 1971; Knuth, The Art of Computer
Programming, 4.6.4)::

    s1 = a21 + a22    s2 = s1 - a11     s3 = a11 - a21    s4 = a12 - s2
    t1 = b12 - b11    t2 = b22 - t1     t3 = b22 - b12    t4 = t2 - b21
    u2 = a11 b11 + s2 t2     u3 = u2 + s3 t3
    c11 = a11 b11 + a12 b21           c12 = u2 + s1 t1 + s4 b22
    c21 = u3 - a22 t4                 c22 = u3 + s1 t1

Of the right factors only b11, b21, t2 and b22 are stored, as many elements as b has. The others are differences of two
of them, made when they are needed: ``t3 = t2 - b11``, ``t1 = b22 - t2``, ``-t4 = b21 - t2``. To round t2 is thus to
change b12 by as little; the differences are rounded once more, like those of the left factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tensorwright.kernels.cpu.matmul.tile import LINE_BYTES
from tensorwright.kernels.cpu.matmul.tiling import EvenSplit, Panels
from tensorwright.kernels.numerics import Numerics
from tensorwright.kernels.tactic import Array
from tensorwright.tensor.dim import Dim, bounds, ceil_divide, is_static, tuning_value, upper_bound
from tensorwright.tensor.dtype import DType

PRODUCTS = 7


class Piece(IntEnum):
    """The stored right factors, in their order in memory; what follows them are those of the next panel."""

    B11 = 0
    B21 = 1
    T2 = 2
    B22 = 3
    NEXT = 4


STORED = len(Piece) - 1
MINUENDS = (Piece.B11, Piece.B21, Piece.T2, Piece.T2, Piece.B22, Piece.B21, Piece.B22)
"""The right factors of the products, in the order of the left ones; for `FORMED` ones, what is subtracted from."""

FORMED = range(3, 6)
SUBTRAHENDS = (*MINUENDS[:3], Piece.B11, Piece.T2, Piece.T2, MINUENDS[6])
"""What is subtracted to form a right factor; without meaning for products that are not `FORMED`."""

AHEAD = (Piece.B21, Piece.T2, Piece.B11, Piece.B22, Piece.B21, Piece.B22, Piece.NEXT)
"""What to fetch during each product: pieces that the next one reads and this one does not."""


class Buffer(IntEnum):
    """Where sums wait: `X` holds a11 b11, then u2, then u2 + s1 t1, then c12; `Y` u3, then c21; `D` s1 t1, then c22."""

    X = 0
    C11 = 1
    Y = 2
    D = 3


ADDED_TO = (Buffer.X, Buffer.X, Buffer.X, Buffer.X, Buffer.D, Buffer.Y, Buffer.X)
"""What each product, in the order of `left_combinations`, is added to."""

WRITTEN_TO = (Buffer.X, Buffer.C11, Buffer.X, Buffer.Y, Buffer.D, Buffer.Y, Buffer.X)
"""Where that sum goes."""

SPREAD_AFTER = 4
"""After this product `D` is added to `X`, and then `Y` to `D`."""

CLEARED = (Buffer.X, Buffer.D)
"""What starts from zero."""

TOP, BOTTOM = (Buffer.C11, Buffer.X), (Buffer.Y, Buffer.D)
"""Where the left and the right quarter of the result are in the end."""

Matrix = npt.NDArray[np.float64]


def stored_factors(b: Matrix) -> Sequence[Matrix]:
    """The right factors that are stored; b has even numbers of rows and columns."""
    depth, columns = (extent // 2 for extent in b.shape)
    b11, b12, b21, b22 = b[:depth, :columns], b[:depth, columns:], b[depth:, :columns], b[depth:, columns:]
    return b11, b21, b22 - b12 + b11, b22


@dataclass(frozen=True)
class Quarters:
    """How a product [rows, depth] × [depth, columns] is split.

    The rows are split into blocks of at most `block`, and each block into an upper and a lower half; the halves of an
    odd number share the middle row. The columns are halved; a panel is at most `most` vectors of the left half together
    with those at the same places of the right half. `tallest`: rows of a register tile.
    """

    rows: Dim
    depth: int
    columns: int
    numerics: Numerics
    lanes: int
    block: int
    tallest: int
    most: int

    @property
    def total(self) -> DType:
        """The type in which all is combined, multiplied and kept."""
        return self.numerics.total

    @property
    def blocks(self) -> EvenSplit:
        return EvenSplit(self.rows, ceil_divide(self.rows, self.block))

    @property
    def block_sizes(self) -> Sequence[int]:
        """All sizes that blocks may have."""
        if is_static(self.rows):
            return self.blocks.sizes
        low, high = bounds(self.rows)
        return range(min(max(low, 1), (self.block + 1) // 2), min(high, self.block) + 1)

    @property
    def half_rows(self) -> int:
        """Rows in the largest half of a block."""
        return (max(self.block_sizes) + 1) // 2

    @property
    def half_depth(self) -> int:
        return (self.depth + 1) // 2

    @property
    def row_step(self) -> int:
        """Elements between the rows of a combination of quarters of a: whole vectors."""
        return self._spaced(-(-self.half_depth // self.lanes) * self.lanes)

    @property
    def panels(self) -> Panels:
        """The panels of the left half, which the right half follows."""
        vectors = -(-self.columns // self.lanes)
        return Panels((vectors + 1) // 2 * self.lanes, self.lanes, self.most)

    @property
    def half_columns(self) -> int:
        return (-(-self.columns // self.lanes) + 1) // 2 * self.lanes

    @property
    def tasks(self) -> Dim:
        return self.blocks.count * self.panels.count

    def tiles(self, half: Dim) -> EvenSplit:
        """The register tiles of half a block."""
        return EvenSplit(half, ceil_divide(half, self.tallest))

    @property
    def usual_tiles(self) -> int:
        """Register tiles in half a block of the usual size."""
        rows = max(1, tuning_value(self.rows))
        return max(1, tuning_value(self.tiles(ceil_divide(ceil_divide(rows, -(-rows // self.block)), 2)).count))

    @property
    def heights(self) -> tuple[int, ...]:
        """All heights that tiles may have, the larger ones first."""
        halves = {(size + 1) // 2 for size in self.block_sizes}
        return tuple(sorted({height for half in halves for height in self.tiles(half).sizes}, reverse=True))

    @property
    def first_heights(self) -> tuple[int, ...]:
        """All heights that the first tile of a block may have, the larger ones first."""
        halves = {(size + 1) // 2 for size in self.block_sizes}
        return tuple(sorted({self.tiles(half).sizes[0] for half in halves}, reverse=True))

    @property
    def factor_elements(self) -> int:
        """Elements of the left factor of one of the products."""
        return self._spaced(self.half_rows * self.row_step)

    @property
    def buffer_elements(self) -> int:
        return self._spaced(self.half_rows * self.panels.widest * self.lanes)

    @property
    def formed_elements(self) -> int:
        """Elements of a panel of a right factor that is not stored."""
        return self.half_depth * self.panels.widest * self.lanes

    @property
    def workspace(self) -> int:
        """Elements of workspace: left factors, buffers, a right factor."""
        return PRODUCTS * self.factor_elements + len(Buffer) * self.buffer_elements + self.formed_elements

    def pack(self, b: Array) -> Array:
        """The stored right factors, [panel][piece][half the depth][columns of the panel], combined in float64."""
        padding = ((0, 2 * self.half_depth - self.depth), (0, 2 * self.half_columns - self.columns))
        halves, panels = np.pad(b, padding).reshape(2 * self.half_depth, 2, self.half_columns), self.panels
        edges = [upper_bound(panels.first_vector(n)) * self.lanes for n in range(upper_bound(panels.count) + 1)]
        packed = np.empty(STORED * self.half_depth * self.half_columns, self.total.numpy)
        for start, stop in pairwise(edges):
            own = packed[STORED * self.half_depth * start : STORED * self.half_depth * stop]
            panel = halves[:, :, start:stop].reshape(2 * self.half_depth, -1).astype(np.float64)
            for place, factor in zip(own.reshape(STORED, self.half_depth, -1), stored_factors(panel), strict=True):
                place[:] = factor
        return packed

    def _spaced(self, elements: int) -> int:
        """At least so many elements: an odd number of cache lines, so that such pieces do not share cache sets."""
        line = LINE_BYTES // self.total.size
        return (-(-elements // line) | 1) * line
