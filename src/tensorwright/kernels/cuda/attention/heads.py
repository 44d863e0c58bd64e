"""Attention whose keys and values lie in shared memory, for all rows of a block: for many heads."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.cuda.copies import end_group, wait_for_groups
from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.targets import WARP
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Register, literal
from tensorwright.kernels.attention.problem import KnownProblem
from tensorwright.kernels.cuda.attention.near import NearFactors, NearRows
from tensorwright.kernels.cuda.attention.pieces import ACCESS_BYTES, QUADS, ROWS, RUN, WIDTH, Pieces
from tensorwright.kernels.cuda.attention.rows import Place, Rows
from tensorwright.kernels.cuda.attention.scores import ScoreLoop, State
from tensorwright.kernels.cuda.attention.write import batch_position, run_of, score_epilogue, store_result
from tensorwright.kernels.cuda.fragments.arithmetic import Arithmetic
from tensorwright.kernels.cuda.fragments.sums import SHARED
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import FLOAT32, INT32


@dataclass(frozen=True)
class Heads:
    """An attention whose blocks have so many warps, each with 16 rows. splits: as of `Pieces`."""

    problem: KnownProblem
    warps: int
    splits: bool = False

    @property
    def pieces(self) -> Pieces:
        """Of a warp, which goes through all columns."""
        return Pieces(self.problem, 1, self.splits)

    @property
    def threads(self) -> int:
        return WARP * self.warps

    @property
    def columns(self) -> int:
        """In shared memory, behind the last one its copies."""
        return self.pieces.size * self.pieces.columns

    @property
    def key_parts(self) -> int:
        """Accesses of the keys of a column."""
        return QUADS * self.pieces.depth

    @property
    def value_parts(self) -> int:
        """Accesses of the values of a column."""
        return WIDTH // self.pieces.access * self.pieces.width

    @property
    def keys_bytes(self) -> int:
        return self.columns * self.key_parts * ACCESS_BYTES

    @property
    def shared_bytes(self) -> int:
        return self.keys_bytes + self.columns * self.value_parts * ACCESS_BYTES

    @property
    def registers(self) -> int:
        """Registers for the result, a row's queries, and the rest."""
        return 72 + self.pieces.kept_registers

    @property
    def grid(self) -> tuple[Dim, Dim, Dim]:
        return -(-self.problem.rows // (ROWS * self.warps)), self.problem.batches, 1


@dataclass(frozen=True)
class HeadsKernel(ThreadWriter):
    """Emits the body of a kernel."""

    heads: Heads
    arithmetic: Arithmetic
    emitter: GroupEmitter

    def write(self) -> None:
        builder, heads, problem = self.builder, self.heads, self.heads.problem
        warp, lane = builder.warp_and_lane()
        group, quad = Term(builder, lane).logical_right(2).register, (Term(builder, lane) & 3).register
        number = Term(builder, builder.block_index("x")) * heads.warps + Term(builder, warp)
        first_row = wide(builder, (number * ROWS).register)
        place = Place(batch_position(self.emitter, problem), first_row, group, quad)
        base = builder.shared_address(SHARED)
        builder.launch_next()
        builder.wait_for_previous()
        keys = NearRows(heads.pieces, self.emitter, base, heads.key_parts, holds_keys=True)
        values_base = builder.add(base, heads.keys_bytes)
        values = NearRows(heads.pieces, self.emitter, values_base, heads.value_parts, holds_keys=False)
        for copies in (keys, values):
            copies.begin_copies(place.batch, heads.threads)
        end_group(builder)
        rows = Rows(heads.pieces, self.emitter, place)
        factors, scores = NearFactors(keys, values, place, lane), score_epilogue(problem)
        loop = ScoreLoop(rows, factors, self.arithmetic, scores, literal(0, INT32))
        queries = rows.queries()
        wait_for_groups(builder, 0)
        builder.meet()
        self._finish(loop.run(queries), place)

    def _finish(self, state: State, place: Place) -> None:
        """Divide by the sums of powers."""
        builder, one = self.builder, literal(1.0, FLOAT32)
        inverses = [builder.div(one, builder.combined(total, builder.add, 4)) for total in state.total]
        store = self._store_runs if self.heads.pieces.dtype == FLOAT32 else self._store_exchanged
        for half, inverse in enumerate(inverses):
            result = [[builder.mul(value, inverse) for value in tile] for tile in state.result]
            row = builder.add(builder.add(place.first_row, wide(builder, place.group)), 8 * half)
            store(State(state.largest, state.total, result), half, place, row)

    def _store_runs(self, state: State, half: int, place: Place, row: Register) -> None:
        builder, pieces = self.builder, self.heads.pieces
        own = builder.scaled(wide(builder, place.quad), RUN)
        for piece in range(pieces.width):
            column = builder.add(own, WIDTH * piece)
            values = run_of(pieces, state.result, piece, half)
            store_result(self.emitter, pieces.problem, (place.batch, row, column), values)

    def _store_exchanged(self, state: State, half: int, place: Place, row: Register) -> None:
        """Threads with an even and an odd number exchange columns for four neighbours."""
        builder = self.builder
        is_odd = builder.compare("ne", builder.binary("and", place.quad, 1), 0)
        own = (Term(builder, place.quad) & 1) * 8 + Term(builder, place.quad).logical_right(1) * 4
        own_column = wide(builder, own.register)
        for number in range(0, len(state.result), 2):
            even, odd = (tile[2 * half : 2 * half + 2] for tile in state.result[number : number + 2])
            given = [builder.select(is_odd, a, b) for a, b in zip(even, odd, strict=True)]
            taken = [builder.exchanged(value, 1) for value in given]
            first = [builder.select(is_odd, a, b) for a, b in zip(taken, even, strict=True)]
            second = [builder.select(is_odd, a, b) for a, b in zip(odd, taken, strict=True)]
            column = builder.add(own_column, 8 * number)
            store_result(self.emitter, self.heads.problem, (place.batch, row, column), [*first, *second])
