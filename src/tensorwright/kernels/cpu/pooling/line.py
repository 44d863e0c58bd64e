"""Tiles of a pooling in row-major layout: a vector of neighbouring outputs of a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from tensorwright.codegen.scalar import lane_mask
from tensorwright.codegen.values import Pointer, Register, literal, literals
from tensorwright.kernels.cpu.lanes import picked
from tensorwright.kernels.cpu.pooling.tile import Key, PoolingTile, inverse
from tensorwright.kernels.cpu.pooling.tiling import meets_no_padding, meets_only_padding
from tensorwright.kernels.cpu.spatial.tile import Sums
from tensorwright.tensor.dtype import BOOL


@dataclass(frozen=True)
class Piece:
    """A vector of neighbouring elements of a row: the first one, counted from where the tile's first window starts."""

    first: int
    vector: Register


@dataclass(frozen=True)
class LineTile(PoolingTile):
    """All elements under the windows are combined down the rows first; then every tap takes its lanes from them."""

    lanes: int

    @property
    def _nothing(self) -> Register:
        return self.combiner.nothing(self.lanes)

    def _parts(self) -> Sequence[Key]:
        return [(0, first, 0) for first in self._firsts()]

    def _part(self, row: Pointer, key: Key) -> Register:
        return self._load(row, key[1])

    def _across(self, parts: Sums) -> Sums:
        axis, size = self.axes[-1], self.tile.columns.size
        pieces = [Piece(first, vector) for (_, first, _), vector in parts.items()]
        taps = []
        for tap in range(axis.kernel):
            wanted = [tap * axis.dilation + min(lane, size - 1) * axis.stride for lane in range(self.lanes)]
            taps.append(self._picked(pieces, wanted))
        return {self._key: self.combiner.all(taps)}

    @property
    def _key(self) -> Key:
        """The vector is kept under its last column."""
        return 0, self.tile.columns.size - 1, 0

    @property
    def _span(self) -> int:
        """Elements of a row from the first to the last that the windows touch."""
        axis = self.axes[-1]
        return (self.tile.columns.size - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1

    def _firsts(self) -> list[int]:
        """Where the vectors start that cover the windows, the last one moved back if nothing may lie behind it."""
        firsts = list(range(0, self._span, self.lanes))
        if meets_no_padding(self.tile.columns) and self._span >= self.lanes:
            firsts[-1] = self._span - self.lanes
        return firsts

    def _load(self, row: Pointer, first: int) -> Register:
        axis, run, lanes, nothing = self.axes[-1], self.tile.columns, self.lanes, self._nothing
        if meets_only_padding(run):
            return nothing
        place = self._in_image(row, first)
        if meets_no_padding(run):
            inside = [first + lane < self._span for lane in range(lanes)]
        else:
            start = run.start * axis.stride - axis.before + first
            inside = [0 <= start + lane < axis.input for lane in range(lanes)]
        if all(inside):
            return self.builder.load(place, self.numerics.left, lanes)
        return self.builder.masked_load(place, _mask(inside), nothing, self.numerics.left) if any(inside) else nothing

    def _picked(self, pieces: Sequence[Piece], wanted: Sequence[int]) -> Register:
        """The wanted elements, in order, from as few vectors as possible."""
        for some in (*combinations_with_replacement(range(len(pieces)), 2), range(len(pieces))):
            holders = [[number for number in some if self._holds(pieces[number], n)] for n in wanted]
            if all(holders):
                break
        places = [(number, n - pieces[number].first) for n, (number, *_) in zip(wanted, holders, strict=True)]
        return picked(self.builder, [piece.vector for piece in pieces], places)

    def _holds(self, piece: Piece, number: int) -> bool:
        return piece.first <= number < piece.first + self.lanes

    def _inverse_counts(self, columns: Sequence[int], others: int) -> Sums:
        numbers = [inverse(count * others) for count in columns]
        numbers += numbers[-1:] * (self.lanes - len(numbers))
        same, total = len(set(numbers)) == 1, self.numerics.total
        return {self._key: literal(numbers[0], total, self.lanes) if same else literals(numbers, total)}


def _mask(inside: Sequence[bool]) -> Register:
    count = sum(inside)
    if all(inside[:count]):
        return lane_mask(count, len(inside))
    return Register(f"<{', '.join(f'i1 {str(ok).lower()}' for ok in inside)}>", BOOL, len(inside))
