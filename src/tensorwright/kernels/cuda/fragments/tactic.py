"""Products and convolutions with constant right operands, on tensor cores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.fragments.arithmetic import Arithmetic, Products, RoundedProducts, SplitProducts
from tensorwright.kernels.cuda.fragments.packing import pack_weights
from tensorwright.kernels.cuda.fragments.rows import ZEROS_TEXT
from tensorwright.kernels.cuda.fragments.sums import QUAD, SHARED_TEXT
from tensorwright.kernels.cuda.fragments.tiling import Tiling, estimate, tilings
from tensorwright.kernels.cuda.fragments.write import FragmentKernel
from tensorwright.kernels.cuda.function import thread_emitter
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.operands import is_aligned, layouts
from tensorwright.kernels.cuda.problem import Problem, problem_of
from tensorwright.kernels.cuda.product import product_kernel
from tensorwright.kernels.cuda.share import roofline_share
from tensorwright.kernels.tactic import Config, Tactic
from tensorwright.tensor.dtype import BFLOAT16, FLOAT8, FLOAT16, FLOAT32, INT8, UINT8, DType

TYPICAL = CUDA_TARGETS["sm_90"]
"""What estimates were fitted to."""


class Fragments(Tactic[CudaTarget, Tiling]):
    """What all have in common; see `kernels.cuda.fragments`.

    oldest: types of the left operand, and the capability from which on tensor cores multiply them so.
    """

    oldest: ClassVar[Mapping[DType, int]]

    @abstractmethod
    def arithmetic(self, dtype: DType, target: CudaTarget) -> Arithmetic:
        """What multiplies factors of a type."""

    def problem(self, region: Region) -> Problem | None:
        """The product or convolution that a region is."""
        return problem_of(region, self.oldest, together=QUAD)

    def problem_for(self, region: Region, target: CudaTarget) -> Problem | None:
        """The same, if the target multiplies such factors."""
        problem = self.problem(region)
        return None if problem is None or target.capability < self.oldest[problem.dtype] else problem

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[Tiling]]:
        problem = self.problem_for(region, target)
        if problem is None:
            return []
        inputs = layouts(region, problem)
        if not is_aligned(region, inputs, problem.layout, QUAD):
            return []
        splits = self.arithmetic(problem.dtype, target).splits
        return [Config(inputs, problem.layout, tiling) for tiling in tilings(problem, target, splits=splits)]

    def efficiency(self, region: Region, config: Config[Tiling]) -> float:
        problem = self.problem(region)
        assert problem is not None
        return roofline_share(region, estimate(problem, config.options, TYPICAL))

    def emit(self, region: Region, config: Config[Tiling], target: CudaTarget) -> CudaKernel:
        problem, tiling = self.problem(region), config.options
        assert problem is not None
        emitter = thread_emitter(len(region.inputs), region.symbols, target)
        FragmentKernel(region, config, problem, tiling, self.arithmetic(problem.dtype, target), emitter).write()
        weights = pack_weights(problem, rounds=self.rounding > 0)
        return product_kernel(region, config, problem, tiling, target, emitter, weights, f"{SHARED_TEXT}\n{ZEROS_TEXT}")


class FragmentProduct(Fragments):
    """Operands go from memory straight into the registers of `mma` instructions."""

    name = "fragment product"
    oldest = MappingProxyType({FLOAT16: 75, BFLOAT16: 80, INT8: 75, UINT8: 75, FLOAT8: 89})

    def arithmetic(self, dtype: DType, target: CudaTarget) -> Arithmetic:
        return Products(dtype, target)


class SplitFragments(Fragments):
    """In float32, each factor split into two. Infinities give NaN where the definition gives infinities."""

    name = "split fragment product"
    oldest = MappingProxyType({FLOAT32: 80})
    exact = False
    spreads = True

    def arithmetic(self, dtype: DType, target: CudaTarget) -> Arithmetic:
        return SplitProducts(target)


class Tf32Fragments(Fragments):
    """In float32, factors rounded to 10 bits of a mantissa."""

    name = "tf32 fragment product"
    oldest = MappingProxyType({FLOAT32: 80})
    rounding = 2**-11

    def arithmetic(self, dtype: DType, target: CudaTarget) -> Arithmetic:
        return RoundedProducts(target)


TACTICS = (FragmentProduct(), SplitFragments(), Tf32Fragments())
