"""The tactics: a run of small regions by one cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.cluster.plan import Run, run_of
from tensorwright.kernels.cuda.cluster.small import is_small
from tensorwright.kernels.cuda.cluster.stages import Cluster, ProductStage
from tensorwright.kernels.cuda.cluster.write import RunKernel, StageBuilder
from tensorwright.kernels.cuda.fragments.rows import ZEROS_TEXT
from tensorwright.kernels.cuda.fragments.sums import SHARED_TEXT
from tensorwright.kernels.cuda.fragments.tactic import FragmentProduct, Fragments, SplitFragments, Tf32Fragments
from tensorwright.kernels.cuda.function import ATTRIBUTES, REGISTERS, signature, symbol_registers
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.share import roofline_share
from tensorwright.kernels.tactic import Config, Tactic, plain_inputs
from tensorwright.tensor.layout import PLAIN

TYPICAL = CUDA_TARGETS["sm_90"]
"""What estimates are made for."""
FEWEST = 3
"""Stages of a run."""
THREADS = (512, 256)
PORTABLE = 8
"""Blocks of the largest cluster that every GPU allows that has any."""
MOST = 3
"""Clusters that are tried."""
BEGINNING = 1.4
"""Microseconds, as measured: of a launch beside what the stages take."""


class OneCluster(Tactic[CudaTarget, Cluster]):
    """See `kernels.cuda.cluster`."""

    name = "one cluster"
    joins = True
    products: ClassVar[Fragments] = FragmentProduct()

    def found(self, region: Region, cluster: Cluster, target: CudaTarget) -> Run | None:
        """What a cluster does, if it computes the region with this tactic's products."""
        return run_of(region, cluster, target, self.products)

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[Cluster]]:
        if len(region.stages) < FEWEST or not all(map(is_small, region.stages)):
            return []
        sizes = (PORTABLE, 1) if target.has_clusters else (1,)
        clusters = [Cluster(blocks, threads) for blocks in sizes for threads in THREADS]
        runs = {cluster: self.found(region, cluster, target) for cluster in clusters}
        times = {cluster: run.microseconds for cluster, run in runs.items() if run is not None}
        promising = sorted(times, key=times.__getitem__)[:MOST]
        return [Config(plain_inputs(region), PLAIN, cluster) for cluster in promising]

    def efficiency(self, region: Region, config: Config[Cluster]) -> float:
        run = self.found(region, config.options, TYPICAL)
        assert run is not None
        return roofline_share(region, BEGINNING + run.microseconds)

    def emit(self, region: Region, config: Config[Cluster], target: CudaTarget) -> CudaKernel:
        cluster = config.options
        run = self.found(region, cluster, target)
        assert run is not None
        builder = StageBuilder(target=target, blocks=cluster.blocks)
        RunKernel(run, cluster, builder, symbol_registers(region.symbols)).write()
        function = builder.module(signature(region, cluster.threads, REGISTERS // cluster.threads), ATTRIBUTES)
        return CudaKernel(
            text=f"{SHARED_TEXT}\n{ZEROS_TEXT}\n{function}",
            inputs=config.inputs,
            output=config.output,
            tasks=cluster.blocks,
            packings=run.packings,
            symbols=region.symbols,
            workspace=run.workspace,
            grid=(1, 1, cluster.blocks),
            block=cluster.threads,
            cluster=cluster.blocks,
            shared_bytes=max(stage.shared_bytes for stage in run.stages),
            waits=target.has_dependent_launch,
        )


class _WithProducts(OneCluster):
    """What would be the same without its products is not offered twice."""

    def found(self, region: Region, cluster: Cluster, target: CudaTarget) -> Run | None:
        run = super().found(region, cluster, target)
        return run if run is not None and any(isinstance(s, ProductStage) for s in run.stages) else None


class OneClusterSplit(_WithProducts):
    """With products in float32 whose factors are split into two."""

    name = "one cluster, split"
    exact = False
    spreads = True
    products = SplitFragments()


class OneClusterTf32(_WithProducts):
    """With products in float32 whose factors are rounded to 10 bits of a mantissa."""

    name = "one cluster, tf32"
    rounding = Tf32Fragments.rounding
    products = Tf32Fragments()


TACTICS = (OneCluster(), OneClusterSplit(), OneClusterTf32())
