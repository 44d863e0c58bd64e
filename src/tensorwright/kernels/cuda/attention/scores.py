"""The loop of one warp over its columns: scores, powers, and their products with the values."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tensorwright.codegen.cuda.matrix import packed_pair, power_of_two
from tensorwright.codegen.cuda.threads import ThreadBuilder, wide
from tensorwright.codegen.epilogue import Epilogue
from tensorwright.codegen.scalar import Lane
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Register, literal
from tensorwright.graph.expression import Variable
from tensorwright.kernels.cuda.attention.pieces import TILE, WIDTH, Pieces
from tensorwright.kernels.cuda.attention.rows import Factors, Rights, Rows, at_most
from tensorwright.kernels.cuda.fragments.arithmetic import Arithmetic, Sums, Words
from tensorwright.tensor.dim import expression
from tensorwright.tensor.dtype import FLOAT32, INT32

LOWEST = literal(-math.inf, FLOAT32)
TO_TWO = math.log2(math.e)


@dataclass(frozen=True)
class State:
    """What a warp has found so far, for a thread's two rows: the largest scores, its share of the sums of powers, and
    sums of the result: four for every tile of 16 rows by 8 columns.
    """

    largest: list[Register]
    total: list[Register]
    result: Sums

    @property
    def flat(self) -> list[Register]:
        return [*self.largest, *self.total, *(register for tile in self.result for register in tile)]

    @staticmethod
    def of(flat: list[Register]) -> State:
        return State(flat[:2], flat[2:4], [flat[at : at + 4] for at in range(4, len(flat), 4)])


@dataclass(frozen=True)
class ScoreLoop:
    """Emits the loop. first: the first piece of the columns that is the warp's, i32; `pieces.warps` behind it is the
    next one.
    """

    rows: Rows
    factors: Factors
    arithmetic: Arithmetic
    scores: Epilogue
    first: Register

    @property
    def builder(self) -> ThreadBuilder:
        return self.rows.builder

    @property
    def pieces(self) -> Pieces:
        return self.rows.pieces

    def run(self, queries: list[Words]) -> State:
        builder, pieces = self.builder, self.pieces
        zero = literal(0.0, FLOAT32)
        state = State([LOWEST] * 2, [zero] * 2, [[zero] * 4 for _ in range(WIDTH // TILE * pieces.width)])
        start = wide(builder, self.first)
        if pieces.rounds == 1:
            return self._round(start, queries, state)
        with (
            builder.loop(start, pieces.rounds * pieces.warps, pieces.warps, state.flat) as loop,
            self.rows.emitter.scope(),
        ):
            loop.following = self._round(loop.index, queries, State.of(loop.carried)).flat
        return State.of(loop.final)

    def _round(self, piece: Register, queries: list[Words], state: State) -> State:
        """One piece of the columns; those beyond the last have no weight."""
        builder = self.builder
        first = Term(builder, builder.scaled(piece, self.pieces.size))
        columns = [first + TILE * tile for tile in range(self.pieces.tiles)]
        keys, values = self.factors.keys(columns), self.factors.values(columns)
        sums = self._products(queries, keys)
        scores = [self._finished(tile, column) for tile, column in zip(sums, columns, strict=True)]
        largest, powers, factors = self._powers(scores, state)
        total = [self._scaled_sum(state.total[half], factors[half], powers, half) for half in range(2)]
        result = [[builder.mul(r, factors[part // 2]) for part, r in enumerate(tile)] for tile in state.result]
        return State(largest, total, self._weighted(powers, values, result))

    def _products(self, queries: list[Words], keys: list[Words]) -> Sums:
        """Scores of 16 rows by 8 columns, tile by tile."""
        sums = [[literal(0.0, FLOAT32)] * 4 for _ in keys]
        for piece, (upper, lower) in enumerate(zip(*queries, strict=True)):
            own = [[upper[half], lower[half], upper[half + 1], lower[half + 1]] for half in (0, 2)]
            sums = self.arithmetic.multiply(self.builder, [key[piece] for key in keys], own, sums)
        return sums

    def _finished(self, sums: list[Register], first: Term) -> list[Register]:
        """Scores with the epilogue applied; minus infinity beyond the last column."""
        builder, emitter, problem = self.builder, self.rows.emitter, self.pieces.problem
        column = first + Term(builder, builder.scaled(wide(builder, self.rows.place.quad), 2))
        # Beyond the last column nothing may be read: the scores there are replaced by minus infinity below.
        readable = at_most(column, problem.columns - problem.columns % 2 - 2)
        found: list[Register] = []
        for half in range(2):
            row, lane = Variable(f"score{half}", problem.rows), Variable("column", problem.columns)
            with emitter.scope():
                emitter.values[row], emitter.values[lane] = self.rows.existing_row(8 * half), readable
                position = (*self.rows.place.batch, expression(row), expression(lane))
                values = builder.vector_of(sums[2 * half : 2 * half + 2])
                value, _ = self.scores.apply(emitter, values, position, Lane(lane, 2))
            found += [builder.extract(value, part) for part in range(2)]
        if problem.columns == self.pieces.size * self.pieces.warps * self.pieces.rounds:
            return found
        inside = [(column + part).less(problem.columns).register for part in range(2)]
        return [builder.select(inside[part % 2], value, LOWEST) for part, value in enumerate(found)]

    def _powers(self, scores: Sums, state: State) -> tuple[list[Register], Sums, list[Register]]:
        """The largest scores so far, powers of e relative to them, and what earlier sums have to be multiplied by."""
        builder, largest, factors = self.builder, list[Register](), list[Register]()
        powers = [list(tile) for tile in scores]
        for half in range(2):
            most = state.largest[half]
            for tile in scores:
                for part in range(2):
                    most = self._maximum(most, tile[2 * half + part])
            most = builder.combined(most, self._maximum, 4)
            # Nothing but minus infinity so far: powers of anything else are still to come, those of this are 0.
            base = builder.select(builder.compare("oeq", most, LOWEST), literal(0.0, FLOAT32), most)
            for tile, into in zip(scores, powers, strict=True):
                for part in (2 * half, 2 * half + 1):
                    into[part] = power_of_e(builder, builder.sub(tile[part], base))
            largest.append(most)
            factors.append(power_of_e(builder, builder.sub(state.largest[half], base)))
        return largest, powers, factors

    def _maximum(self, left: Register, right: Register) -> Register:
        return self.builder.intrinsic("maximum", (left, right), flags="nsz")

    def _scaled_sum(self, total: Register, factor: Register, powers: Sums, half: int) -> Register:
        builder = self.builder
        total = builder.mul(total, factor)
        for tile in powers:
            for part in range(2):
                total = builder.add(total, tile[2 * half + part])
        return total

    def _weighted(self, powers: Sums, values: Rights, result: Sums) -> Sums:
        """Sums with the products of 16 rows of powers by a piece of values added."""
        left, tiles, found = self._operands(powers), WIDTH // TILE, Sums()
        for piece in range(self.pieces.width):
            own = result[tiles * piece : tiles * (piece + 1)]
            found += self.arithmetic.multiply(self.builder, values(piece), left, own)
        return found

    def _operands(self, powers: Sums) -> Words:
        """Powers as the left operands of two instructions: of two tiles each in two-byte types, of one in float32, of
        which a thread's first column counts as one of the lower half of the depth, its second as one of the upper.
        """
        builder, dtype = self.builder, self.pieces.dtype
        if dtype == FLOAT32:
            return [[builder.bitcast(tile[number], INT32) for number in (0, 2, 1, 3)] for tile in powers]
        packed = [[packed_pair(builder, dtype, *tile[at : at + 2]) for at in (0, 2)] for tile in powers]
        return [[*packed[pair], *packed[pair + 1]] for pair in (0, 2)]


def power_of_e(builder: ThreadBuilder, exponent: Register) -> Register:
    """e to a float32, within two units of the last digit and one more for each 1 of its size; 0 for minus infinity."""
    return power_of_two(builder, builder.mul(exponent, TO_TWO))
