"""What NVIDIA's assembler makes of kernels: machine code for every architecture, with all that it keeps in registers.

All configs of all tactics are assembled with `--kernels`, one of 64 parts of them with `--kernels 3/64` (about two
hours of one core in all), else one config of each tactic for few examples, others with another `--seed`.
"""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

import numpy as np
import pytest

from regions.checking import applicable
from regions.collection import EXAMPLES
from regions.example import Example
from regions.rigs import CudaRig
from regions.sampling import Choose, Part, Rotation, every, key_of
from tensorwright.codegen.cuda.compile import assemble, compile_ptx, find_assembler
from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget
from tensorwright.kernels.cuda.catalogue import tactics
from tensorwright.kernels.cuda.kernel import CudaKernel

SELDOM = 96
"""One of so many examples is assembled."""


needs_assembler = pytest.mark.skipif(
    find_assembler() is None, reason="ptxas was not found; the package nvidia-cuda-nvcc has it"
)


@needs_assembler
@pytest.mark.parametrize("target", CUDA_TARGETS)
def test_kernels_are_assembled_without_spills(
    target: str, request: pytest.FixtureRequest, rng: np.random.Generator
) -> None:
    part, seed = request.config.getoption("--kernels"), request.config.getoption("--seed")
    if part:
        chosen = [e for e in EXAMPLES.values() if Part.parse(part).has(f"assembled {e.name} {target}")]
    else:
        chosen = [e for e in EXAMPLES.values() if not crc32(f"{seed} {e.name} {target}".encode()) % SELDOM]
    choose = every if part else Rotation(1, seed)
    spilling = [found for example in chosen for found in _spilling(example, target, choose, rng)]
    assert not spilling


@needs_assembler
@pytest.mark.parametrize("name", ["tensor-cores-product", "tensor-cores-float8-product", "half-attention-heads"])
@pytest.mark.parametrize(
    "target", [target for target in CUDA_TARGETS.values() if target.capability <= 90], ids=lambda one: one.name
)
def test_code_of_compatible_targets_is_assembled_for_newer_ones(
    target: CudaTarget, name: str, rng: np.random.Generator
) -> None:
    region, oldest = EXAMPLES[name].region(rng), target.compatible()
    kernels = [
        tactic.emit(region, config, oldest) for tactic in tactics() for config in tactic.configs(region, oldest)[:1]
    ]
    assert kernels
    for kernel in kernels:
        ptx = compile_ptx(kernel.code, oldest)
        for newer in (one for one in CUDA_TARGETS.values() if one.capability > oldest.capability):
            assert assemble(ptx, newer)[0]


def _spilling(example: Example, name: str, choose: Choose, rng: np.random.Generator) -> Iterator[str]:
    """The kernels that keep registers in memory, or need more of them than a multiprocessor has."""
    rig, region, target = CudaRig(), example.region(rng), CUDA_TARGETS[name]
    for tactic, configs in applicable(rig, region, name):
        for config in choose(key_of(example, tactic, name), configs):
            wanted = _wanted(tactic.emit(region, config, target), target)
            if wanted:
                yield f"{example.name} on {name} by {tactic.name} {config}: {wanted}"


def _wanted(kernel: CudaKernel, target: CudaTarget) -> str:
    """What a kernel takes, if that is too much."""
    _, resources = assemble(compile_ptx(kernel.code, target), target)
    found = resources[kernel.name]
    fits = not found.spill_bytes and found.registers * kernel.block <= 65536
    return "" if fits else str(found)
