"""Keys and values of a block in shared memory.

A column's elements lie side by side, in accesses of 16 bytes; these are exchanged so that neither the keys, of which a
thread reads 16 bytes, nor the values meet in one bank: of two-byte values eight threads read 16 bytes of eight rows, of
float32 they read two accesses of every other one of eight rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.cuda.copies import copy_bytes
from tensorwright.codegen.cuda.matrix import load_matrices
from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Register, i64, literal
from tensorwright.kernels.cuda.attention.pieces import ACCESS_BYTES, GROUPS, QUADS, TILE, WIDTH, Pieces
from tensorwright.kernels.cuda.attention.rows import Place, Rights, paired_rows
from tensorwright.kernels.cuda.fragments.arithmetic import Words
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import FLOAT32, INT32


@dataclass(frozen=True)
class NearRows(ThreadWriter):
    """Emits what copies the keys or the values of all columns, and finds them. base: where they begin, i32; parts:
    accesses of a column.
    """

    pieces: Pieces
    emitter: GroupEmitter
    base: Register
    parts: int
    holds_keys: bool

    def begin_copies(self, batch: tuple[Dim, ...], threads: int) -> None:
        """Begin to copy everything; behind the last column lie its copies. batch: the names of the batch's index."""
        builder, pieces, parts = self.builder, self.pieces, self.parts
        factor, axis = (pieces.problem.k, -1) if self.holds_keys else (pieces.problem.v, -2)
        start, step = self.emitter.integer(factor.offset(batch)), self.emitter.integer(factor.steps[axis])
        count = pieces.size * pieces.columns * parts
        with builder.loop(0, -(-count // threads), 1, [], at_least_once=True) as loop:
            turn = Term(builder, builder.convert("trunc", loop.index, INT32))
            number = turn * threads + Term(builder, builder.thread())
            with builder.when(number.less(count).register if count % threads else None):
                column, part = number // parts, number % parts
                last = pieces.problem.columns - 1
                own = column.less(last).choose(column, last).register
                offset = builder.add(start, builder.mul(wide(builder, own), step))
                offset = builder.add(offset, builder.scaled(wide(builder, part.register), pieces.access))
                offset, size = self._within(offset, part, factor.shape[-3 - axis])
                source = builder.offset(self.emitter.operands[factor.number], offset, pieces.dtype)
                place = self.address(column, part)
                copy_bytes(builder, ACCESS_BYTES, builder.in_shared(place), source, size)
                loop.following = []

    def _within(self, offset: Register, part: Term, extent: Dim) -> tuple[Register, Register | None]:
        """Where to read an access, and how much, if it may lie behind the end."""
        assert isinstance(extent, int)
        builder, existing = self.builder, extent // self.pieces.access
        if existing == self.parts:
            return offset, None
        exists = part.less(existing).register
        size = builder.select(exists, literal(ACCESS_BYTES, INT32), literal(0, INT32))
        return builder.select(exists, offset, i64(0)), size

    def address(self, row: Term, part: Term) -> Register:
        """The address (i32) of an access of a column."""
        place = (row * self.parts + self._exchanged(row, part)) * ACCESS_BYTES
        return self.builder.add(self.base, place.register)

    def _exchanged(self, row: Term, part: Term) -> Term:
        fills_banks = self.parts % 8 == 0
        if self.holds_keys:
            return part ^ (row & 1) * QUADS if fills_banks else part
        if self.pieces.dtype == FLOAT32:
            return part ^ (row & 6)
        return part ^ (row & 7 if fills_banks else row.logical_right(1) & 3)

    def words(self, row: Term, part: Term) -> list[Register]:
        """An access as four words."""
        builder = self.builder
        pointer, whole = builder.in_shared(self.address(row, part)), builder.fresh()
        builder.emit(f"{whole} = load <4 x i32>, ptr addrspace(3) {pointer}, align {ACCESS_BYTES}")
        return [builder.value(f"extractelement <4 x i32> {whole}, i64 {word}", INT32) for word in range(4)]


@dataclass(frozen=True)
class NearFactors:
    """Keys and values in shared memory. lane: the thread's number in its warp, i32."""

    key_rows: NearRows
    value_rows: NearRows
    place: Place
    lane: Register

    def keys(self, tiles: list[Term]) -> list[Words]:
        group, quad = self._number(self.place.group), self._number(self.place.quad)
        pieces = range(self.key_rows.pieces.depth)
        columns = [self._narrow(tile) + group for tile in tiles]
        return [[self.key_rows.words(column, quad + QUADS * piece) for piece in pieces] for column in columns]

    def values(self, tiles: list[Term]) -> Rights:
        return self._paired(tiles) if self.value_rows.pieces.dtype == FLOAT32 else self._transposed(tiles)

    def _paired(self, tiles: list[Term]) -> Rights:
        group = self._number(self.place.group)
        rows = paired_rows([self._narrow(tile) for tile in tiles], self._number(self.place.quad))

        def rights(piece: int) -> Words:
            words = [self.value_rows.words(row, group + GROUPS * piece) for row in rows]
            return [[row[tile] for row in words] for tile in range(WIDTH // TILE)]

        return rights

    def _transposed(self, tiles: list[Term]) -> Rights:
        lane = self._number(self.lane)
        matrix = lane.logical_right(3)
        first = self._narrow(tiles[0]) + (matrix & 1) * TILE + (lane & 7)

        def two_tiles(piece: int, pair: int) -> Words:
            part = matrix.logical_right(1) + (QUADS * piece + pair)
            places = [self.value_rows.address(first + TILE * tile, part) for tile in (0, 2)]
            lower, upper = (load_matrices(self.key_rows.builder, place, transposed=True) for place in places)
            return [[*lower[at : at + 2], *upper[at : at + 2]] for at in (0, 2)]

        return lambda piece: [words for pair in (0, 2) for words in two_tiles(piece, pair)]

    def _number(self, value: Register) -> Term:
        return Term(self.key_rows.builder, value)

    def _narrow(self, tile: Term) -> Term:
        return self._number(self.key_rows.builder.convert("trunc", tile.register, INT32))
