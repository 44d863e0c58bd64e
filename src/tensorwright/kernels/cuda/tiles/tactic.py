"""Products and convolutions with constant right operands, for many rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.function import thread_emitter
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.operands import is_aligned, layouts
from tensorwright.kernels.cuda.problem import BYTES, EIGHT, Problem, problem_of
from tensorwright.kernels.cuda.product import product_kernel
from tensorwright.kernels.cuda.share import roofline_share
from tensorwright.kernels.cuda.tiles.arithmetic import (
    Arithmetic,
    Float8Products,
    MultiplyAdds,
    SplitProducts,
    WarpgroupProducts,
    WarpProducts,
)
from tensorwright.kernels.cuda.tiles.copy import SHARED_TEXT
from tensorwright.kernels.cuda.tiles.packing import pack_tiles
from tensorwright.kernels.cuda.tiles.specialised import (
    SpecialisedKernel,
    SpecialisedTiling,
    left_map,
    specialised_tilings,
    stream_tilings,
)
from tensorwright.kernels.cuda.tiles.staying import StayingKernel
from tensorwright.kernels.cuda.tiles.stream_k import StreamKernel
from tensorwright.kernels.cuda.tiles.tiling import Tiling, estimate, tilings
from tensorwright.kernels.cuda.tiles.write import TileKernel
from tensorwright.kernels.tactic import Config, Tactic
from tensorwright.tensor.dtype import BFLOAT16, FLOAT8, FLOAT16, FLOAT32, DType

TYPICAL = CUDA_TARGETS["sm_90"]
"""What estimates were fitted to."""
FEWER_SUMS = 32
"""Of a thread, beside what the assembler takes for products of float8 on sm_100."""


class _Tiles(Tactic[CudaTarget, Tiling]):
    """What all have in common; see `kernels.cuda.tiles`."""

    dtypes: ClassVar[tuple[DType, ...]]

    @abstractmethod
    def arithmetic(self, dtype: DType, target: CudaTarget) -> Arithmetic:
        """What multiplies factors of a type."""

    def slowdown(self, dtype: DType) -> float:
        """What estimates are multiplied by, for factors of a type."""
        return 1.0

    def problem(self, region: Region) -> Problem | None:
        """The product or convolution that a region is; two-byte columns have to be packed, or contiguous."""
        found = problem_of(region, self.dtypes, moving=True)
        if found is None or found.moving is None or found.moving.depth_step == 1 or found.dtype == FLOAT32:
            return found
        return None

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[Tiling]]:
        problem = self.problem(region)
        if problem is None or not target.has_async_copies:
            return []
        if problem.dtype == FLOAT8 and not target.has_float8_products:
            return []
        inputs = layouts(region, problem)
        if not is_aligned(region, inputs, problem.layout, EIGHT):
            return []
        return [Config(inputs, problem.layout, tiling) for tiling in self.tilings(problem, target)]

    def tilings(self, problem: Problem, target: CudaTarget) -> Sequence[Tiling]:
        """Those worth timing, the most promising first."""
        return tilings(problem, self.arithmetic(problem.dtype, target), target)

    def efficiency(self, region: Region, config: Config[Tiling]) -> float:
        problem = self.problem(region)
        assert problem is not None
        arithmetic = self.arithmetic(problem.dtype, TYPICAL)
        return roofline_share(
            region, self.slowdown(problem.dtype) * estimate(problem, config.options, arithmetic, TYPICAL)
        )

    def emit(self, region: Region, config: Config[Tiling], target: CudaTarget) -> CudaKernel:
        problem, tiling = self.problem(region), config.options
        assert problem is not None
        emitter = thread_emitter(len(region.inputs), region.symbols, target)
        TileKernel(region, config, problem, tiling, self.arithmetic(problem.dtype, target), emitter).write()
        weights = pack_tiles(problem, rounds=self.rounding > 0)
        return product_kernel(region, config, problem, tiling, target, emitter, weights, SHARED_TEXT)


class TiledProduct(_Tiles):
    """In float16, bfloat16, numbers of 8 bits and bytes on tensor cores, and in float32 by multiply-adds."""

    name = "tiled product"
    dtypes = (FLOAT16, BFLOAT16, FLOAT32, FLOAT8, *BYTES)

    def arithmetic(self, dtype: DType, target: CudaTarget) -> Arithmetic:
        return MultiplyAdds() if dtype == FLOAT32 else _tensor_cores(dtype, target)


class SpecialisedProduct(_Tiles):
    """Products of row-major rows with constants by `wgmma`, with a warp that has the copy engine feed the others."""

    name = "specialised product"
    dtypes = (FLOAT16, BFLOAT16, FLOAT8, *BYTES)

    def slowdown(self, dtype: DType) -> float:
        """As measured beside tiles that all threads copy, in 13 products of each type."""
        return 0.97 if dtype.size == 2 else 1.06

    def arithmetic(self, dtype: DType, target: CudaTarget) -> Arithmetic:
        return _tensor_cores(dtype, target)

    def problem(self, region: Region) -> Problem | None:
        found = problem_of(region, self.dtypes)
        return None if found is None or not found.layout.is_plain else found

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[Tiling]]:
        return super().configs(region, target) if target.has_warpgroup_products else []

    def tilings(self, problem: Problem, target: CudaTarget) -> Sequence[Tiling]:
        return specialised_tilings(problem, self.arithmetic(problem.dtype, target), target)

    def emit(self, region: Region, config: Config[Tiling], target: CudaTarget) -> CudaKernel:
        problem, tiling = self.problem(region), config.options
        assert problem is not None
        emitter = thread_emitter(len(region.inputs), region.symbols, target)
        assert isinstance(tiling, SpecialisedTiling)
        kernel = StreamKernel if tiling.stream_k else StayingKernel if tiling.staying else SpecialisedKernel
        kernel(region, config, problem, tiling, self.arithmetic(problem.dtype, target), emitter).write()
        weights, maps = pack_tiles(problem, rounds=False), (left_map(problem, tiling),)
        return product_kernel(
            region, config, problem, tiling, target, emitter, weights, SHARED_TEXT, maps,
            tiling.workspace_bytes, tiling.counter_bytes,
        )  # fmt: skip


class StreamProduct(SpecialisedProduct):
    """The same, with the steps of the last tiles dealt evenly to all blocks."""

    name = "stream-K product"

    def slowdown(self, dtype: DType) -> float:
        """As measured in four products, 1.0 to 1.3."""
        return 1.15

    def tilings(self, problem: Problem, target: CudaTarget) -> Sequence[Tiling]:
        return stream_tilings(problem, self.arithmetic(problem.dtype, target), target)


class SplitProduct(_Tiles):
    """In float32 on tensor cores, each factor split into two.

    Infinities give NaN where the definition gives infinities: one part of the other factor may be 0.
    """

    name = "split product"
    dtypes = (FLOAT32,)
    exact = False
    spreads = True

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[Tiling]]:
        return super().configs(region, target) if target.has_warpgroup_products else []

    def arithmetic(self, dtype: DType, target: CudaTarget) -> Arithmetic:
        return SplitProducts()


class Tf32Product(_Tiles):
    """In float32 on tensor cores, factors rounded to 10 bits of a mantissa."""

    name = "tf32 product"
    dtypes = (FLOAT32,)
    rounding = 2**-11

    def arithmetic(self, dtype: DType, target: CudaTarget) -> Arithmetic:
        return _tensor_cores(dtype, target)


def _tensor_cores(dtype: DType, target: CudaTarget) -> Arithmetic:
    if target.has_warpgroup_products:
        return Float8Products() if dtype == FLOAT8 else WarpgroupProducts(dtype)
    return WarpProducts(dtype, target, FEWER_SUMS) if dtype == FLOAT8 else WarpProducts(dtype, target)


TACTICS = (TiledProduct(), SpecialisedProduct(), StreamProduct(), SplitProduct(), Tf32Product())
