"""What GPUs answer: run by `make test-cuda` on a machine that has one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from cases.case import Array
from regions.checking import Trial
from regions.collection import EXAMPLES
from regions.example import Symbols
from regions.rigs import CudaRig
from regions.sampling import every
from tensorwright.codegen.cuda.targets import cuda_target_for
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.library import driver
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.tune.cuda.runner import run_cuda_kernel

pytestmark = pytest.mark.cuda


class GpuRig(CudaRig):
    """The architecture of the GPU that is here."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def runs(self, *_: object) -> bool:
        return True

    def outputs(
        self,
        region: Region,
        kernel: CudaKernel,
        compiled: str,
        arrays: Sequence[Array],
        symbols: Symbols,
        rng: np.random.Generator,
    ) -> Iterator[tuple[str, Array]]:
        yield "", run_cuda_kernel(self.context, region, kernel, compiled.encode(), arrays, symbols)


@pytest.fixture(scope="module")
def rig() -> GpuRig:
    return GpuRig(Context(driver()))


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_config_equals_the_reference(name: str, rig: GpuRig, rng: np.random.Generator) -> None:
    target = cuda_target_for(rig.context.properties.capability).name
    Trial(EXAMPLES[name], rig, rng).check(target, every)
