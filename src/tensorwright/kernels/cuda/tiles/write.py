"""The whole kernel: places, the loop over the depth, and the end."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tensorwright.codegen.cuda.copies import end_group, wait_for_groups
from tensorwright.codegen.cuda.nest import GroupEmitter, split_index
from tensorwright.codegen.cuda.targets import WARP
from tensorwright.codegen.cuda.threads import ThreadBuilder, wide
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.kernels.cuda.problem import Problem
from tensorwright.kernels.cuda.tiles.arithmetic import Arithmetic, Place, Stage, Sums
from tensorwright.kernels.cuda.tiles.columns import ColumnCopier, column_copier
from tensorwright.kernels.cuda.tiles.copy import SHARED, Copier, Row
from tensorwright.kernels.cuda.tiles.finish import Finish
from tensorwright.kernels.cuda.tiles.steps import Steps
from tensorwright.kernels.cuda.tiles.tiling import ROW_BYTES, WARPGROUP, Tiling
from tensorwright.kernels.tactic import AnyConfig
from tensorwright.tensor.dtype import INT32


@dataclass(frozen=True)
class TileKernel(ThreadWriter):
    """Emits the body of a kernel."""

    region: Region
    config: AnyConfig
    problem: Problem
    tiling: Tiling
    arithmetic: Arithmetic
    emitter: GroupEmitter

    def write(self) -> None:
        builder, tiling = self.builder, self.tiling
        thread = builder.thread()
        first_row, last_row = self._rows()
        first_group = builder.scaled(wide(builder, builder.block_index("x")), tiling.column_groups)
        rows = Copier(self.problem, tiling, self.emitter, thread, first_row, last_row)
        columns = column_copier(self.problem, tiling, self.emitter, thread, first_group, first_row)
        place, own_row = self._place(thread)
        finish = Finish(
            self.region, self.config, self.problem, tiling, self.emitter, place, thread,
            builder.add(first_row, wide(builder, own_row)), last_row, first_group,
        )  # fmt: skip
        finish.run(self._sums(rows, columns, place, finish))

    def _rows(self) -> tuple[Register, Register]:
        """The first row of the block, and the last one that shares its right operand, i64."""
        builder, tiling, problem = self.builder, self.tiling, self.problem
        block = wide(builder, builder.block_index("y"))
        if problem.moving is None:
            return builder.scaled(block, tiling.rows), self.emitter.integer(problem.rows - 1)
        batch, row_block = split_index(self.emitter, [problem.batches, tiling.row_blocks(problem)], block)
        before = builder.mul(batch, self.emitter.integer(problem.batch_rows))
        first = builder.add(before, builder.scaled(row_block, tiling.rows))
        return first, builder.add(before, self.emitter.integer(problem.batch_rows - 1))

    def _place(self, thread: Register) -> tuple[Place, Register]:
        """Where the thread's warpgroup finds the first stage, and its first row in the block."""
        builder, tiling = self.builder, self.tiling
        group = builder.binary("udiv", thread, WARPGROUP)
        own_row = builder.mul(group, tiling.rows // tiling.warpgroups)
        warp = builder.binary("udiv", builder.binary("urem", thread, WARPGROUP), WARP)
        base = self._base()
        left = builder.add(base, builder.mul(own_row, ROW_BYTES))
        right = builder.add(base, tiling.rows * ROW_BYTES)
        lane = builder.binary("urem", thread, WARP)
        return Place(left, right, warp, lane, tiling.plane_bytes), own_row

    def _part(self) -> tuple[Register, Register]:
        """The first step that the block adds up, and how many."""
        builder, cluster, steps = self.builder, self.tiling.cluster, Steps(self.problem).count
        if cluster == 1:
            return literal(0, INT32), literal(steps, INT32)
        bounds = []
        for ahead in range(2):
            rank = builder.add(builder.block_index("z"), ahead)
            bounds.append(builder.binary("udiv", builder.mul(rank, steps), cluster))
        return bounds[0], builder.sub(bounds[1], bounds[0])

    def _sums(self, copier: Copier, columns: ColumnCopier, place: Place, finish: Finish) -> Sums:
        """The sums of the block's part of the depth. finish: what will read before they are written."""
        builder, tiling, ahead = self.builder, self.tiling, self.tiling.stages - self.arithmetic.stages_in_use
        first, count = self._part()
        copies = _Copies(tiling, copier, copier.rows(), columns, columns.start(), self._base())
        finish.request_constants()
        copies.begin(first, ahead, is_constant=self.problem.moving is None)
        finish.request()
        zeros = [literal(0, self.problem.total)] * (tiling.row_tiles * tiling.column_groups * 16)
        carried = [*zeros, literal(0, INT32), literal(ahead % tiling.stages * tiling.stage_bytes, INT32)]
        with builder.loop(0, wide(builder, count), 1, carried, at_least_once=True) as loop:
            *flat, reading, writing = loop.carried
            wait_for_groups(builder, ahead - 1)
            self.arithmetic.publish(builder, copies.stage(reading))
            builder.meet()
            at = replace(place, left=builder.add(place.left, reading), right=builder.add(place.right, reading))
            begun = self.arithmetic.multiply(builder, at, self._tiles(flat))
            coming = builder.add(builder.convert("trunc", loop.index, INT32), ahead)
            with builder.when(builder.compare("slt", coming, count)):
                copies.step(builder.add(first, coming), writing)
            end_group(builder)
            sums = self.arithmetic.settle(builder, self._tiles(flat), begun)
            following = [self._next_stage(offset) for offset in (reading, writing)]
            loop.following = [*(register for tile in sums for register in tile), *following]
        return self.arithmetic.finish(builder, self._tiles(loop.final[:-2]))

    def _base(self) -> Register:
        """Where shared memory begins, i32."""
        return self.builder.shared_address(SHARED)

    def _next_stage(self, offset: Register) -> Register:
        builder, last = self.builder, literal((self.tiling.stages - 1) * self.tiling.stage_bytes, INT32)
        after = builder.add(offset, self.tiling.stage_bytes)
        return builder.select(builder.compare("eq", offset, last), literal(0, INT32), after)

    def _tiles(self, flat: list[Register]) -> Sums:
        size = len(flat) // self.tiling.row_tiles
        return [flat[start : start + size] for start in range(0, len(flat), size)]


@dataclass(frozen=True)
class _Copies:
    """Emits the copies of steps into stages. base: where shared memory begins, i32."""

    tiling: Tiling
    copier: Copier
    rows: list[Row]
    columns: ColumnCopier
    start: Pointer
    base: Register

    @property
    def builder(self) -> ThreadBuilder:
        return self.copier.builder

    def begin(self, first: Register, ahead: int, *, is_constant: bool) -> None:
        """The first steps, a group for each; columns that are constants before the kernel before this one has ended."""
        builder = self.builder
        offsets = [literal(stage * self.tiling.stage_bytes, INT32) for stage in range(ahead)]
        steps = [builder.add(first, stage) for stage in range(ahead)]
        if is_constant:
            for step, offset in zip(steps, offsets, strict=True):
                self._columns(step, offset)
        builder.launch_next()
        builder.wait_for_previous()
        for step, offset in zip(steps, offsets, strict=True):
            if not is_constant:
                self._columns(step, offset)
            self.copier.copy_left(self.rows, step, builder.add(self.base, offset))
            end_group(builder)

    def step(self, step: Register, offset: Register) -> None:
        """A step (i32) into the stage at an offset (i32)."""
        self._columns(step, offset)
        self.copier.copy_left(self.rows, step, self.builder.add(self.base, offset))

    def _columns(self, step: Register, offset: Register) -> None:
        self.columns.copy(self.start, step, self._below(offset))

    def _below(self, offset: Register) -> Register:
        """Where the columns of a stage begin."""
        below = literal(self.tiling.rows * ROW_BYTES, INT32)
        return self.builder.add(self.builder.add(self.base, offset), below)

    def stage(self, offset: Register) -> Stage:
        """The stage at an offset, for what is done to it before it is multiplied."""
        copier, columns = self.copier, self.columns
        given = [(place, copier.problem.piece) for place in copier.places(self.builder.add(self.base, offset))]
        right = [(place, columns.elements) for place in columns.places(self._below(offset))]
        if copier.problem.moving is None:
            return Stage(given, right, self.tiling.plane_bytes)
        return Stage([*given, *right], [], self.tiling.plane_bytes)
