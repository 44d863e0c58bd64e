"""Specialised products whose blocks stay and hold the sums of a tile, rounded to the type of the product, while they
multiply the next one: what finishing computes, reads and writes goes beside the first steps of that.

Two tiles take more registers than are left beside a warp that copies, since all warps start with as many. So a whole
warpgroup copies, and gives most of its registers to those that multiply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tensorwright.codegen.cuda.matrix import packed_pair, unpacked_pair
from tensorwright.codegen.cuda.mbarrier import arrive
from tensorwright.codegen.cuda.warpgroup import give_registers, take_registers
from tensorwright.codegen.values import Register, literal
from tensorwright.kernels.cuda.tiles.arithmetic import Place, Sums
from tensorwright.kernels.cuda.tiles.finish import Finish, units_of
from tensorwright.kernels.cuda.tiles.staying import StayingKernel
from tensorwright.kernels.cuda.tiles.steps import Steps
from tensorwright.tensor.dtype import BOOL, INT32, INT64

COPYING_REGISTERS, MULTIPLYING_REGISTERS = 24, 240
"""Of a thread; one warpgroup copies and two multiply: three times what they start with."""
MOST_APART = 8
"""Steps beside which a tile is finished."""
PAIRS = 4
"""Registers that hold a unit."""
Portion = Callable[[], None]


class HoldingKernel(StayingKernel):
    """Emits the body of a kernel. Its loop over tiles carries what is held, and where that belongs."""

    def _copy_tiles(self, thread: Register) -> None:
        give_registers(self.builder, COPYING_REGISTERS)
        super()._copy_tiles(thread)

    def _multiply_tiles(self, thread: Register) -> None:
        take_registers(self.builder, MULTIPLYING_REGISTERS)
        builder, (place, own_row) = self.builder, self._place(thread)
        with self._each_tile(0, self._nothing_held()) as (tiles, tile):
            number, parity, *held, row, group = tiles.carried
            where = self._tile(tile)
            self._finish(thread, place, own_row, *where).request()
            portions = self._portions(self._finish(thread, place, own_row, row, group), held)
            *flat, number, parity, last = self._added_beside(portions, place, [number, parity])
            sums = self.arithmetic.finish(builder, self._tiles(flat))
            arrive(builder, last, builder.compare("eq", place.lane, 0))
            tiles.following = [number, parity, *self._held(sums), *where]
        _, _, *held, row, group = tiles.final
        for portion in self._portions(self._finish(thread, place, own_row, row, group), held):
            portion()

    def _nothing_held(self) -> list[Register]:
        """What is held before the first tile: nothing that is written, since its row is behind the last one."""
        _, down = self.tiling.tiles(self.problem)
        row = self.builder.convert("trunc", self.emitter.integer(down), INT32)
        return [*[literal(0, INT32)] * (PAIRS * self.tiling.units), row, literal(0, INT64)]

    def _held(self, sums: Sums) -> list[Register]:
        """Sums rounded, unit by unit, pairs of them in an i32."""
        dtype = self.problem.dtype
        return [
            packed_pair(self.builder, dtype, *unit[at : at + 2])
            for unit in units_of(sums)
            for at in range(0, len(unit), 2)
        ]

    def _portions(self, finish: Finish, held: Sequence[Register]) -> list[Portion]:
        """What emits the end of the tile that is held."""
        builder, dtype = self.builder, self.problem.dtype

        def unit(number: int) -> list[Register]:
            pairs = held[PAIRS * number : PAIRS * (number + 1)]
            return [value for pair in pairs for value in unpacked_pair(builder, dtype, pair)]

        return finish.portions(unit)

    def _added_beside(self, portions: Sequence[Portion], place: Place, first: Sequence[Register]) -> Sequence[Register]:
        """What `_added` gives for all steps of a tile, with portions emitted beside the first ones."""
        builder, steps, carried = self.builder, Steps(self.problem).count, self._nothing_added(first)
        apart = min(steps, MOST_APART)
        for step in range(apart):
            some = portions[step * len(portions) // apart : (step + 1) * len(portions) // apart]
            begin = partial(self._begun_beside, some)
            carried = self._added(place, carried, literal(True, BOOL) if step else None, begin)
        if apart == steps:
            return carried
        with builder.loop(0, steps - apart, 1, carried, at_least_once=True) as loop:
            loop.following = self._added(place, loop.carried, literal(True, BOOL))
        return loop.final

    def _begun_beside(self, portions: Sequence[Portion], place: Place, sums: Sums) -> Sums:
        """Begin the products of a step, and emit portions beside them."""
        begun = self._begun(place, sums)
        for portion in portions:
            portion()
        self.builder.meet_warp()
        return begun
