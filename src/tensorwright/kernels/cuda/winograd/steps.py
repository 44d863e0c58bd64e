"""The loop over the channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Register, literal
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.kernels.cuda.winograd.packing import THREAD
from tensorwright.kernels.cuda.winograd.patches import Patch, Patches
from tensorwright.kernels.cuda.winograd.products import NUMBERS, OWN, Fragment, Products, Sums
from tensorwright.kernels.cuda.winograd.tiling import Tiling
from tensorwright.tensor.dtype import FLOAT32, INT32

BYTES = 4 * NUMBERS
"""Of a thread in a fragment of the transformed input."""
SHARED = "@shared"
SHARED_TEXT = f"{SHARED} = external addrspace(3) global [0 x i8], align 16"


@dataclass(frozen=True)
class Steps(ThreadWriter):
    """Emits the loop: while a step is multiplied, the next one's input is under way; then it is transformed into the
    other stage. Weights are loaded one point ahead.

    steps: of the whole depth; warp, lane: the thread's (i32).
    """

    tiling: Tiling
    emitter: GroupEmitter
    patches: Patches
    products: Products
    steps: int
    warp: Register
    lane: Register

    def sums(self, request: Callable[[], None]) -> list[Sums]:
        """The sums at each of the warp's points, of the block's part of the channels.

        request: has the constants brought near that are read behind the loop.
        """
        builder = self.builder
        first, end = self._part()
        last = builder.sub(end, 1)
        columns = self.products.columns(first, 0)
        self.products.request(first, builder.thread())
        request()
        builder.launch_next()
        builder.wait_for_previous()
        self._store(self.patches.load(first), first)
        zeros = [literal(0.0, FLOAT32)] * (OWN * self.tiling.fragments * THREAD)
        carried = [*zeros, *(word for fragment in columns for word in fragment)]
        with builder.loop(wide(builder, first), wide(builder, end), 1, carried, at_least_once=True) as loop:
            step = builder.convert("trunc", loop.index, INT32)
            builder.meet()
            sums, columns = self._nested(loop.carried[: len(zeros)]), _fours(loop.carried[len(zeros) :])
            sums, columns, patch = self._multiply(step, last, sums, columns)
            self._store(patch, builder.add(step, 1))
            flat = [register for own in sums for four in own for register in four]
            loop.following = [*flat, *(word for fragment in columns for word in fragment)]
        return self._nested(loop.final[: len(zeros)])

    def _part(self) -> tuple[Register, Register]:
        """The block's first step, and the first that is not; of a single block, too, by its number along z, so that the
        assembler sees no loop of few rounds to unroll.
        """
        builder, cluster = self.builder, self.tiling.cluster
        rank = Term(builder, builder.block_index("z"))
        return (rank * self.steps // cluster).register, ((rank + 1) * self.steps // cluster).register

    def _existing(self, step: Register, last: Register) -> Register:
        return self.builder.select(self.builder.compare("slt", step, last), step, last)

    def _multiply(
        self, step: Register, last: Register, sums: list[Sums], columns: list[Fragment]
    ) -> tuple[list[Sums], list[Fragment], Patch]:
        """The sums with a step's products, the next step's weights at the first point, and its patch."""
        products, coming = self.products, self._existing(self.builder.add(step, 1), last)
        own = Term(self.builder, self.warp) * (OWN * self.tiling.point_bytes) + Term(self.builder, self.lane) * BYTES
        stage = self._place(own, step)
        following = products.columns(step, 1)
        first = products.added(sums[0], columns, stage, 0)
        patch = self.patches.load(coming)
        columns = products.columns(coming, 0)
        second = products.added(sums[1], following, stage, 1)
        return [first, second], columns, patch

    def _store(self, patch: Patch, step: Register) -> None:
        """The patch of a step (i32), transformed, into its stage."""
        builder = self.builder
        thread = builder.special_again("tid.x")  # Every register counts while products are added up.
        start = self._place(Term(builder, thread) * BYTES, step)
        for point, value in enumerate(self.patches.transformed(patch)):
            assert value is not None
            place = builder.fresh("p")
            distance = point * self.tiling.point_bytes
            builder.emit(f"{place} = getelementptr i8, ptr addrspace(3) {start}, i32 {distance}")
            builder.emit(f"store {value.typed}, ptr addrspace(3) {place}, align {BYTES}")

    def _place(self, own: Term, step: Register) -> str:
        """A place in the stage of a step (i32), so many bytes behind its beginning."""
        builder, found = self.builder, self.builder.fresh("p")
        offset = own + (Term(builder, step) & 1) * self.tiling.stage_bytes
        builder.emit(f"{found} = getelementptr i8, ptr addrspace(3) {SHARED}, {offset.register.typed}")
        return found

    def _nested(self, flat: list[Register]) -> list[Sums]:
        fours, each = _fours(flat), self.tiling.fragments
        return [fours[start : start + each] for start in range(0, len(fours), each)]


def _fours(flat: list[Register]) -> list[list[Register]]:
    return [flat[start : start + THREAD] for start in range(0, len(flat), THREAD)]
