"""Attention whose keys and values lie in shared memory, for all rows of a block: for many heads.

A row of 64 bytes after 64 bytes; their pieces of 16 bytes are exchanged so that neither the keys, of which a thread
reads 16 bytes, nor the values, of which eight threads read 16 bytes of eight rows, meet in one bank.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.cuda.copies import copy_bytes, end_group, wait_for_groups
from tensorwright.codegen.cuda.matrix import load_matrices
from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.targets import WARP, CudaTarget
from tensorwright.codegen.cuda.threads import ThreadBuilder, wide
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Register, i64, literal
from tensorwright.kernels.attention.problem import Factor, KnownProblem
from tensorwright.kernels.cuda.attention.pieces import ACCESS, PIECE, ROWS, Pieces
from tensorwright.kernels.cuda.attention.scores import Rights, ScoreLoop, State, Words
from tensorwright.kernels.cuda.attention.write import batch_position, score_epilogue, store_result
from tensorwright.kernels.cuda.fragments.sums import SHARED
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import FLOAT16, FLOAT32, INT32, DType

ACCESS_BYTES = 16
PARTS = PIECE // ACCESS
"""Accesses of a piece of a row."""


@dataclass(frozen=True)
class Heads:
    """An attention whose blocks have so many warps, each with 16 rows."""

    problem: KnownProblem
    warps: int

    @property
    def pieces(self) -> Pieces:
        """Of a warp, which goes through all columns."""
        return Pieces(self.problem, 1)

    @property
    def threads(self) -> int:
        return WARP * self.warps

    @property
    def columns(self) -> int:
        """In shared memory, behind the last one its copies."""
        return PIECE * self.pieces.columns

    @property
    def keys_bytes(self) -> int:
        return self.columns * self.pieces.depth * PARTS * ACCESS_BYTES

    @property
    def shared_bytes(self) -> int:
        return self.keys_bytes + self.columns * self.pieces.width * PARTS * ACCESS_BYTES

    @property
    def registers(self) -> int:
        """Registers for the result, a row's queries, and the rest."""
        return 72 + 8 * self.pieces.units + 8 * self.pieces.depth

    @property
    def grid(self) -> tuple[Dim, Dim, Dim]:
        return -(-self.problem.rows // (ROWS * self.warps)), self.problem.batches, 1


@dataclass(frozen=True)
class HeadsKernel(ThreadWriter):
    """Emits the body of a kernel."""

    heads: Heads
    dtype: DType
    target: CudaTarget
    emitter: GroupEmitter

    def write(self) -> None:
        builder, heads, problem = self.builder, self.heads, self.heads.problem
        warp, lane = builder.warp_and_lane()
        group, quad = Term(builder, lane).logical_right(2).register, (Term(builder, lane) & 3).register
        number = Term(builder, builder.block_index("x")) * heads.warps + Term(builder, warp)
        first_row = wide(builder, (number * ROWS).register)
        batch = batch_position(self.emitter, problem)
        base = builder.shared_address(SHARED)
        builder.launch_next()
        builder.wait_for_previous()
        values = builder.add(base, heads.keys_bytes)
        self._copy(problem.k, -1, heads.pieces.depth, batch, base)
        self._copy(problem.v, -2, heads.pieces.width, batch, values)
        end_group(builder)
        loop = _HeadLoop(
            heads.pieces, self.dtype, self.target, self.emitter, score_epilogue(problem), batch, first_row,
            literal(0, INT32), group, quad, base, values, lane,
        )  # fmt: skip
        queries = loop.queries()
        wait_for_groups(builder, 0)
        builder.meet()
        self._finish(loop.run(queries), batch, first_row, group, quad)

    def _copy(self, factor: Factor, axis: int, pieces: int, batch: tuple[Dim, ...], to: Register) -> None:
        """Begin to copy all columns of a factor; axis: of its columns."""
        builder, emitter, heads = self.builder, self.emitter, self.heads
        parts, extent = PARTS * pieces, factor.shape[-3 - axis]
        count = heads.columns * parts
        assert isinstance(extent, int)
        start, step = emitter.integer(factor.offset(batch)), emitter.integer(factor.steps[axis])
        with builder.loop(0, -(-count // heads.threads), 1, [], at_least_once=True) as loop:
            turn = Term(builder, builder.convert("trunc", loop.index, INT32))
            number = turn * heads.threads + Term(builder, builder.thread())
            with builder.when(number.less(count).register if count % heads.threads else None):
                column, part = number // parts, number % parts
                last = heads.problem.columns - 1
                own = column.less(last).choose(column, last).register
                offset = builder.add(start, builder.mul(wide(builder, own), step))
                offset = builder.add(offset, builder.scaled(wide(builder, part.register), ACCESS))
                size = None
                if extent % PIECE:
                    exists = part.less(extent // ACCESS).register
                    size = builder.select(exists, literal(ACCESS_BYTES, INT32), literal(0, INT32))
                    offset = builder.select(exists, offset, i64(0))
                keys = axis == -1
                place = _place(builder, to, pieces, column, part, keys=keys)
                source = builder.offset(emitter.operands[factor.number], offset, FLOAT16)
                copy_bytes(builder, ACCESS_BYTES, builder.in_shared(place), source, size)
                loop.following = []

    def _finish(
        self, state: State, batch: tuple[Dim, ...], first_row: Register, group: Register, quad: Register
    ) -> None:
        """Divide by the sums of powers; threads with an even and an odd number exchange columns for four neighbours."""
        builder, one = self.builder, literal(1.0, FLOAT32)
        inverses = [builder.div(one, builder.combined(total, builder.add, 4)) for total in state.total]
        is_odd = builder.compare("ne", builder.binary("and", quad, 1), 0)
        own = (Term(builder, quad) & 1) * 8 + Term(builder, quad).logical_right(1) * 4
        own_column = wide(builder, own.register)
        for half, inverse in enumerate(inverses):
            row = builder.add(builder.add(first_row, wide(builder, group)), 8 * half)
            for number in range(0, len(state.result), 2):
                even, odd = (
                    [builder.mul(value, inverse) for value in tile[2 * half : 2 * half + 2]]
                    for tile in state.result[number : number + 2]
                )
                given = [builder.select(is_odd, a, b) for a, b in zip(even, odd, strict=True)]
                taken = [builder.exchanged(value, 1) for value in given]
                first = [builder.select(is_odd, a, b) for a, b in zip(taken, even, strict=True)]
                second = [builder.select(is_odd, a, b) for a, b in zip(odd, taken, strict=True)]
                column = builder.add(own_column, 8 * number)
                store_result(self.emitter, self.heads.problem, (batch, row, column), [*first, *second])


@dataclass(frozen=True)
class _HeadLoop(ScoreLoop):
    """The loop of a warp over all columns. keys, values: where they begin in shared memory, i32."""

    keys: Register
    values: Register
    lane: Register

    def _keys(self, tiles: list[Term]) -> list[Words]:
        depth = range(self.pieces.depth)
        columns = [self._narrow(tile) + Term(self.builder, self.group) for tile in tiles]
        return [[self._words(column, piece) for piece in depth] for column in columns]

    def _narrow(self, tile: Term) -> Term:
        return Term(self.builder, self.builder.convert("trunc", tile.register, INT32))

    def _words(self, column: Term, piece: int) -> list[Register]:
        builder = self.builder
        part = Term(builder, self.quad) + PARTS * piece
        pointer = builder.in_shared(_place(builder, self.keys, self.pieces.depth, column, part, keys=True))
        whole = builder.fresh()
        builder.emit(f"{whole} = load <4 x i32>, ptr addrspace(3) {pointer}, align 16")
        return [builder.value(f"extractelement <4 x i32> {whole}, i64 {word}", INT32) for word in range(4)]

    def _values(self, tiles: list[Term]) -> Rights:
        builder, width, lane = self.builder, self.pieces.width, Term(self.builder, self.lane)
        matrix = lane.logical_right(3)
        first = self._narrow(tiles[0]) + (matrix & 1) * 8 + (lane & 7)

        def turned(tile: int, piece: int) -> Words:
            found: Words = []
            for pair in (0, 2):
                part = matrix.logical_right(1) + (PARTS * piece + pair)
                place = _place(builder, self.values, width, first + 8 * tile, part, keys=False)
                words = load_matrices(builder, place, transposed=True)
                found += [words[:2], words[2:]]
            return found

        return turned


def _place(builder: ThreadBuilder, base: Register, pieces: int, row: Term, part: Term, *, keys: bool) -> Register:
    """The address (i32) of an access of a row."""
    if keys and pieces % 2 == 0:
        part = part ^ (row & 1) * PARTS
    elif not keys:
        part = part ^ (row & 7 if pieces % 2 == 0 else row.logical_right(1) & 3)
    return builder.add(base, ((row * (PARTS * pieces) + part) * ACCESS_BYTES).register)
