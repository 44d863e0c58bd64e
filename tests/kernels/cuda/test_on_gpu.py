"""What GPUs answer: run by `make test-cuda` on a machine that has one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from cases.case import Array
from regions.checking import Trial, applicable
from regions.collection import EXAMPLES
from regions.example import Symbols
from regions.products import linear
from regions.rigs import CudaRig, SmallStreamProduct, StayingProduct
from regions.sampling import Rotation, every
from tensorwright.codegen.cuda.compile import compile_ptx
from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget, cuda_target_for
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.library import driver
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.catalogue import tactics
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.tiles.tactic import StreamProduct
from tensorwright.kernels.tactic import AnyTactic
from tensorwright.tensor.dtype import FLOAT16
from tensorwright.tune.cuda.bench import CudaBench
from tensorwright.tune.cuda.runner import run_cuda_kernel
from tensorwright.tune.inputs import random_inputs

pytestmark = pytest.mark.cuda


class GpuRig(CudaRig):
    """The architecture of the GPU that is here, with all tactics or some."""

    def __init__(self, context: Context, chosen: Sequence[AnyTactic[CudaTarget]] = tactics()) -> None:
        self.context, self.tactics = context, chosen

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


@pytest.mark.parametrize("tactic", CudaRig.tactics, ids=lambda tactic: tactic.name)
def test_a_sample_of_each_tactic(tactic: AnyTactic[CudaTarget], rig: GpuRig, rng: np.random.Generator) -> None:
    """One config for each of three examples: few enough for the tools that watch every access."""
    target = cuda_target_for(rig.context.properties.capability).name
    fitting = [e for e in EXAMPLES.values() if any(applicable(rig, e.region(rng), target, [tactic]))]
    for example in fitting[:: -(-len(fitting) // 3)]:
        Trial(example, GpuRig(rig.context, [tactic]), rng).check(target, Rotation(1, 0))


ALONE = """
import sys
import numpy as np
from kernels.cuda.test_on_gpu import GpuRig
from regions import rigs
from regions.checking import Trial
from regions.collection import EXAMPLES
from regions.sampling import every
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.library import driver

rig = GpuRig(Context(driver()), [getattr(rigs, sys.argv[2])()])
assert Trial(EXAMPLES[sys.argv[1]], rig, np.random.default_rng(1)).check("sm_90", every)
"""
"""In a process of its own: a kernel whose warps wait in vain never ends."""


@pytest.mark.parametrize("tactic", [StayingProduct(), SmallStreamProduct()], ids=lambda tactic: tactic.name)
@pytest.mark.parametrize("name", [n for n in EXAMPLES if n.startswith("tensor-cores-") and "product" in n])
def test_products_whose_blocks_stay(
    name: str, tactic: AnyTactic[CudaTarget], rig: GpuRig, rng: np.random.Generator
) -> None:
    target = CUDA_TARGETS[cuda_target_for(rig.context.properties.capability).name]
    if not tactic.configs(EXAMPLES[name].region(rng), target):
        pytest.skip("no product of row-major rows for wgmma")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", ALONE, name, type(tactic).__name__]
    done = subprocess.run(command, timeout=120, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("rows", "depth", "columns"), [(1152, 1024, 4096), (2304, 4096, 1024), (1576, 768, 3072)])
def test_products_by_stream_k_are_right_and_the_same_every_time(
    rows: int, depth: int, columns: int, rig: GpuRig, rng: np.random.Generator
) -> None:
    """On all multiprocessors, 40 launches in the same workspace, which leave their counters 0."""
    region, tactic = linear((rows, depth), columns, "columns", FLOAT16).region(rng), StreamProduct()
    target = cuda_target_for(rig.context.properties.capability)
    arrays = random_inputs(region, {}, rng)
    x, weights, bias = (array.astype(np.float32) for array in arrays)
    expected, bench = x @ weights + bias, CudaBench(target, lambda: rig.context)
    configs = tactic.configs(region, target)[:4]
    if not configs:
        pytest.skip("no product by stream-K here")
    for config in configs:
        kernel = tactic.emit(region, config, target)
        code = compile_ptx(kernel.code, target).encode()
        prepared = bench.prepare(region, kernel, code, arrays, {}, {})
        first = prepared.run()
        np.testing.assert_allclose(first, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
        for _ in range(39):
            np.testing.assert_array_equal(prepared.run(), first)
