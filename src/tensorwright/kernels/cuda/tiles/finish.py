"""What becomes of sums: those of a cluster are added up, bias and epilogue follow, and the results are written."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.codegen.scalar import Lane
from tensorwright.codegen.values import Pointer, Register, literal, register_name
from tensorwright.graph.expression import Variable
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.kernels.cuda.problem import EIGHT, GROUP, Problem
from tensorwright.kernels.cuda.rows import split_row
from tensorwright.kernels.cuda.tiles.arithmetic import Place, Sums
from tensorwright.kernels.cuda.tiles.copy import SHARED
from tensorwright.kernels.cuda.tiles.tiling import ROWS, Tiling
from tensorwright.kernels.tactic import AnyConfig
from tensorwright.tensor.dim import Dim, expression
from tensorwright.tensor.dtype import INT32

NEAR, FAR = "ptr addrspace(3)", "ptr addrspace(7)"


@dataclass(frozen=True)
class Finish(ThreadWriter):
    """Emits the end of a kernel.

    first_row, first_group: of the warpgroup, last_row: that shares its right operand, i64; thread: of the block, i32.
    """

    region: Region
    config: AnyConfig
    problem: Problem
    tiling: Tiling
    emitter: GroupEmitter
    place: Place
    thread: Register
    first_row: Register
    last_row: Register
    first_group: Register

    def run(self, sums: Sums) -> None:
        """Finish all sums of the thread."""
        builder, units = self.builder, _units(sums)
        if self.tiling.cluster > 1:
            builder.meet()
            for number, values in enumerate(units):
                self._leave(number, values)
            builder.meet_cluster()
        for start in range(0, len(units), self.tiling.column_groups):
            self._finish_row(start, units)
        if self.tiling.cluster > 1:
            builder.meet_cluster()

    def _finish_row(self, start: int, units: list[list[Register]]) -> None:
        """The units of one row."""
        builder, emitter = self.builder, self.emitter
        tile, half = divmod(start // self.tiling.column_groups, 2)
        row = builder.add(self.first_row, self._own_row())
        row = builder.add(row, ROWS * tile + EIGHT * half)
        with emitter.when(builder.compare("sle", row, self.last_row)):
            position = self._position(row)
            for group in range(self.tiling.column_groups):
                with emitter.when(self._is_ours(start + group, group)):
                    values = units[start + group] if self.tiling.cluster == 1 else self._total(start + group)
                    self._store(position, group, values)

    def _own_row(self) -> Register:
        builder, place = self.builder, self.place
        own = builder.mul(place.warp, 16)
        return wide(builder, builder.add(own, builder.binary("lshr", place.lane, 2)))

    def _own_column(self) -> Register:
        """The thread's first column in a group."""
        builder = self.builder
        return builder.scaled(wide(builder, builder.binary("and", self.place.lane, 3)), EIGHT)

    def _is_ours(self, unit: int, group: int) -> Register | None:
        """Whether this block finishes a unit, and it exists; None if that is so for all."""
        builder, problem = self.builder, self.problem
        found = None
        if self.tiling.cluster > 1:
            rank = literal(unit % self.tiling.cluster, INT32)
            found = builder.compare("eq", builder.block_index("z"), rank)
        if problem.layout.is_plain and problem.columns % GROUP:
            exists = builder.compare("slt", self._column(group), problem.columns)
            found = exists if found is None else builder.binary("and", found, exists)
        return found

    def _column(self, group: int) -> Register:
        builder = self.builder
        return builder.add(builder.scaled(self._group(group), GROUP), self._own_column())

    def _group(self, group: int) -> Register:
        return self.builder.add(self.first_group, group)

    def _position(self, row: Register) -> list[Dim]:
        """The index along each axis of a row, in variables that the emitter knows."""
        emitter, problem, names = self.emitter, self.problem, list[Dim]()
        for number, (axis, index) in enumerate(zip(problem.row_axes, split_row(emitter, problem, row), strict=True)):
            variable = Variable(f"row{number}", axis.extent)
            emitter.values[variable] = index
            names.append(0 if axis.extent == 1 else expression(variable))
        return names

    def _store(self, row: list[Dim], group: int, values: list[Register]) -> None:
        emitter, problem, builder = self.emitter, self.problem, self.builder
        vector, column = builder.vector_of(values), self._column(group)
        if problem.bias is not None:
            dtype = self.region.inputs[problem.bias].type.dtype
            place = builder.offset(emitter.operands[problem.bias], column, dtype)
            vector = builder.add(vector, builder.load(place, dtype, EIGHT))
        lane = Variable("column", problem.columns if problem.layout.is_plain else GROUP)
        position: tuple[Dim, ...]
        if problem.layout.is_plain:
            emitter.values[lane] = column
            position = (*row, expression(lane))
        else:
            block = Variable("block", problem.groups)
            emitter.values[block], emitter.values[lane] = self._group(group), self._own_column()
            position = (row[0], 0 if problem.groups == 1 else expression(block), *row[1:], expression(lane))
        epilogue = epilogue_of(self.region, self.config.inputs, self.config.output)
        epilogue.store(emitter, Pointer("%out"), vector, position, Lane(lane, EIGHT))

    # ---- the sums of a cluster

    def _leave(self, unit: int, values: list[Register]) -> None:
        for half, at in enumerate(self._places(unit)):
            vector = self.builder.vector_of(values[4 * half : 4 * half + 4])
            self.builder.emit(f"store {vector.typed}, {NEAR} {at}, align 16")

    def _total(self, unit: int) -> list[Register]:
        """The sums of all blocks of the cluster, added in their order."""
        builder, total = self.builder, list[Register]()
        builder.declare(f"declare {FAR} @llvm.nvvm.mapa.shared.cluster({NEAR}, i32)")
        for rank in range(self.tiling.cluster):
            values = [value for place in self._places(unit) for value in self._read(place, rank)]
            total = [builder.add(a, b) for a, b in zip(total, values, strict=True)] if total else values
        return total

    def _read(self, place: str, rank: int) -> list[Register]:
        builder, far = self.builder, self.builder.fresh("p")
        builder.emit(f"{far} = call {FAR} @llvm.nvvm.mapa.shared.cluster({NEAR} {place}, i32 {rank})")
        total = self.problem.total
        vector = builder.value(f"load <4 x {register_name(total)}>, {FAR} {far}, align 16", total, 4)
        return [builder.extract(vector, part) for part in range(4)]

    def _places(self, unit: int) -> list[str]:
        """Where the two halves of a unit lie: ``[unit, half, thread, 4]``."""
        found, kind = list[str](), f"<4 x {register_name(self.problem.total)}>"
        for half in range(2):
            index = self.builder.add(self.thread, (2 * unit + half) * self.tiling.threads)
            found.append(self.builder.fresh("p"))
            self.builder.emit(f"{found[-1]} = getelementptr {kind}, {NEAR} {SHARED}, {index.typed}")
        return found


def _units(sums: Sums) -> list[list[Register]]:
    """A thread's sums of 8 neighbouring columns of a row: row after row, in each group after group."""
    return [
        [tile[4 * eight + 2 * half + e] for eight in range(first, first + 4) for e in range(2)]
        for tile in sums
        for half in range(2)
        for first in range(0, len(tile) // 4, 4)
    ]
