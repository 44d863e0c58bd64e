"""Specialised products whose blocks stay: each computes one tile after the other.

While the warps that multiply finish a tile, stages of the next one are copied already.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tensorwright.codegen.cuda.mbarrier import arrive
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.instructions import Loop
from tensorwright.codegen.values import Register, literal
from tensorwright.kernels.cuda.tiles.arithmetic import Sums
from tensorwright.kernels.cuda.tiles.finish import Finish
from tensorwright.kernels.cuda.tiles.specialised import SpecialisedKernel
from tensorwright.kernels.cuda.tiles.steps import Steps
from tensorwright.tensor.dim import product
from tensorwright.tensor.dtype import INT32, INT64


@dataclass(frozen=True)
class Piece:
    """What a block computes of a tile: so many steps (i64) from a first one (i32) on.

    row_block: the tile's number among those one below the other (i32); first_group: of its columns (i64).
    """

    row_block: Register
    first_group: Register
    first_step: Register
    steps: Register


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
    def _each_piece(self, parity: int) -> Iterator[tuple[Loop, Piece]]:
        """For every tile of the block: the loop, which carries first of all the next stage and the parity of its phase,
        and the piece, here the whole tile. parity: of the first stage.
        """
        builder, tiling = self.builder, self.tiling
        first, tiles = wide(builder, builder.block_index()), self.emitter.integer(product(tiling.tiles(self.problem)))
        carried = [literal(0, INT32), literal(parity, INT32)]
        with builder.loop(first, tiles, tiling.staying, carried) as loop, self.emitter.scope():
            tile = builder.convert("trunc", loop.index, INT32)
            yield loop, self._piece(tile, literal(0, INT32), literal(Steps(self.problem).count, INT64))

    def _piece(self, tile: Register, first_step: Register, steps: Register) -> Piece:
        return Piece(*self._tile(tile), first_step, steps)

    def _copy_tiles(self) -> None:
        builder, tiling = self.builder, self.tiling
        with self._each_piece(parity=1) as (pieces, piece):
            first_row, columns = builder.mul(piece.row_block, tiling.rows), self._columns(piece.first_group)
            with builder.loop(0, piece.steps, 1, pieces.carried[:2], at_least_once=True) as loop:
                step = builder.add(piece.first_step, builder.convert("trunc", loop.index, INT32))
                loop.following = self._fill(loop.carried, step, columns, first_row)
            pieces.following = loop.final

    def _multiply_tiles(self, thread: Register) -> None:
        builder, (place, own_row) = self.builder, self._place(thread)
        with self._each_piece(parity=0) as (pieces, piece):
            finish = self._finish(thread, place, own_row, piece.row_block, piece.first_group)
            finish.request()
            sums, (*pieces.following, last) = self._accumulated(
                place, piece.steps, pieces.carried[:2], lambda index: builder.compare("sge", index, 0)
            )
            arrive(builder, last, builder.compare("eq", place.lane, 0))
            self._end(piece, finish, sums)
            builder.meet_some(self.tiling.multiplying)  # Threads that part to finish have to multiply together again.

    def _end(self, piece: Piece, finish: Finish, sums: Sums) -> None:
        """What becomes of the sums of a piece, here of all of a tile."""
        finish.run(sums)
