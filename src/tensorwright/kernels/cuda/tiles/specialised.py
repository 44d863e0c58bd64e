"""Products whose warps are specialised: one has the copy engine bring stages, the others multiply them.

Barriers in shared memory stand between them, two for each stage: one that it is full, which counts the bytes that come,
and one that it is empty, at which every warp that multiplies arrives. Nobody else waits for anybody.

Blocks of a cluster split the depth. That they share columns, and copy a part of them to all, was slower in all products
that were timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

from tensorwright.codegen.cuda.mbarrier import (
    BARRIER_BYTES,
    announce,
    arrive,
    copy_box,
    copy_run,
    make_barrier,
    publish_barriers,
    wait_for_phase,
)
from tensorwright.codegen.cuda.targets import WARP, CudaTarget
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.devices.cuda.tensor_map import TensorMap
from tensorwright.kernels.cuda.kernel import COUNTERS_ALIGNMENT, MOST_BLOCKS
from tensorwright.kernels.cuda.problem import GROUP, Problem
from tensorwright.kernels.cuda.tiles.arithmetic import Arithmetic, Place, Sums
from tensorwright.kernels.cuda.tiles.finish import Finish, attend
from tensorwright.kernels.cuda.tiles.steps import Steps
from tensorwright.kernels.cuda.tiles.tiling import (
    ROW_BYTES,
    ROWS,
    WARPGROUP,
    Tiling,
    chosen,
    estimate,
    waves,
)
from tensorwright.kernels.cuda.tiles.write import TileKernel
from tensorwright.tensor.dim import Dim, minimum, product, tuning_value, upper_bound
from tensorwright.tensor.dtype import INT32

WARPS = WARPGROUP // WARP
FEWEST_STAGES = 3
CLUSTERS = (1, 2, 4)
ANSWER_BYTES = 8
MEETING, PART_BYTES_PER_MICROSECOND = 4.0, 68e3
"""Of two rounds to the L2, and of what a multiprocessor gets from there, or brings: as one product on an H200 shows."""
COUNTER_BYTES = 4
MUCH_SLOWER = 1.25
BAND = 8
"""Rows of blocks that are computed together, column after column, so that what they share stays in the L2."""


@dataclass(frozen=True)
class SpecialisedTiling(Tiling):
    """With a warp more, which copies.

    staying: blocks that compute all tiles, one after the other; 0: one for each. stream_k: whether the last tiles are
    dealt to them step by step.
    """

    staying: int = 0
    stream_k: bool = False

    @property
    def threads(self) -> int:
        return self.copying + WARP

    @property
    def copying(self) -> int:
        """The number of the thread that copies."""
        return self.multiplying

    @property
    def shared_bytes(self) -> int:
        return self.answer_start + ANSWER_BYTES * self.stream_k

    @property
    def answer_start(self) -> int:
        """Bytes of shared memory before what one thread tells the others."""
        return self.barriers_start + 2 * self.stages * BARRIER_BYTES

    @property
    def barriers_start(self) -> int:
        """Bytes of shared memory before the barriers: stages, and then sums in their place."""
        return super().shared_bytes

    @property
    def filling(self) -> float:
        return 0.3 if self.staying else super().filling

    @property
    def many_waves(self) -> float:
        return 0 if self.stream_k else inf if self.staying else super().many_waves

    @property
    def meeting(self) -> float:
        return MEETING + 2 * self.part_bytes / PART_BYTES_PER_MICROSECOND if self.stream_k else 0.0

    @property
    def part_bytes(self) -> int:
        """Of the sums of a part of a tile."""
        return 4 * self.rows * self.columns

    @property
    def workspace_bytes(self) -> int:
        """For each block that begins a tile of two both parts, of which the second one is rarely left."""
        return 2 * self.staying * self.part_bytes if self.stream_k else 0

    @property
    def counter_bytes(self) -> int:
        """A counter for each block."""
        return -(-COUNTER_BYTES * self.staying // COUNTERS_ALIGNMENT) * COUNTERS_ALIGNMENT if self.stream_k else 0

    def grid(self, problem: Problem) -> tuple[Dim, Dim, Dim]:
        blocks = minimum(product(self.tiles(problem)), self.staying)
        return (blocks, 1, 1) if self.staying else super().grid(problem)


def left_map(problem: Problem, tiling: Tiling) -> TensorMap:
    """The map of a row-major left operand, whose boxes are what a block copies of it for a step."""
    size = problem.dtype.size
    box = (ROW_BYTES // size, tiling.rows)
    return TensorMap(1 + problem.left, size, (problem.channels, problem.rows), (problem.channels * size,), box)


def specialised_tilings(problem: Problem, arithmetic: Arithmetic, target: CudaTarget) -> list[SpecialisedTiling]:
    """Tilings worth timing, the most promising first."""
    possible = _possible(problem, arithmetic, target)
    return chosen(sorted(possible, key=lambda tiling: estimate(problem, tiling, arithmetic, target)))


def stream_tilings(problem: Problem, arithmetic: Arithmetic, target: CudaTarget) -> list[SpecialisedTiling]:
    """Tilings by stream-K of blocks that stay, where a last wave of few tiles makes them slower, and that are not much
    slower than others, the most promising first.
    """
    possible, found = list(_possible(problem, arithmetic, target)), dict[SpecialisedTiling, float]()
    least = min((estimate(problem, tiling, arithmetic, target) for tiling in possible), default=0.0)
    for tiling in possible:
        level = replace(tiling, stream_k=True)
        if tiling.staying and can_stream(problem, level, target):
            before, after = (waves(problem, one, arithmetic, target) for one in (tiling, level))
            microseconds = estimate(problem, level, arithmetic, target)
            if after < before and microseconds < MUCH_SLOWER * least:
                found[level] = microseconds
    return chosen(sorted(found, key=found.__getitem__))


def _possible(problem: Problem, arithmetic: Arithmetic, target: CudaTarget) -> Iterator[SpecialisedTiling]:
    for row_tiles, warpgroups in ((1, 1), (1, 2), (2, 2)):
        for column_groups in range(1, 9):
            for stages in (FEWEST_STAGES, 4, 6, 8):
                for cluster in CLUSTERS:
                    tiling = SpecialisedTiling(row_tiles, warpgroups, column_groups, cluster, stages)
                    if _fits(problem, tiling, arithmetic, target):
                        yield tiling
                        if _can_stay(problem, tiling, target):
                            yield replace(tiling, staying=target.multiprocessors)


def _fits(problem: Problem, tiling: SpecialisedTiling, arithmetic: Arithmetic, target: CudaTarget) -> bool:
    rows, steps = tuning_value(problem.rows), Steps(problem).count
    return (
        tiling.sums <= arithmetic.most_sums
        and tiling.shared_bytes <= target.block_shared_bytes
        and problem.groups % tiling.column_groups == 0
        and upper_bound(tiling.grid(problem)[1]) <= MOST_BLOCKS
        and (tiling.stages <= steps // tiling.cluster or (tiling.cluster == 1 and tiling.stages == FEWEST_STAGES))
        and (tiling.rows == ROWS or tiling.rows < 2 * rows)
    )


def _can_stay(problem: Problem, tiling: SpecialisedTiling, target: CudaTarget) -> bool:
    """Whether there are more tiles than multiprocessors, each of which has room for one block."""
    is_large = 2 * tiling.shared_bytes > target.l1_bytes
    return is_large and tiling.cluster == 1 and tuning_value(product(tiling.tiles(problem))) > target.multiprocessors


def can_stream(problem: Problem, tiling: SpecialisedTiling, target: CudaTarget) -> bool:
    """Whether a tiling by stream-K has room, and numbers of steps, times blocks, are below 2^31."""
    steps = (upper_bound(product(tiling.tiles(problem))) + 2 * tiling.staying**2) * Steps(problem).count
    return tiling.shared_bytes <= target.block_shared_bytes and steps < 1 << 31


@dataclass(frozen=True)
class _Stage:
    """Where a stage lies, and its barriers, i32."""

    place: Register
    full: Register
    empty: Register


class SpecialisedKernel(TileKernel):
    """Emits the body of a kernel. The left operand's map is its first one."""

    tiling: SpecialisedTiling

    def write(self) -> None:
        builder, tiling = self.builder, self.tiling
        thread = builder.thread()
        self._make_barriers(thread)
        builder.launch_next()
        across, _ = tiling.tiles(self.problem)
        number = builder.add(builder.mul(builder.block_index("y"), across), builder.block_index("x"))
        row_block, first_group = self._tile(number)
        with self.emitter.when(builder.compare("sge", thread, tiling.copying)):
            with builder.when(builder.compare("eq", thread, tiling.copying)):
                self._copy(row_block, first_group)
            attend(builder, tiling)
        with self.emitter.when(builder.compare("slt", thread, tiling.copying)):
            self._multiply(thread, row_block, first_group)

    def _make_barriers(self, thread: Register) -> None:
        """By the thread that copies; all others see them then."""
        builder, tiling = self.builder, self.tiling
        with builder.when(builder.compare("eq", thread, tiling.copying)):
            for stage in self._stages(tiling.stages):
                make_barrier(builder, stage.full, 1)
                make_barrier(builder, stage.empty, WARPS * tiling.warpgroups)
            publish_barriers(builder)
        builder.meet()

    def _tile(self, number: Register) -> tuple[Register, Register]:
        """Of a tile (i32) its number among those one below the other (i32), and its first group of columns (i64)."""
        builder, tiling = self.builder, self.tiling
        across, down = tiling.tiles(self.problem)
        if tuning_value(down) <= BAND:
            row, column = builder.binary("udiv", number, across), builder.binary("urem", number, across)
        else:
            band = builder.mul(builder.binary("udiv", number, BAND * across), BAND)
            inside = builder.sub(number, builder.mul(band, across))
            left = builder.sub(builder.convert("trunc", self.emitter.integer(down), INT32), band)
            height = builder.select(builder.compare("slt", left, BAND), left, literal(BAND, INT32))
            row = builder.add(band, builder.binary("urem", inside, height))
            column = builder.binary("udiv", inside, height)
        return row, builder.scaled(wide(builder, column), tiling.column_groups)

    def _stages(self, count: int) -> list[_Stage]:
        """The first stages."""
        return [self._stage(literal(number, INT32)) for number in range(count)]

    def _stage(self, number: Register) -> _Stage:
        builder, tiling = self.builder, self.tiling
        base, barrier = self._base(), builder.mul(number, BARRIER_BYTES)
        full = builder.add(builder.add(base, tiling.barriers_start), barrier)
        place = builder.add(base, builder.mul(number, tiling.stage_bytes))
        return _Stage(place, full, builder.add(full, tiling.stages * BARRIER_BYTES))

    # ---- the warp that copies, one thread of it

    def _copy(self, row_block: Register, first_group: Register) -> None:
        builder, stages, (first, count) = self.builder, self.tiling.stages, self._part()
        first_row, columns = builder.mul(row_block, self.tiling.rows), self._columns(first_group)
        steps = Steps(self.problem).count // self.tiling.cluster
        ahead = [(stage, builder.add(first, number)) for number, stage in enumerate(self._stages(min(stages, steps)))]
        for stage, step in ahead:
            self._copy_columns(columns, step, stage)
        builder.wait_for_previous()
        for stage, step in ahead:
            self._copy_rows(first_row, step, stage)
        if steps < stages:
            return
        with builder.loop(stages, wide(builder, count), 1, [literal(0, INT32), literal(0, INT32)]) as loop:
            step = builder.add(first, builder.convert("trunc", loop.index, INT32))
            loop.following = self._fill(loop.carried, step, columns, first_row)

    def _fill(self, stage: Sequence[Register], step: Register, columns: Pointer, first_row: Register) -> list[Register]:
        """Begin to copy a step to a stage, given by number and parity, once it is empty; the next stage."""
        number, parity = stage
        place = self._stage(number)
        wait_for_phase(self.builder, place.empty, parity)
        self._copy_columns(columns, step, place)
        self._copy_rows(first_row, step, place)
        return self._next(number, parity)

    def _next(self, number: Register, parity: Register) -> list[Register]:
        """The number of the next stage, and the parity of its phase."""
        builder = self.builder
        is_last = builder.compare("eq", number, self.tiling.stages - 1)
        after = builder.select(is_last, literal(0, INT32), builder.add(number, 1))
        return [after, builder.select(is_last, builder.binary("xor", parity, 1), parity)]

    def _columns(self, first_group: Register) -> Pointer:
        """Where the first step of the first group lies."""
        builder, problem = self.builder, self.problem
        offset = builder.scaled(first_group, Steps(problem).count * self._group)
        return builder.offset(self.emitter.operands[problem.right], offset, problem.dtype)

    @property
    def _group(self) -> int:
        """Elements of a step of a group."""
        return GROUP * Steps(self.problem).channels

    def _copy_columns(self, columns: Pointer, step: Register, stage: _Stage) -> None:
        """Announce a step and begin to copy its columns."""
        builder, problem, tiling = self.builder, self.problem, self.tiling
        announce(builder, stage.full, tiling.stage_bytes)
        along = builder.scaled(wide(builder, step), self._group)
        source, to = builder.offset(columns, along, problem.dtype), builder.add(stage.place, tiling.rows * ROW_BYTES)
        for group in range(tiling.column_groups):
            place = builder.add(to, group * GROUP * ROW_BYTES)
            read = builder.offset(source, group * Steps(problem).count * self._group, problem.dtype)
            copy_run(builder, place, read, GROUP * ROW_BYTES, stage.full)

    def _copy_rows(self, first_row: Register, step: Register, stage: _Stage) -> None:
        channel = self.builder.mul(step, Steps(self.problem).channels)
        copy_box(self.builder, stage.place, Pointer("%map0"), [channel, first_row], stage.full)

    # ---- the warps that multiply

    def _multiply(self, thread: Register, row_block: Register, first_group: Register) -> None:
        place, own_row = self._place(thread)
        finish = self._finish(thread, place, own_row, row_block, first_group)
        finish.request_constants()
        self.builder.wait_for_previous()
        finish.request()
        finish.run(self._sums_of_stages(place))

    def _finish(
        self, thread: Register, place: Place, own_row: Register, row_block: Register, first_group: Register
    ) -> Finish:
        builder, tiling, problem = self.builder, self.tiling, self.problem
        first_row = builder.add(builder.scaled(wide(builder, row_block), tiling.rows), wide(builder, own_row))
        last_row = self.emitter.integer(problem.rows - 1)
        return Finish(
            self.region, self.config, problem, tiling, self.emitter, place, thread, first_row, last_row, first_group
        )

    def _sums_of_stages(self, place: Place) -> Sums:
        builder, count = self.builder, wide(self.builder, self._part()[1])
        filled_again = builder.sub(count, self.tiling.stages)

        def is_filled_again(last: Register) -> Register:
            return builder.binary("and", builder.compare("sge", last, 0), builder.compare("slt", last, filled_again))

        return self._accumulated(place, count, [literal(0, INT32)] * 2, is_filled_again)[0]

    def _accumulated(
        self,
        place: Place,
        count: Register | int,
        first: Sequence[Register],
        is_filled_again: Callable[[Register], Register],
    ) -> tuple[Sums, list[Register]]:
        """The sums of so many stages, and what follows: the next one, its parity, and the last one's barrier.

        first: the first one and its parity. is_filled_again: whether somebody waits for the stage of an index to be
        empty, or of -1, the one before the first.
        """
        builder, tiling = self.builder, self.tiling
        zeros = [literal(0, self.problem.total)] * (tiling.row_tiles * tiling.column_groups * 16)
        is_first = builder.compare("eq", place.lane, 0)
        start = [*zeros, *first, self._stage(first[0]).empty]
        with builder.loop(0, count, 1, start, at_least_once=True) as loop:
            *flat, number, parity, before = loop.carried
            stage, offset = self._stage(number), builder.mul(number, tiling.stage_bytes)
            wait_for_phase(builder, stage.full, parity)
            at = replace(place, left=builder.add(place.left, offset), right=builder.add(place.right, offset))
            begun = self.arithmetic.multiply(builder, at, self._tiles(flat))
            sums = self.arithmetic.settle(builder, self._tiles(flat), begun)
            arrive(builder, before, builder.binary("and", is_filled_again(builder.sub(loop.index, 1)), is_first))
            kept = [register for tile in sums for register in tile]
            loop.following = [*kept, *self._next(number, parity), stage.empty]
        *flat, number, parity, last = loop.final
        return self.arithmetic.finish(builder, self._tiles(flat)), [number, parity, last]
