"""Specialised products whose blocks stay: each computes one tile after the other.

While the warps that multiply finish a tile, stages of the next one are copied already.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tensorwright.codegen.cuda.mbarrier import arrive
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.instructions import Loop
from tensorwright.codegen.values import Register, literal
from tensorwright.kernels.cuda.tiles.specialised import SpecialisedKernel
from tensorwright.kernels.cuda.tiles.steps import Steps
from tensorwright.tensor.dim import product
from tensorwright.tensor.dtype import INT32


class StayingKernel(SpecialisedKernel):
    """Emits the body of a kernel. Both sides go through all stages of all tiles, as if they were those of one."""

    def write(self) -> None:
        builder, tiling = self.builder, self.tiling
        thread = builder.thread()
        self._make_barriers(thread)
        builder.launch_next()
        builder.wait_for_previous()
        with self.emitter.when(builder.compare("eq", thread, tiling.copying)):
            self._copy_tiles()
        with self.emitter.when(builder.compare("slt", thread, tiling.copying)):
            self._multiply_tiles(thread)

    @contextmanager
    def _each_tile(self, parity: int) -> Iterator[tuple[Loop, Register, Register]]:
        """For every tile of the block: the loop, which carries the next stage and the parity of its phase, the tile's
        number among those one below the other, and its first group of columns. parity: of the first stage.
        """
        builder, tiling = self.builder, self.tiling
        first, tiles = wide(builder, builder.block_index()), self.emitter.integer(product(tiling.tiles(self.problem)))
        carried = [literal(0, INT32), literal(parity, INT32)]
        with builder.loop(first, tiles, tiling.staying, carried) as loop, self.emitter.scope():
            yield loop, *self._tile(builder.convert("trunc", loop.index, INT32))

    def _copy_tiles(self) -> None:
        builder, tiling = self.builder, self.tiling
        with self._each_tile(parity=1) as (tiles, row_block, first_group):
            first_row, columns = builder.mul(row_block, tiling.rows), self._columns(first_group)
            with builder.loop(0, Steps(self.problem).count, 1, tiles.carried, at_least_once=True) as loop:
                step = builder.convert("trunc", loop.index, INT32)
                loop.following = self._fill(loop.carried, step, columns, first_row)
            tiles.following = loop.final

    def _multiply_tiles(self, thread: Register) -> None:
        builder, (place, own_row) = self.builder, self._place(thread)
        with self._each_tile(parity=0) as (tiles, row_block, first_group):
            finish = self._finish(thread, place, own_row, row_block, first_group)
            finish.request()
            sums, (*tiles.following, last) = self._accumulated(
                place, Steps(self.problem).count, tiles.carried, lambda index: builder.compare("sge", index, 0)
            )
            arrive(builder, last, builder.compare("eq", place.lane, 0))
            finish.run(sums)
            builder.meet_some(self.tiling.multiplying)  # Threads that part to finish have to multiply together again.
