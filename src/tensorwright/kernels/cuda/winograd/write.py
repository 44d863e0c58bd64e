"""The whole kernel."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.function import ThreadWriter
from tensorwright.kernels.cuda.winograd.finish import Finish
from tensorwright.kernels.cuda.winograd.meeting import Meeting
from tensorwright.kernels.cuda.winograd.packing import FRAGMENT
from tensorwright.kernels.cuda.winograd.patches import Patches
from tensorwright.kernels.cuda.winograd.problem import EIGHT, PLACES, Winograd
from tensorwright.kernels.cuda.winograd.products import Products
from tensorwright.kernels.cuda.winograd.steps import SHARED, Steps
from tensorwright.kernels.cuda.winograd.tiling import Tiling
from tensorwright.kernels.tactic import AnyConfig
from tensorwright.tensor.dtype import FLOAT32


@dataclass(frozen=True)
class WinogradKernel(ThreadWriter):
    """Emits the body of a kernel."""

    region: Region
    config: AnyConfig
    winograd: Winograd
    tiling: Tiling
    target: CudaTarget
    emitter: GroupEmitter

    def write(self) -> None:
        builder, tiling, problem = self.builder, self.tiling, self.winograd.problem
        warp, lane = builder.warp_and_lane()
        part = (Term(builder, warp) % tiling.parts).register
        patches = Patches(self.winograd, tiling, self.emitter, self._tile(warp, lane), part, lane)
        products = Products(problem, tiling, self.target, self.emitter, self._weights(), warp, lane)
        finish = Finish(self.region, self.config, self.winograd, tiling, self.emitter)
        steps = Steps(tiling, self.emitter, patches, products, tiling.steps(problem), warp, lane)
        Meeting(tiling, builder, SHARED).finish(steps.sums(finish.request_constants), finish.run)

    def _tile(self, warp: Register, lane: Register) -> Register:
        """The tile that the thread brings to the points (i64)."""
        builder, tiling = self.builder, self.tiling
        own = Term(builder, warp) // tiling.parts * EIGHT + Term(builder, lane).logical_right(2)
        first = builder.scaled(wide(builder, builder.block_index("y")), tiling.tiles)
        return builder.add(first, wide(builder, own.register))

    def _weights(self) -> Pointer:
        """The block's first weights."""
        builder, problem = self.builder, self.winograd.problem
        fragments = self.tiling.column_groups * (problem.channels // EIGHT) * PLACES
        offset = builder.scaled(wide(builder, builder.block_index("x")), fragments * FRAGMENT)
        return builder.offset(self.emitter.operands[problem.right], offset, FLOAT32)
