"""Products and convolutions of two-byte types and bytes with constant right operands, on tensor cores."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.fragments.packing import pack_weights
from tensorwright.kernels.cuda.fragments.rows import ZEROS_TEXT
from tensorwright.kernels.cuda.fragments.sums import QUAD, SHARED_TEXT
from tensorwright.kernels.cuda.fragments.tiling import Tiling, estimate, tilings
from tensorwright.kernels.cuda.fragments.write import FragmentKernel
from tensorwright.kernels.cuda.function import thread_emitter
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.operands import is_aligned, layouts
from tensorwright.kernels.cuda.problem import problem_of
from tensorwright.kernels.cuda.product import product_kernel
from tensorwright.kernels.cuda.share import roofline_share
from tensorwright.kernels.tactic import Config, Tactic
from tensorwright.tensor.dtype import BFLOAT16, FLOAT8, FLOAT16, INT8, UINT8

OLDEST = {FLOAT16: 75, BFLOAT16: 80, INT8: 75, UINT8: 75, FLOAT8: 89}
"""Types of the left operand, and the capability from which on tensor cores multiply them as they are."""
DTYPES = tuple(OLDEST)


class FragmentProduct(Tactic[CudaTarget, Tiling]):
    """Operands go from memory straight into the registers of `mma` instructions; see `kernels.cuda.fragments`."""

    name = "fragment product"

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[Tiling]]:
        problem = problem_of(region, DTYPES)
        if problem is None or target.capability < OLDEST[problem.dtype]:
            return []
        inputs = layouts(region, problem)
        if not is_aligned(region, inputs, problem.layout, QUAD):
            return []
        return [Config(inputs, problem.layout, tiling) for tiling in tilings(problem, target)]

    def efficiency(self, region: Region, config: Config[Tiling]) -> float:
        problem = problem_of(region, DTYPES)
        assert problem is not None
        return roofline_share(region, estimate(problem, config.options, CUDA_TARGETS["sm_90"]))

    def emit(self, region: Region, config: Config[Tiling], target: CudaTarget) -> CudaKernel:
        problem, tiling = problem_of(region, DTYPES), config.options
        assert problem is not None
        emitter = thread_emitter(len(region.inputs), region.symbols, target)
        FragmentKernel(region, config, problem, tiling, target, emitter).write()
        weights = pack_weights(problem)
        return product_kernel(region, config, problem, tiling, target, emitter, weights, f"{SHARED_TEXT}\n{ZEROS_TEXT}")


TACTICS = (FragmentProduct(),)
