"""Sums of the warps that split the depth, through shared memory, and of the blocks of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from tensorwright.codegen.cuda.targets import WARP
from tensorwright.codegen.cuda.threads import ThreadBuilder
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Register, literal, register_name
from tensorwright.kernels.cuda.fragments.tiling import Tiling
from tensorwright.tensor.dtype import INT32, DType

SHARED = "@shared"
SHARED_TEXT = f"{SHARED} = external addrspace(3) global [0 x float], align 16"
QUAD = 4
"""Neighbouring columns of a row that a thread ends with."""
NEAR, FAR = "ptr addrspace(3)", "ptr addrspace(7)"

Finish = Callable[[Register, list[Register]], None]
"""Takes the number of a unit (i32) and a thread's 8 sums of it."""


@dataclass(frozen=True)
class Sums:
    """Emits the exchange. slot, depth_warp: numbers of this warp among those of other outputs, and of the same ones.

    total: the type of the sums.
    """

    tiling: Tiling
    builder: ThreadBuilder
    lane: Register
    slot: Register
    depth_warp: Register
    total: DType

    def finish(self, units: list[list[Register]], finish: Finish) -> None:
        """Add up the units of all parts and finish each once, somewhere."""
        tiling, builder = self.tiling, self.builder
        if tiling.parts == 1:
            for number, values in enumerate(units):
                finish(literal(number, INT32), values)
            return
        for number, values in enumerate(units):
            self._write(self._place(self.depth_warp, literal(number, INT32)), values)
        builder.meet()
        if tiling.cluster > 1:
            self._sum_block()
            builder.meet_cluster()
        self._deal(lambda unit: finish(unit, self._total(unit)), tiling.cluster > 1)
        if tiling.cluster > 1:
            builder.meet_cluster()

    def _sum_block(self) -> None:
        """Put the sums of this block's warps where the first one's were."""
        if self.tiling.depth_warps > 1:
            first = literal(0, INT32)
            self._deal(lambda unit: self._write(self._place(first, unit), self._block_total(unit)), shared=False)

    def _deal(self, work: Callable[[Register], None], shared: bool) -> None:
        """Have every unit worked on by one warp; if `shared`, of one block of the cluster."""
        tiling, builder = self.tiling, self.builder
        for turn, first in enumerate(range(0, tiling.units, tiling.depth_warps)):
            unit = builder.add(self.depth_warp, first)
            conditions = []
            if first + tiling.depth_warps > tiling.units:
                conditions.append(builder.compare("ult", unit, tiling.units))
            if shared:
                rank = literal(turn % tiling.cluster, INT32)
                conditions.append(builder.compare("eq", builder.block_index("z"), rank))
            with ExitStack() as stack:
                for condition in conditions:
                    stack.enter_context(builder.when(condition))
                work(unit)

    def _total(self, unit: Register) -> list[Register]:
        if self.tiling.cluster == 1:
            return self._block_total(unit)
        place = self._place(literal(0, INT32), unit)
        total: list[Register] | None = None
        for rank in range(self.tiling.cluster):
            far = self.builder.fresh("p")
            name = "@llvm.nvvm.mapa.shared.cluster"
            self.builder.declare(f"declare {FAR} {name}({NEAR}, i32)")
            self.builder.emit(f"{far} = call {FAR} {name}({NEAR} {place}, i32 {rank})")
            total = self._added(total, self._read(far, FAR))
        assert total is not None
        return total

    def _block_total(self, unit: Register) -> list[Register]:
        total: list[Register] | None = None
        for warp in range(self.tiling.depth_warps):
            total = self._added(total, self._read(self._place(literal(warp, INT32), unit), NEAR))
        assert total is not None
        return total

    def _added(self, total: list[Register] | None, values: list[Register]) -> list[Register]:
        return values if total is None else [self.builder.add(a, b) for a, b in zip(total, values, strict=True)]

    def _place(self, warp: Register, unit: Register) -> str:
        """Where a thread's first four sums of a unit lie: ``[slot, warp, unit, half, lane, 4]``."""
        builder, tiling = self.builder, self.tiling
        index = Term(builder, self.slot) * tiling.depth_warps + Term(builder, warp)
        index = (index * tiling.units + Term(builder, unit)) * (8 * WARP) + Term(builder, self.lane) * 4
        name = builder.fresh("p")
        builder.emit(f"{name} = getelementptr float, {NEAR} {SHARED}, {index.register.typed}")
        return name

    def _half(self, place: str, space: str) -> str:
        name = self.builder.fresh("p")
        self.builder.emit(f"{name} = getelementptr float, {space} {place}, i32 {4 * WARP}")
        return name

    def _write(self, place: str, values: list[Register]) -> None:
        builder = self.builder
        for number, at in enumerate((place, self._half(place, NEAR))):
            vector = builder.vector_of(values[4 * number : 4 * number + 4])
            builder.emit(f"store {vector.typed}, {NEAR} {at}, align 16")

    def _read(self, place: str, space: str) -> list[Register]:
        builder, found = self.builder, []
        for at in (place, self._half(place, space)):
            vector = builder.value(f"load {register_name(self.total, 4)}, {space} {at}, align 16", self.total, 4)
            found += [builder.extract(vector, part) for part in range(4)]
        return found
