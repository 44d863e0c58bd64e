"""The whole kernel: places, loop, what the warps found put together, epilogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tensorwright.codegen.cuda.nest import GroupEmitter, named_index
from tensorwright.codegen.cuda.targets import WARP
from tensorwright.codegen.cuda.threads import ThreadBuilder, wide
from tensorwright.codegen.epilogue import Epilogue, epilogue_of
from tensorwright.codegen.scalar import Lane
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.graph.expression import Variable
from tensorwright.kernels.attention.problem import KnownProblem
from tensorwright.kernels.cuda.attention.pieces import ROWS, RUN, TILE, WIDTH, Pieces
from tensorwright.kernels.cuda.attention.rows import FarFactors, Place, Rows
from tensorwright.kernels.cuda.attention.scores import ScoreLoop, State, power_of_e
from tensorwright.kernels.cuda.fragments.arithmetic import Arithmetic, Sums
from tensorwright.kernels.cuda.fragments.sums import NEAR, SHARED
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.tensor.dim import Dim, expression
from tensorwright.tensor.dtype import FLOAT32, INT32
from tensorwright.tensor.layout import PLAIN

_STATE = 4
"""Numbers beside the sums that every thread leaves for the others: two largest scores, two sums of powers."""


def score_epilogue(problem: KnownProblem) -> Epilogue:
    """What follows the first product."""
    return epilogue_of(problem.scores, (PLAIN,) * len(problem.scores.inputs), PLAIN)


def result_epilogue(problem: KnownProblem) -> Epilogue:
    """What follows the second product; the output lies with steps of its own."""
    whole = epilogue_of(problem.result, (PLAIN,) * len(problem.result.inputs), PLAIN)
    address: Dim = 0
    for variable, step in zip(whole.variables, problem.output_steps, strict=True):
        address = address if variable.extent == 1 else address + step * expression(variable)
    return replace(whole, flat=replace(whole.flat, address=address))


@dataclass(frozen=True)
class AttentionKernel(ThreadWriter):
    """Emits the body of an attention's kernel."""

    pieces: Pieces
    arithmetic: Arithmetic
    emitter: GroupEmitter

    def write(self) -> None:
        builder, pieces = self.builder, self.pieces
        warp, lane = builder.warp_and_lane()
        group, quad = Term(builder, lane).logical_right(2).register, (Term(builder, lane) & 3).register
        first_row = builder.scaled(wide(builder, builder.block_index("x")), ROWS)
        batch = batch_position(self.emitter, pieces.problem)
        builder.launch_next()
        builder.wait_for_previous()
        rows = Rows(pieces, self.emitter, Place(batch, first_row, group, quad))
        loop = ScoreLoop(rows, FarFactors(rows), self.arithmetic, score_epilogue(pieces.problem), warp)
        state = loop.run(rows.queries())
        total = [builder.combined(value, builder.add, 4) for value in state.total]
        meeting = Meeting(pieces, builder, lane, warp)
        meeting.leave(State(state.largest, total, state.result))
        first_row = builder.add(first_row, wide(builder, group))
        first_column = builder.scaled(wide(builder, quad), RUN)

        def store(half: Register, piece: Register, values: list[Register]) -> None:
            row = builder.add(first_row, builder.scaled(wide(builder, half), 8))
            column = builder.add(first_column, builder.scaled(wide(builder, piece), WIDTH))
            store_result(self.emitter, pieces.problem, (batch, row, column), values)

        meeting.finish(store)


def batch_position(emitter: GroupEmitter, problem: KnownProblem) -> tuple[Dim, ...]:
    """The index of the block's batch, as variables that the emitter knows."""
    if not problem.batch:
        return ()
    number = wide(emitter.builder, emitter.builder.block_index("y"))
    return tuple(named_index(emitter, "batch", problem.batch, number))


def store_result(
    emitter: GroupEmitter,
    problem: KnownProblem,
    place: tuple[tuple[Dim, ...], Register, Register],
    values: list[Register],
) -> None:
    """Finish neighbouring columns of a row. place: the batch's index, the row, the first column (i64)."""
    builder, (batch, row, column) = emitter.builder, place
    exists = Term(builder, row).less(problem.rows)
    if problem.width % WIDTH:
        exists = exists & Term(builder, column).less(problem.width)
    rows, lane = Variable("row", problem.rows), Variable("column", problem.width)
    with emitter.when(exists.register):
        emitter.values[rows], emitter.values[lane] = row, column
        position = (*batch, 0 if problem.rows == 1 else expression(rows), expression(lane))
        epilogue = result_epilogue(problem)
        epilogue.store(emitter, Pointer("%out"), builder.vector_of(values), position, Lane(lane, len(values)))


