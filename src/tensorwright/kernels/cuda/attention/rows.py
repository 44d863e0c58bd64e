"""Factors of an attention that are read from memory when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tensorwright.codegen.cuda.matrix import transposed_8x8
from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.kernels.attention.problem import Factor
from tensorwright.kernels.cuda.attention.pieces import GROUPS, QUADS, TILE, WIDTH, Pieces
from tensorwright.kernels.cuda.fragments.arithmetic import Words
from tensorwright.kernels.cuda.fragments.rows import load_words
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import FLOAT32, INT32

Rights = Callable[[int], Words]
"""Of a piece of the width four words for each tile of 8 elements: two for each instruction."""


class Factors(Protocol):
    """What gives the right factors of a piece of the columns. tiles: the first columns of its tiles of 8, i64."""

    def keys(self, tiles: list[Term]) -> list[Words]:
        """Of each tile the thread's elements of one column, piece by piece."""

    def values(self, tiles: list[Term]) -> Rights:
        """What powers are multiplied by."""


@dataclass(frozen=True)
class Place:
    """Of a thread. batch: the names of its batch's index; first_row: of its warp, i64; group, quad: its numbers as in
    `codegen.cuda.matrix`, i32.
    """

    batch: tuple[Dim, ...]
    first_row: Register
    group: Register
    quad: Register


@dataclass(frozen=True)
class Share:
    """Which 16 bytes of a piece of a row are a thread's. number: among so many parts, i32."""

    number: Register
    parts: int


@dataclass(frozen=True)
class Rows(ThreadWriter):
    """Emits what reads rows."""

    pieces: Pieces
    emitter: GroupEmitter
    place: Place

    def queries(self) -> list[Words]:
        """The thread's elements of its two rows."""
        share = Share(self.place.quad, QUADS)
        numbers = [self.existing_row(GROUPS * half) for half in range(2)]
        return [self.row(self.pieces.problem.q, number, share, self.pieces.depth) for number in numbers]

    def existing_row(self, distance: int) -> Register:
        """The thread's first row or one behind it, or the last one there is (i64)."""
        row = Term(self.builder, self.place.first_row) + Term(self.builder, wide(self.builder, self.place.group))
        return at_most(row + distance if distance else row, self.pieces.problem.rows - 1)

    def row(self, factor: Factor, number: Register, share: Share, pieces: int, axis: int = -2) -> Words:
        """A thread's elements of each piece of a row, or along another axis; zeros beyond its end."""
        builder, emitter, dtype = self.builder, self.emitter, self.pieces.dtype
        start = emitter.integer(factor.offset(self.place.batch))
        offset = builder.add(start, builder.mul(number, emitter.integer(factor.steps[axis])))
        inside = builder.scaled(wide(builder, share.number), self.pieces.access)
        place = builder.offset(emitter.operands[factor.number], builder.add(offset, inside), dtype)
        extent = factor.shape[-3 - axis]
        assert isinstance(extent, int)
        return [self._piece(place, piece, extent, share) for piece in range(pieces)]

    def _piece(self, place: Pointer, piece: int, extent: int, share: Share) -> list[Register]:
        builder, access, dtype = self.builder, self.pieces.access, self.pieces.dtype
        first = piece * access * share.parts
        there, left = builder.offset(place, first, dtype), extent - first
        if left >= access * share.parts:
            return load_words(builder, there)
        exists = builder.compare("ult", share.number, left // access)
        # Where the row has ended, what is read is the thread's part of an earlier piece, or the row's first elements.
        otherwise = place
        if not piece:
            back = builder.select(exists, i64(0), builder.scaled(wide(builder, share.number), -access))
            otherwise = builder.offset(place, back, dtype)
        chosen = builder.fresh("p")
        builder.emit(f"{chosen} = select {exists.typed}, ptr {there.text}, ptr {otherwise.text}")
        words = load_words(builder, Pointer(chosen))
        return [builder.select(exists, word, literal(0, INT32)) for word in words]


@dataclass(frozen=True)
class FarFactors:
    """Keys and values in memory."""

    rows: Rows

    def keys(self, tiles: list[Term]) -> list[Words]:
        rows, (group, _) = self.rows, self._wide_place()
        pieces, share = rows.pieces, Share(rows.place.quad, QUADS)
        own = [self._existing(tile + group) for tile in tiles]
        return [rows.row(pieces.problem.k, column, share, pieces.depth, axis=-1) for column in own]

    def values(self, tiles: list[Term]) -> Rights:
        rows, (group, quad) = self.rows, self._wide_place()
        builder, pieces, turns = rows.builder, rows.pieces, rows.pieces.dtype != FLOAT32
        share = Share(rows.place.quad, QUADS) if turns else Share(rows.place.group, GROUPS)
        own = [tile + group for tile in tiles] if turns else paired_rows(tiles, quad)
        words = [rows.row(pieces.problem.v, self._existing(row), share, pieces.width) for row in own]

        def rights(piece: int) -> Words:
            found = [[row[piece][tile] for row in words] for tile in range(WIDTH // TILE)]
            return [[transposed_8x8(builder, word) for word in tile] for tile in found] if turns else found

        return rights

    def _wide_place(self) -> tuple[Term, Term]:
        builder, place = self.rows.builder, self.rows.place
        return Term(builder, wide(builder, place.group)), Term(builder, wide(builder, place.quad))

    def _existing(self, column: Term) -> Register:
        return at_most(column, self.rows.pieces.problem.columns - 1)


def paired_rows(tiles: list[Term], quad: Term) -> list[Term]:
    """Of each tile of columns the two rows of values that belong to a thread's two powers."""
    return [tile + (quad << 1) + part for tile in tiles for part in range(2)]


def at_most(value: Term, limit: int) -> Register:
    return value.less(limit).choose(value, limit).register
