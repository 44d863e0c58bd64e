"""Tiles of inner products: vectors run along the reduction, through a few rows of both factors at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import lane_mask
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.kernels.cpu.matmul.loops import independent_sums
from tensorwright.kernels.numerics import Numerics
from tensorwright.tensor.dtype import DType

AT_ONCE = 4
"""Rows of b in a tile."""
UNROLL = 4


@dataclass(frozen=True)
class InnerTile:
    """``Σ a[row, i] · b[column, i]`` over i below `depth`, for a few rows of a and `AT_ONCE` rows of b.

    Rows of b are read one after another, as they lie: several at a time come a third slower from memory.
    a, b: where the rows start, in elements of the left and right type.
    """

    builder: FunctionBuilder
    numerics: Numerics
    lanes: int
    depth: int
    a: Sequence[Pointer]
    b: Sequence[Pointer]

    def sums(self) -> list[Register]:
        """For every row of a, the vector of its `AT_ONCE` sums."""
        columns = [self._column(row) for row in self.b]
        return [folded(self.builder, vectors) for vectors in zip(*columns, strict=True)]

    def _column(self, b: Pointer) -> list[Register]:
        """For every row of a, a vector whose lanes add up to its product with a row of b."""
        builder, lanes, rows = self.builder, self.lanes, len(self.a)
        carried = [literal(0.0, self.numerics.total, lanes)] * (rows * independent_sums(rows, UNROLL))
        step = UNROLL * lanes
        whole = self.depth // step * step
        if whole:
            with builder.loop(0, whole, step, carried, at_least_once=True) as loop:
                loop.following = self._steps(b, loop.index, loop.carried, UNROLL)
            carried = loop.final
        rest, masked = divmod(self.depth - whole, lanes)
        carried = self._steps(b, i64(whole), carried, rest)
        if masked:
            last = i64(whole + rest * lanes)
            carried[:rows] = self._step(b, last, carried[:rows], lane_mask(masked, lanes))
        while len(carried) > rows:
            half = len(carried) // 2
            carried = [builder.add(x, y) for x, y in zip(carried[:half], carried[half:], strict=True)]
        return carried

    def _steps(self, b: Pointer, first: Register, carried: Sequence[Register], count: int) -> list[Register]:
        """Multiply and add so many vectors of every row; sets of sums take turns."""
        rows, sums = len(self.a), list(carried)
        for number in range(count):
            start = number * rows % len(sums)
            place = self.builder.add(first, number * self.lanes)
            sums[start : start + rows] = self._step(b, place, sums[start : start + rows], None)
        return sums

    def _step(self, b: Pointer, place: Register, sums: Sequence[Register], mask: Register | None) -> list[Register]:
        column = self._load(b, place, self.numerics.right, mask)
        rows = [self._load(row, place, self.numerics.left, mask) for row in self.a]
        return [self.builder.fma(row, column, total) for row, total in zip(rows, sums, strict=True)]

    def _load(self, row: Pointer, index: Register, dtype: DType, mask: Register | None) -> Register:
        builder, lanes = self.builder, self.lanes
        place = builder.offset(row, index, dtype)
        if mask is None:
            return builder.load(place, dtype, lanes)
        return builder.masked_load(place, mask, literal(0.0, dtype, lanes), dtype)


def folded(builder: FunctionBuilder, vectors: Sequence[Register]) -> Register:
    """The vector of the sums of all lanes of each of four vectors."""
    a, b, c, d = vectors
    blocks = range(0, a.lanes, 4)
    ab, cd = _paired(builder, a, b, (0, 4, 1, 5), blocks), _paired(builder, c, d, (0, 4, 1, 5), blocks)
    total = _paired(builder, ab, cd, (0, 1, 4, 5), blocks)
    while total.lanes > 4:
        half = total.lanes // 2
        halves = [builder.shuffle(total, total, range(start, start + half)) for start in (0, half)]
        total = builder.add(*halves)
    return total


def _paired(
    builder: FunctionBuilder, left: Register, right: Register, order: Sequence[int], blocks: Sequence[int]
) -> Register:
    """In every block of four lanes the sums of two lanes of `left` and two of `right`.

    order: the lanes of both, numbered through, to which those two after them are added.
    """

    def picked(shift: int) -> Register:
        lanes = [block + lane % 4 + shift + (left.lanes if lane >= 4 else 0) for block in blocks for lane in order]
        return builder.shuffle(left, right, lanes)

    return builder.add(picked(0), picked(2))