def run_of(pieces: Pieces, result: Sums, piece: int, half: int) -> list[Register]:
    """A thread's neighbouring columns of a piece of the width, in one of its two rows."""
    count = WIDTH // TILE
    parts = [tile[2 * half : 2 * half + 2] for tile in result[count * piece : count * (piece + 1)]]
    if pieces.dtype == FLOAT32:
        return [part[second] for second in range(2) for part in parts]
    return [value for part in parts for value in part]


@dataclass(frozen=True)
class Meeting:
    """Emits how the warps of a block put together what each has found, through shared memory."""

    pieces: Pieces
    builder: ThreadBuilder
    lane: Register
    warp: Register

    def leave(self, state: State) -> None:
        """Leave a warp's state for all: ``[warp, unit, half, lane, 4]``, then ``[warp, lane, 4]``."""
        for unit in range(self.pieces.units):
            half, piece = unit % 2, unit // 2
            values = run_of(self.pieces, state.result, piece, half)
            for number in range(2):
                place = self._sums(self.warp, literal(unit, INT32), number)
                self._write(place, values[4 * number : 4 * number + 4])
        self._write(self._state(self.warp), [*state.largest, *state.total])
        self.builder.meet()

    def finish(self, store: Callable[[Register, Register, list[Register]], None]) -> None:
        """Have every unit finished by one warp. store: takes the unit's half and piece (i32), and 8 results."""
        builder, pieces = self.builder, self.pieces
        for first in range(0, pieces.units, pieces.warps):
            unit = builder.add(self.warp, first)
            is_full = first + pieces.warps <= pieces.units
            exists = None if is_full else builder.compare("ult", unit, pieces.units)
            with builder.when(exists):
                half, piece = (Term(builder, unit) & 1).register, Term(builder, unit).logical_right(1).register
                store(half, piece, self._total(unit, half))

    def _total(self, unit: Register, half: Register) -> list[Register]:
        builder = self.builder
        is_second = builder.compare("ne", half, 0)
        states = [self._read(self._state(literal(warp, INT32))) for warp in range(self.pieces.warps)]
        largest = [builder.select(is_second, state[1], state[0]) for state in states]
        totals = [builder.select(is_second, state[3], state[2]) for state in states]
        most = largest[0]
        for other in largest[1:]:
            most = builder.intrinsic("maximum", (most, other), flags="nsz")
        lowest = literal(float("-inf"), FLOAT32)
        base = builder.select(builder.compare("oeq", most, lowest), literal(0.0, FLOAT32), most)
        weights = [power_of_e(builder, builder.sub(value, base)) for value in largest]
        total = self._weighted(totals, weights)
        inverse = builder.div(literal(1.0, FLOAT32), total)
        found: list[Register] = []
        for number in range(2):
            parts = [self._read(self._sums(literal(w, INT32), unit, number)) for w in range(self.pieces.warps)]
            found += [self._weighted([part[i] for part in parts], weights) for i in range(4)]
        return [builder.mul(value, inverse) for value in found]

    def _weighted(self, values: list[Register], weights: list[Register]) -> Register:
        builder = self.builder
        total = builder.mul(values[0], weights[0])
        for value, weight in zip(values[1:], weights[1:], strict=True):
            total = builder.add(total, builder.mul(value, weight))
        return total

    def _sums(self, warp: Register, unit: Register, number: int) -> str:
        index = (Term(self.builder, warp) * self.pieces.units + Term(self.builder, unit)) * 2 + number
        return self._place(index * WARP, 0)

    def _state(self, warp: Register) -> str:
        return self._place(Term(self.builder, warp) * WARP, self.pieces.threads * 8 * self.pieces.units)

    def _place(self, quads: Term, start: int) -> str:
        """Four numbers of this thread, behind those of so many threads."""
        builder = self.builder
        index = (quads + Term(builder, self.lane)) * _STATE + start
        name = builder.fresh("p")
        builder.emit(f"{name} = getelementptr float, {NEAR} {SHARED}, {index.register.typed}")
        return name

    def _write(self, place: str, values: list[Register]) -> None:
        vector = self.builder.vector_of(values)
        self.builder.emit(f"store {vector.typed}, {NEAR} {place}, align 16")

    def _read(self, place: str) -> list[Register]:
        vector = self.builder.value(f"load <4 x float>, {NEAR} {place}, align 16", FLOAT32, 4)
        return [self.builder.extract(vector, part) for part in range(4)]
