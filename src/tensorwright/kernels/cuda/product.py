"""From the code of a product to its kernel, however it is split among warps and blocks."""

from __future__ import annotations

from typing import Protocol

from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.devices.cuda.tensor_map import TensorMap
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.function import ATTRIBUTES, signature
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.operands import packings
from tensorwright.kernels.cuda.problem import Problem
from tensorwright.kernels.tactic import AnyConfig, Packing
from tensorwright.tensor.dim import Dim, product, upper_bound


class ProductTiling(Protocol):
    """How a product is dealt to blocks: what its launch has to know. Blocks along z form a cluster."""

    @property
    def threads(self) -> int: ...
    @property
    def registers(self) -> int: ...
    @property
    def shared_bytes(self) -> int: ...
    def grid(self, problem: Problem) -> tuple[Dim, Dim, Dim]: ...


def product_kernel(
    region: Region,
    config: AnyConfig,
    problem: Problem,
    tiling: ProductTiling,
    target: CudaTarget,
    emitter: GroupEmitter,
    weights: Packing,
    shared: str,
    maps: tuple[TensorMap, ...] = (),
    workspace: int = 0,
    counters: int = 0,
) -> CudaKernel:
    """The kernel whose body an emitter has. weights: how the right operand is packed; shared: what else the module
    declares; maps: of operands that it copies boxes of; workspace, counters: bytes, as of `CudaKernel`.
    """
    grid = tiling.grid(problem)
    function = emitter.builder.module(signature(region, tiling.threads, tiling.registers, len(maps)), ATTRIBUTES)
    return CudaKernel(
        text=f"{shared}\n{function}",
        inputs=config.inputs,
        output=config.output,
        tasks=product(grid),
        packings=packings(region, problem, config, weights),
        symbols=region.symbols,
        grid=grid,
        block=tiling.threads,
        cluster=upper_bound(grid[2]),
        shared_bytes=tiling.shared_bytes,
        waits=target.has_dependent_launch,
        maps=maps,
        workspace=workspace,
        counters=counters,
    )
