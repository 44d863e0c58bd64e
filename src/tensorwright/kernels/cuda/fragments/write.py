"""The whole kernel: places, loop, sums, epilogue."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.epilogue import Epilogue, epilogue_of
from tensorwright.codegen.scalar import Lane
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.fragments.arithmetic import Arithmetic
from tensorwright.kernels.cuda.fragments.loop import Depth
from tensorwright.kernels.cuda.fragments.rows import RowReader
from tensorwright.kernels.cuda.fragments.sums import QUAD, Sums
from tensorwright.kernels.cuda.fragments.tiling import Tiling
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.kernels.cuda.problem import GROUP, Problem
from tensorwright.kernels.cuda.results import request, result_position, row_position
from tensorwright.kernels.tactic import AnyConfig
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import INT32

RESULT = Pointer("%out")
"""Where the results of a kernel begin."""


@dataclass(frozen=True)
class FragmentKernel(ThreadWriter):
    """Emits the body of a product's kernel. output: where its results begin."""

    region: Region
    config: AnyConfig
    problem: Problem
    tiling: Tiling
    arithmetic: Arithmetic
    emitter: GroupEmitter
    output: Pointer = RESULT

    def write(self) -> None:
        builder, tiling, problem = self.builder, self.tiling, self.problem
        warp, lane = builder.warp_and_lane()
        depth_warp = self._digit(warp, 1, tiling.depth_warps)
        row_warp = self._digit(warp, tiling.depth_warps, tiling.row_warps)
        column_warp = self._digit(warp, tiling.depth_warps * tiling.row_warps, tiling.column_warps)
        slot = builder.binary("udiv", warp, tiling.depth_warps)
        begin, end = self._part(depth_warp)
        masked = problem.steps % (tiling.parts * tiling.stages) != 0
        reader = RowReader(problem, self.emitter, builder.binary("and", lane, 3), masked)
        first_row = self._scaled_sum(builder.block_index("y"), tiling.row_warps, row_warp, 8 * tiling.row_tiles)
        first_group = self._scaled_sum(builder.block_index("x"), tiling.column_warps, column_warp, tiling.column_groups)
        own_row = builder.add(first_row, wide(builder, builder.binary("lshr", lane, 2)))
        rows = [reader.row(self._existing_row(own_row, 8 * number)) for number in range(tiling.row_tiles)]
        depth = Depth(problem, tiling, self.arithmetic, reader, rows, self._columns(first_group, lane), begin, end)
        right = depth.right_ahead()
        finish = Finish(self, first_row, first_group, lane)
        finish.request_constants()
        builder.launch_next()
        builder.wait_for_previous()
        sums = depth.sums(right)
        Sums(tiling, builder, lane, slot, depth_warp, problem.total).finish(self._units(sums), finish.unit)

    def _digit(self, number: Register, step: int, extent: int) -> Register:
        """A digit of a warp's number."""
        if extent == 1:
            return literal(0, INT32)
        return (Term(self.builder, number) // step % extent).register

    def _part(self, depth_warp: Register) -> tuple[Register, Register]:
        """The first piece of the depth that the warp adds up, and the first that it does not."""
        builder, tiling, steps = self.builder, self.tiling, self.problem.steps
        if tiling.parts == 1:
            return literal(0, INT32), literal(steps, INT32)
        part = Term(builder, builder.block_index("z")) * tiling.depth_warps + Term(builder, depth_warp)
        following = part + 1
        return (part * steps // tiling.parts).register, (following * steps // tiling.parts).register

    def _scaled_sum(self, block: Register, warps: int, warp: Register, size: int) -> Register:
        """``(block · warps + warp) · size`` as an i64."""
        number = (Term(self.builder, block) * warps + Term(self.builder, warp)) * size
        return wide(self.builder, number.register)

    def _existing_row(self, first: Register, distance: int) -> Register:
        """A row, or the last one there is: what is read of rows beyond is never used."""
        builder = self.builder
        row = builder.add(first, distance)
        last = self.emitter.integer(self.problem.rows - 1)
        return builder.select(builder.compare("slt", row, last), row, last)

    def _columns(self, first_group: Register, lane: Register) -> list[Pointer]:
        builder, problem = self.builder, self.problem
        found = []
        last = i64(problem.groups - 1)
        for number in range(self.tiling.column_groups):
            group = builder.add(first_group, number)
            group = builder.select(builder.compare("slt", group, last), group, last)
            offset = builder.scaled(group, problem.steps * GROUP * problem.slab)
            offset = builder.add(offset, builder.scaled(wide(builder, lane), problem.piece))
            found.append(builder.offset(self.emitter.operands[problem.right], offset, problem.dtype))
        return found

    def _units(self, sums: list[list[Register]]) -> list[list[Register]]:
        """A thread's sums of 8 rows by a group of columns: 4 neighbouring columns of one row, then of the next."""
        return [
            [*(tile[part] for tile in pair for part in (0, 2)), *(tile[part] for tile in pair for part in (1, 3))]
            for pair in zip(sums[::2], sums[1::2], strict=True)
        ]


@dataclass(frozen=True)
class Finish:
    """Emits what is done with finished sums: bias, epilogue, store. first_row, first_group: of the warp, i64."""

    kernel: FragmentKernel
    first_row: Register
    first_group: Register
    lane: Register

    def unit(self, number: Register, values: list[Register]) -> None:
        """Store 4 neighbouring columns of two rows. number: of the unit in the warp, i32."""
        kernel, builder = self.kernel, self.kernel.builder
        unit, groups = Term(builder, number), kernel.tiling.column_groups
        tile = wide(builder, (unit // groups).register)
        own = wide(builder, ((Term(builder, self.lane) & 3) << 1).register)
        first = builder.add(builder.add(self.first_row, builder.scaled(tile, 8)), own)
        group = builder.add(self.first_group, wide(builder, (unit % groups).register))
        emitter, epilogue = kernel.emitter, epilogue_of(kernel.region, kernel.config.inputs, kernel.config.output)
        with emitter.scope():
            finished = []
            for half in range(2):  # What is read for both is requested before the first is written.
                row = (Term(builder, first) + half).register
                exists, vector = self._exists(row, group), builder.vector_of(values[QUAD * half : QUAD * half + QUAD])
                finished.append((exists, *self._finished(epilogue, exists, row, group, vector, half)))
            for exists, value, address, lane in finished:
                with emitter.when(exists), emitter.in_lanes(lane):
                    emitter.store(value, kernel.output, address, epilogue.dtype)

    def _finished(
        self, epilogue: Epilogue, exists: Register, row: Register, group: Register, values: Register, number: int
    ) -> tuple[Register, Dim, Lane]:
        """What becomes of 4 neighbouring columns of a row, and its address; if they do not exist, of the first ones.

        number: tells the rows apart.
        """
        kernel, emitter, builder = self.kernel, self.kernel.emitter, self.kernel.builder
        problem = kernel.problem
        row, group, inside = (builder.select(exists, index, i64(0)) for index in (row, group, self._inside()))
        if problem.bias is not None:
            dtype = kernel.region.inputs[problem.bias].type.dtype
            column = builder.add(builder.scaled(group, GROUP), inside)
            place = builder.offset(emitter.operands[problem.bias], column, dtype)
            values = builder.add(values, builder.load(place, dtype, QUAD))
        names = row_position(emitter, problem, row, number)
        position, lane = result_position(emitter, problem, names, group, inside, QUAD, number)
        return *epilogue.apply(emitter, values, position, lane), lane

    def _inside(self) -> Register:
        """The thread's first column in its group."""
        builder = self.kernel.builder
        return builder.scaled(wide(builder, builder.binary("lshr", self.lane, 2)), QUAD)

    def _exists(self, row: Register, group: Register) -> Register:
        kernel, builder = self.kernel, self.kernel.builder
        problem = kernel.problem
        exists = builder.compare("slt", row, kernel.emitter.integer(problem.rows))
        column = builder.add(builder.scaled(group, GROUP), self._inside())
        columns = problem.columns if problem.layout.is_plain else problem.groups * GROUP
        return builder.binary("and", exists, builder.compare("slt", column, columns))

    def request_constants(self) -> None:
        """Have what finishing reads of constants brought near, for each group of columns that there is."""
        kernel, builder = self.kernel, self.kernel.builder
        for number in range(kernel.tiling.column_groups):
            group = builder.add(self.first_group, number)
            with builder.when(self._exists(self.first_row, group)):
                request(
                    kernel.emitter, kernel.region, kernel.config, kernel.problem,
                    self.first_row, group, self._inside(), QUAD, constants=True,
                )  # fmt: skip
