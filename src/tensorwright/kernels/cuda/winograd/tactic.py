"""Convolutions of 3×3 taps in float32, with constant weights."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.fragments.rows import ZEROS_TEXT
from tensorwright.kernels.cuda.function import thread_emitter
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.operands import is_aligned, layouts
from tensorwright.kernels.cuda.product import product_kernel
from tensorwright.kernels.cuda.share import roofline_share
from tensorwright.kernels.cuda.winograd.packing import pack_points
from tensorwright.kernels.cuda.winograd.problem import winograd_of
from tensorwright.kernels.cuda.winograd.steps import SHARED_TEXT
from tensorwright.kernels.cuda.winograd.tiling import QUAD, Tiling, estimate, tilings
from tensorwright.kernels.cuda.winograd.write import WinogradKernel
from tensorwright.kernels.tactic import Config, Tactic

OLDEST = 80
"""The capability from which on tensor cores multiply TF32."""
FEWEST = 16
"""With fewer channels, or columns, transforms cost more than products save."""


class WinogradConvolution(Tactic[CudaTarget, Tiling]):
    """Tiles of 2×2 outputs, 2.25 times fewer multiplications than the definition; see `kernels.cuda.winograd`.

    Infinities give NaN. The error, relative to the largest output, is about 2e-6.
    """

    name = "winograd convolution"
    exact = False
    spreads = True

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[Tiling]]:
        found = winograd_of(region) if target.capability >= OLDEST else None
        if found is None or found.problem.channels < FEWEST or found.problem.columns < FEWEST:
            return []
        inputs, layout = layouts(region, found.problem), found.problem.layout
        if not is_aligned(region, inputs, layout, QUAD):
            return []
        return [Config(inputs, layout, tiling) for tiling in tilings(found.problem, target)]

    def efficiency(self, region: Region, config: Config[Tiling]) -> float:
        found = winograd_of(region)
        assert found is not None
        return roofline_share(region, estimate(found.problem, config.options, CUDA_TARGETS["sm_90"]))

    def emit(self, region: Region, config: Config[Tiling], target: CudaTarget) -> CudaKernel:
        found, tiling = winograd_of(region), config.options
        assert found is not None
        emitter = thread_emitter(len(region.inputs), region.symbols, target)
        WinogradKernel(region, config, found, tiling, target, emitter).write()
        shared, weights = f"{SHARED_TEXT}\n{ZEROS_TEXT}", pack_points(found.problem)
        return product_kernel(region, config, found.problem, tiling, target, emitter, weights, shared)


TACTICS = (WinogradConvolution(),)
