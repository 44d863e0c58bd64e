"""The loop of one warp over its columns: scores, powers, and their products with the values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tensorwright.codegen.cuda.matrix import multiply_16x8x16, packed_pair, power_of_two, transposed_8x8
from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.epilogue import Epilogue
from tensorwright.codegen.scalar import Lane
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import Variable
from tensorwright.kernels.attention.problem import Factor
from tensorwright.kernels.cuda.attention.pieces import ACCESS, PIECE, Pieces
from tensorwright.kernels.cuda.fragments.rows import load_words
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.tensor.dim import Dim, expression
from tensorwright.tensor.dtype import FLOAT16, FLOAT32, INT32, DType

LOWEST = literal(-math.inf, FLOAT32)
TO_TWO = math.log2(math.e)
Words = list[list[Register]]
Rights = Callable[[int, int], Words]
"""Right factors: for each of four tiles of 8 elements of the width, its lower and its upper rows."""


@dataclass(frozen=True)
class State:
    """What a warp has found so far, for a thread's two rows: the largest scores, its share of the sums of powers, and
    sums of the result: four for every tile of 16 rows by 8 columns.
    """

    largest: list[Register]
    total: list[Register]
    result: Words

    @property
    def flat(self) -> list[Register]:
        return [*self.largest, *self.total, *(register for tile in self.result for register in tile)]

    @staticmethod
    def of(flat: list[Register]) -> State:
        return State(flat[:2], flat[2:4], [flat[at : at + 4] for at in range(4, len(flat), 4)])


@dataclass(frozen=True)
class ScoreLoop(ThreadWriter):
    """Emits the loop. first_row: of the block, i64; batch: the names of the batch's index; group, quad: the thread's
    numbers as in `codegen.cuda.matrix`, i32.
    """

    pieces: Pieces
    dtype: DType
    target: CudaTarget
    emitter: GroupEmitter
    scores: Epilogue
    batch: tuple[Dim, ...]
    first_row: Register
    warp: Register
    group: Register
    quad: Register

    def queries(self) -> list[Words]:
        """The thread's elements of its two rows."""
        pieces = self.pieces
        return [self._row(pieces.problem.q, self._existing_row(8 * half), pieces.depth) for half in range(2)]

    def run(self, queries: list[Words]) -> State:
        builder, pieces = self.builder, self.pieces
        zero = literal(0.0, FLOAT32)
        state = State([LOWEST] * 2, [zero] * 2, [[zero] * 4 for _ in range(4 * pieces.width)])
        start = wide(builder, self.warp)
        if pieces.rounds == 1:
            return self._round(start, queries, state)
        with builder.loop(start, pieces.rounds * pieces.warps, pieces.warps, state.flat) as loop, self.emitter.scope():
            loop.following = self._round(loop.index, queries, State.of(loop.carried)).flat
        return State.of(loop.final)

    def _existing_row(self, distance: int) -> Register:
        row = Term(self.builder, self.first_row) + Term(self.builder, wide(self.builder, self.group))
        return self._at_most(row + distance if distance else row, self.pieces.problem.rows - 1)

    def _at_most(self, value: Term, limit: int) -> Register:
        return value.less(limit).choose(value, limit).register

    def _row(self, factor: Factor, number: Register, pieces: int, axis: int = -2) -> Words:
        """A thread's elements of each piece of a row; zeros beyond its end."""
        builder, emitter = self.builder, self.emitter
        start = emitter.integer(factor.offset(self.batch))
        offset = builder.add(start, builder.mul(number, emitter.integer(factor.steps[axis])))
        inside = builder.scaled(wide(builder, self.quad), ACCESS)
        place = builder.offset(emitter.operands[factor.number], builder.add(offset, inside), FLOAT16)
        extent = factor.shape[-3 - axis]
        assert isinstance(extent, int)
        return [self._piece(place, piece, extent) for piece in range(pieces)]

    def _piece(self, place: Pointer, piece: int, extent: int) -> list[Register]:
        builder, left = self.builder, extent - piece * PIECE
        if left >= PIECE:
            return load_words(builder, builder.offset(place, piece * PIECE, FLOAT16))
        exists = builder.compare("ult", self.quad, left // ACCESS)
        chosen = builder.fresh("p")
        there, first = builder.offset(place, piece * PIECE, FLOAT16), place
        # Where the row has ended, what is read is the thread's part of an earlier piece, or the row's first elements.
        if not piece:
            back = builder.select(exists, i64(0), builder.scaled(wide(builder, self.quad), -ACCESS))
            first = builder.offset(place, back, FLOAT16)
        builder.emit(f"{chosen} = select {exists.typed}, ptr {there.text}, ptr {first.text}")
        words = load_words(builder, Pointer(chosen))
        return [builder.select(exists, word, literal(0, INT32)) for word in words]

    def _round(self, piece: Register, queries: list[Words], state: State) -> State:
        """One piece of 32 columns; those beyond the last have no weight."""
        builder = self.builder
        first = Term(builder, builder.scaled(piece, PIECE))
        columns = [first + 8 * tile for tile in range(4)]
        keys, values = self._keys(columns), self._values(columns)
        sums = [self._products(queries, key) for key in keys]
        scores = [self._finished(tile, column) for tile, column in zip(sums, columns, strict=True)]
        largest, powers, factors = self._powers(scores, state)
        total = [self._scaled_sum(state.total[half], factors[half], powers, half) for half in range(2)]
        result = [[builder.mul(r, factors[part // 2]) for part, r in enumerate(tile)] for tile in state.result]
        return State(largest, total, self._weighted(powers, values, result))

    def _keys(self, tiles: list[Term]) -> list[Words]:
        """Of each tile of 8 columns the thread's elements of one, piece by piece. tiles: their first columns."""
        problem = self.pieces.problem
        return [self._row(problem.k, column, self.pieces.depth, axis=-1) for column in self._own_columns(tiles)]

    def _values(self, tiles: list[Term]) -> Rights:
        """What powers are multiplied by: of two tiles of columns from one on, and of a piece of the width."""
        problem = self.pieces.problem
        words = [self._row(problem.v, column, self.pieces.width) for column in self._own_columns(tiles)]

        def turned(first: int, piece: int) -> Words:
            two = words[first : first + 2]
            return [[transposed_8x8(self.builder, one[piece][tile]) for one in two] for tile in range(4)]

        return turned

    def _own_columns(self, tiles: list[Term]) -> list[Register]:
        builder, last = self.builder, self.pieces.problem.columns - 1
        return [self._at_most(tile + Term(builder, wide(builder, self.group)), last) for tile in tiles]

    def _products(self, queries: list[Words], key: Words) -> list[Register]:
        """Scores of 16 rows by 8 columns."""
        sums = [literal(0.0, FLOAT32)] * 4
        for upper, lower, words in zip(*queries, key, strict=True):
            for half in (0, 2):
                left = [upper[half], lower[half], upper[half + 1], lower[half + 1]]
                right = words[half : half + 2]
                sums = multiply_16x8x16(self.builder, self.target, self.dtype, left, right, sums)
        return sums

    def _finished(self, sums: list[Register], first: Term) -> list[Register]:
        """Scores with the epilogue applied, as powers of two; minus infinity beyond the last column."""
        builder, emitter, problem = self.builder, self.emitter, self.pieces.problem
        column = first + Term(builder, builder.scaled(wide(builder, self.quad), 2))
        # Beyond the last column nothing may be read: the scores there are replaced by minus infinity below.
        readable = self._at_most(column, problem.columns - problem.columns % 2 - 2)
        found: list[Register] = []
        for half in range(2):
            row, lane = Variable(f"score{half}", problem.rows), Variable("column", problem.columns)
            with emitter.scope():
                emitter.values[row], emitter.values[lane] = self._existing_row(8 * half), readable
                position = (*self.batch, expression(row), expression(lane))
                values = builder.vector_of(sums[2 * half : 2 * half + 2])
                value, _ = self.scores.apply(emitter, values, position, Lane(lane, 2))
            found += [builder.extract(value, part) for part in range(2)]
        found = [builder.mul(value, TO_TWO) for value in found]
        if problem.columns == PIECE * self.pieces.warps * self.pieces.rounds:
            return found
        inside = [(column + part).less(problem.columns).register for part in range(2)]
        return [builder.select(inside[part % 2], value, LOWEST) for part, value in enumerate(found)]

    def _powers(self, scores: Words, state: State) -> tuple[list[Register], Words, list[Register]]:
        """The largest scores so far, powers relative to them, and what earlier sums have to be multiplied by."""
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
                    into[part] = power_of_two(builder, builder.sub(tile[part], base))
            largest.append(most)
            factors.append(power_of_two(builder, builder.sub(state.largest[half], base)))
        return largest, powers, factors

    def _maximum(self, left: Register, right: Register) -> Register:
        return self.builder.intrinsic("maximum", (left, right), flags="nsz")

    def _scaled_sum(self, total: Register, factor: Register, powers: Words, half: int) -> Register:
        builder = self.builder
        total = builder.mul(total, factor)
        for tile in powers:
            for part in range(2):
                total = builder.add(total, tile[2 * half + part])
        return total

    def _weighted(self, powers: Words, values: Rights, result: Words) -> Words:
        """Sums with the products of 16 rows of powers by 32 of values added."""
        builder, found = self.builder, list(result)
        for pair in (0, 2):
            left = [
                packed_pair(builder, self.dtype, *powers[pair + deep][2 * half : 2 * half + 2])
                for deep in range(2)
                for half in range(2)
            ]
            for piece in range(self.pieces.width):
                for tile, right in enumerate(values(pair, piece)):
                    number = 4 * piece + tile
                    found[number] = multiply_16x8x16(builder, self.target, self.dtype, left, right, found[number])
        return found
