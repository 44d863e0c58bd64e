"""Specialised products by stream-K: blocks that stay, and whose last tiles are dealt to them step by step.

Whole tiles fill the multiprocessors wave after wave, and the last wave rarely does. So the tiles of the last two waves
are laid end to end, and every block gets as many steps of them as the others: one tile or more, less than two. Where a
share ends inside of a tile, the block behind it has the rest, and the sums of both parts meet in workspace. (Osama et
al., "Stream-K: Work-centric Parallel Decomposition for Dense Matrix-Matrix Multiplication on the GPU", 2023.)

Nobody waits for another block: each leaves the sums of its part and counts, and the one that comes second adds what it
finds to its own and finishes the tile. So no two blocks have to run at the same time, and whatever else the GPU
computes, none waits in vain. The sum of two numbers is that of the same two in the other order: all runs are the same.

Dealt steps come first, and of them those that end a tile that another block has begun: so who begins a tile finds the
rest there, as a rule, and leaves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tensorwright.codegen.cuda.atomics import count_up, counted
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.instructions import Loop
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.kernels.cuda.tiles.arithmetic import Sums
from tensorwright.kernels.cuda.tiles.finish import Finish
from tensorwright.kernels.cuda.tiles.specialised import COUNTER_BYTES
from tensorwright.kernels.cuda.tiles.staying import Piece, StayingKernel
from tensorwright.kernels.cuda.tiles.steps import Steps
from tensorwright.tensor.dim import Dim, product
from tensorwright.tensor.dtype import INT8, INT32, INT64

AT_ONCE = 4
"""Sums that a thread leaves, or reads, by one instruction."""


@dataclass(frozen=True)
class _Deal:
    """How tiles are dealt, in i32. block: this one; tiles: all; dealt: the first ones, step by step.

    first, end: the block's share of the dealt steps.
    """

    block: Register
    tiles: Register
    dealt: Register
    first: Register
    end: Register


class StreamKernel(StayingKernel):
    """Emits the body of a kernel."""

    @property
    def _depth(self) -> int:
        return Steps(self.problem).count

    def _number(self, value: Dim) -> Register:
        return self.builder.convert("trunc", self.emitter.integer(value), INT32)

    def _deal(self) -> _Deal:
        builder, tiling, block = self.builder, self.tiling, self.builder.block_index_again()
        tiles, blocks = self._number(product(tiling.tiles(self.problem))), self._number(tiling.grid(self.problem)[0])
        waves = builder.add(builder.binary("urem", tiles, tiling.staying), tiling.staying)
        dealt = builder.select(builder.compare("slt", tiles, waves), tiles, waves)
        steps = builder.mul(dealt, self._depth)
        first, end = (
            builder.binary("udiv", builder.mul(number, steps), blocks) for number in (block, builder.add(block, 1))
        )
        return _Deal(block, tiles, dealt, first, end)

    @contextmanager
    def _each_piece(self, parity: int) -> Iterator[tuple[Loop, Piece]]:
        """The loop's index is the piece's first step, of the steps of all tiles laid end to end."""
        builder, depth, carried = self.builder, self._depth, [literal(0, INT32), literal(parity, INT32)]
        deal = self._deal()
        end = builder.mul(deal.tiles, depth)
        with builder.loop(wide(builder, deal.first), wide(builder, end), 1, carried) as loop, self.emitter.scope():
            at = builder.convert("trunc", loop.index, INT32)
            tile, first = builder.binary("udiv", at, depth), builder.binary("urem", at, depth)
            yield loop, self._piece(tile, first, wide(builder, self._steps(at)))
            loop.step = wide(builder, builder.sub(self._next_piece(at), at))

    def _steps(self, at: Register) -> Register:
        """How many the piece that begins at a step has."""
        builder, deal, depth = self.builder, self._deal(), self._depth
        room, left = builder.sub(deal.end, at), builder.sub(literal(depth, INT32), builder.binary("urem", at, depth))
        is_dealt = builder.compare("slt", at, builder.mul(deal.dealt, depth))
        is_short = builder.binary("and", is_dealt, builder.compare("slt", room, left))
        return builder.select(is_short, room, left)

    def _next_piece(self, at: Register) -> Register:
        """Where the piece behind one begins: in the block's share, or with its next whole tile."""
        builder, deal, depth = self.builder, self._deal(), self._depth
        after = builder.add(at, self._steps(at))
        whole = builder.mul(builder.add(deal.dealt, deal.block), depth)
        dealt = builder.select(builder.compare("slt", after, deal.end), after, whole)
        is_dealt = builder.compare("slt", at, builder.mul(deal.dealt, depth))
        return builder.select(is_dealt, dealt, builder.add(at, depth * self.tiling.staying))

    # ---- tiles of two blocks

    def _end(self, piece: Piece, finish: Finish, sums: Sums) -> None:
        """Finish a whole tile, or one of which another block has left the rest."""
        builder, own = self.builder, [register for tile in sums for register in tile]
        is_split = builder.compare("slt", piece.steps, self._depth)
        whole = literal(0, INT64), literal(1, INT64)
        with builder.loop(0, self._one_if(is_split), 1, whole) as once, self.emitter.scope():
            once.following = self._met(piece, finish.thread, own)
        parts, finishes = once.final
        with builder.loop(0, parts, 1, own) as adding:
            adding.following = self._added(adding.carried, self._left(piece, finish.thread, is_own=False))
        with self.emitter.when(builder.compare("ne", finishes, 0)):
            finish.run(self._tiles(adding.final))

    def _met(self, piece: Piece, thread: Register, own: list[Register]) -> list[Register]:
        """Leave the sums of a part if the other one is missing: how many parts to add, and as many tiles to finish."""
        builder, threads = self.builder, self.tiling.multiplying
        counter, second = self._counter(piece), literal(1, INT32)
        is_missing = builder.compare("eq", self._told(thread, lambda: counted(builder, counter)), 0)
        with builder.when(is_missing):
            self._leave(own, self._left(piece, thread, is_own=True))
        builder.meet_some(threads)
        is_second = builder.compare("ne", self._told(thread, lambda: count_up(builder, counter, second)), 0)
        return [self._one_if(is_second)] * 2

    def _told(self, thread: Register, ask: Callable[[], Register]) -> Register:
        """The answer (i32) that the first thread gets, told to all that multiply; between two of them they meet."""
        builder, tiling = self.builder, self.tiling
        place = builder.in_shared(builder.add(self._base(), tiling.answer_start))
        with builder.when(builder.compare("eq", thread, 0)):
            builder.emit(f"store {ask().typed}, ptr addrspace(3) {place}, align 4")
        builder.meet_some(tiling.multiplying)
        return builder.value(f"load i32, ptr addrspace(3) {place}, align 4", INT32)

    def _one_if(self, condition: Register) -> Register:
        """1 or 0, an i64."""
        return self.builder.value(f"zext {condition.typed} to i64", INT64)

    def _begins(self, piece: Piece) -> tuple[Register, Register]:
        """The block that begins a tile of two, and the number of this block's part, i64."""
        builder = self.builder
        part = self._one_if(builder.compare("ne", piece.first_step, 0))
        return builder.sub(wide(builder, builder.block_index()), part), part

    def _counter(self, piece: Piece) -> Pointer:
        """In front of the workspace, one for each block that begins a tile of two."""
        builder, (block, _) = self.builder, self._begins(piece)
        place = builder.add(builder.scaled(block, COUNTER_BYTES), -self.tiling.counter_bytes)
        return builder.offset(Pointer("%workspace"), place, INT8)

    def _left(self, piece: Piece, thread: Register, *, is_own: bool) -> list[Pointer]:
        """Where a thread leaves its sums of a part, or finds the other ones: ``[block, part, sums / 4, thread, 4]``."""
        builder, (block, part), total = self.builder, self._begins(piece), self.problem.total
        part = part if is_own else builder.sub(literal(1, INT64), part)
        step = self.tiling.multiplying * AT_ONCE
        slot = builder.mul(builder.add(builder.scaled(block, 2), part), self.tiling.part_bytes // total.size)
        first = builder.add(slot, builder.scaled(wide(builder, thread), AT_ONCE))
        start = builder.offset(Pointer("%workspace"), first, total)
        return [builder.offset(start, turn * step, total) for turn in range(self.tiling.sums // AT_ONCE)]

    def _leave(self, sums: list[Register], places: list[Pointer]) -> None:
        for number, place in enumerate(places):
            vector = self.builder.vector_of(sums[AT_ONCE * number : AT_ONCE * (number + 1)])
            self.builder.store(vector, place, self.problem.total)

    def _added(self, sums: list[Register], places: list[Pointer]) -> list[Register]:
        builder, found = self.builder, list[Register]()
        for number, place in enumerate(places):
            vector, own = builder.load(place, self.problem.total, AT_ONCE), sums[AT_ONCE * number :]
            found += [builder.add(own[lane], builder.extract(vector, lane)) for lane in range(AT_ONCE)]
        return found
