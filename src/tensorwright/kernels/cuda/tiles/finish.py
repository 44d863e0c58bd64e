"""What becomes of sums: those of a cluster are added up, bias and epilogue follow, and the results are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.targets import WARP
from tensorwright.codegen.cuda.threads import ThreadBuilder, wide
from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.codegen.values import Pointer, Register, literal, register_name
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.kernels.cuda.problem import EIGHT, GROUP, Problem
from tensorwright.kernels.cuda.results import reads_variables, request, result_position, row_position
from tensorwright.kernels.cuda.tiles.arithmetic import Place, Sums
from tensorwright.kernels.cuda.tiles.copy import SHARED
from tensorwright.kernels.cuda.tiles.tiling import ROWS, Tiling
from tensorwright.kernels.tactic import AnyConfig
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import INT32

AT_ONCE, FEW_AT_ONCE, MANY_SUMS = 4, 2, 96
"""Units that are finished together: whatever they read is under way at the same time, and takes registers, of which
there are less with many sums.
"""
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

    def request_constants(self) -> None:
        """Have the constants brought near that finishing reads, by the block's first warp."""
        builder = self.builder
        if not self._is_whole:
            return
        with self.emitter.when(builder.compare("slt", self.thread, WARP)):
            for group in range(self.tiling.column_groups):
                self._request(self.last_row, group, constants=True)

    def request(self) -> None:
        """Have what finishing reads beside constants brought near, which the kernel before may have written.

        Not in clusters: of what their threads have sums of each finishes a part, and few rows are in the L2 anyway.
        """
        builder, last = self.builder, self.last_row
        if self.tiling.cluster > 1 or not self._is_whole or not reads_variables(self.region, self.config):
            return
        for tile in range(self.tiling.row_tiles):
            for half in range(2):
                row = self._row(tile, half)
                row = builder.select(builder.compare("slt", row, last), row, last)
                for group in range(self.tiling.column_groups):
                    self._request(row, group, constants=False)

    def _request(self, row: Register, group: int, *, constants: bool) -> None:
        request(
            self.emitter, self.region, self.config, self.problem,
            row, self._group(group), self._own_column(), EIGHT, constants=constants,
        )  # fmt: skip

    def run(self, sums: Sums) -> None:
        """Finish all sums of the thread."""
        builder, units = self.builder, _units(sums)
        if self.tiling.cluster > 1:
            self._meet_multiplying()
            for number, values in enumerate(units):
                self._leave(number, values)
            builder.meet_cluster()
        for start in range(0, len(units), self.tiling.column_groups):
            self._finish_row(start, units)
        if self.tiling.cluster > 1:
            builder.meet_cluster()

    def _meet_multiplying(self) -> None:
        if self.tiling.multiplying == self.tiling.threads:
            self.builder.meet()
        else:
            self.builder.meet_some(self.tiling.multiplying)

    def _finish_row(self, start: int, units: list[list[Register]]) -> None:
        """The units of one row."""
        builder, emitter = self.builder, self.emitter
        row = self._row(*divmod(start // self.tiling.column_groups, 2))
        with emitter.when(builder.compare("sle", row, self.last_row)):
            position = row_position(emitter, self.problem, row)
            for groups, is_ours in self._shares(start):
                with emitter.when(is_ours):
                    for first in range(0, len(groups), self._at_once):
                        self._store(
                            position, {g: units[start + g] for g in groups[first : first + self._at_once]}, start
                        )

    def _shares(self, start: int) -> Iterator[tuple[list[int], Register | None]]:
        """The groups of a row whose units are finished together, and whether this block does that; None if it does."""
        builder, cluster = self.builder, self.tiling.cluster
        for rank in range(min(cluster, self.tiling.column_groups)):
            groups = list(range(rank, self.tiling.column_groups, cluster))
            owner = literal((start + rank) % cluster, INT32)
            is_ours = builder.compare("eq", builder.block_index("z"), owner) if cluster > 1 else None
            if self._is_whole:
                yield groups, is_ours
                continue
            for group in groups:
                exists = builder.compare("slt", self._column(group), self.problem.columns)
                yield [group], exists if is_ours is None else builder.binary("and", is_ours, exists)

    @property
    def _at_once(self) -> int:
        """Units to finish together: one, if none reads anything but constants."""
        if self.tiling.cluster == 1 and not reads_variables(self.region, self.config):
            return 1
        return FEW_AT_ONCE if self.tiling.sums > MANY_SUMS else AT_ONCE

    @property
    def _is_whole(self) -> bool:
        """Whether all columns of the groups exist."""
        return not self.problem.layout.is_plain or self.problem.columns % GROUP == 0

    def _row(self, tile: int, half: int) -> Register:
        """The thread's row in the upper or lower half of a tile (i64)."""
        builder, place = self.builder, self.place
        own = builder.add(builder.mul(place.warp, 16), builder.binary("lshr", place.lane, 2))
        return builder.add(builder.add(self.first_row, wide(builder, own)), ROWS * tile + EIGHT * half)

    def _own_column(self) -> Register:
        """The thread's first column in a group."""
        builder = self.builder
        return builder.scaled(wide(builder, builder.binary("and", self.place.lane, 3)), EIGHT)

    def _column(self, group: int) -> Register:
        builder = self.builder
        return builder.add(builder.scaled(self._group(group), GROUP), self._own_column())

    def _group(self, group: int) -> Register:
        return self.builder.add(self.first_group, group)

    def _store(self, row: list[Dim], units: Mapping[int, list[Register]], start: int) -> None:
        """Finish units of a row, by group, and write them: whatever they read is requested before the first is written,
        since what is written may be what the next one reads.
        """
        emitter, epilogue = self.emitter, epilogue_of(self.region, self.config.inputs, self.config.output)
        finished = []
        for group, own in units.items():
            values = own if self.tiling.cluster == 1 else self._total(start + group)
            position, lane = result_position(
                emitter, self.problem, row, self._group(group), self._own_column(), EIGHT, group
            )
            value, address = epilogue.apply(emitter, self._biased(values, group), position, lane)
            finished.append((value, address, lane))
        for value, address, lane in finished:
            with emitter.scope(), emitter.in_lanes(lane):
                emitter.store(value, Pointer("%out"), address, epilogue.dtype)

    def _biased(self, values: list[Register], group: int) -> Register:
        builder, bias = self.builder, self.problem.bias
        vector = builder.vector_of(values)
        if bias is None:
            return vector
        dtype = self.region.inputs[bias].type.dtype
        place = builder.offset(self.emitter.operands[bias], self._column(group), dtype)
        return builder.add(vector, builder.load(place, dtype, EIGHT))

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


def attend(builder: ThreadBuilder, tiling: Tiling) -> None:
    """Meet the threads that finish, as often as the whole cluster meets, for those of the block that have no sums."""
    if tiling.cluster > 1:
        builder.meet_cluster()
        builder.meet_cluster()


def _units(sums: Sums) -> list[list[Register]]:
    """A thread's sums of 8 neighbouring columns of a row: row after row, in each group after group."""
    return [
        [tile[4 * eight + 2 * half + e] for eight in range(first, first + 4) for e in range(2)]
        for tile in sums
        for half in range(2)
        for first in range(0, len(tile) // 4, 4)
    ]
