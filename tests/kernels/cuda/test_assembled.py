"""What NVIDIA's assembler makes of kernels: machine code for every architecture, with all that it keeps in registers.

All configs of all tactics, some 34 000 kernels, are assembled with `--kernels` (`make test-assembled`: 40 minutes of
one core), one of 64 parts of them with `--kernels 3/64`. Those whose text passed before, with the same tools, are left
out: 4 minutes if all are; `--cache-clear` forgets them. Else one config of each tactic is assembled, for one of 64
examples, for others with another `--seed`.
"""

from __future__ import annotations

import inspect
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import blake2b
from itertools import islice
from typing import Any
from zlib import crc32

import llvmlite
import numpy as np
import pytest

from regions.checking import applicable
from regions.collection import EXAMPLES
from regions.example import Example
from regions.remembered import Remembered
from regions.rigs import CudaRig
from regions.sampling import Choose, Part, Rotation, every, key_of
from tensorwright.codegen.cuda import compile as compile_module
from tensorwright.codegen.cuda.compile import assemble, compile_ptx, find_assembler, resources_of
from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget
from tensorwright.kernels.cuda.catalogue import tactics
from tensorwright.kernels.cuda.function import REGISTERS
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.tactic import AnyTactic

SELDOM = 64
"""One of so many examples is assembled."""
SHARES = 32
"""Tests of an architecture, for processes to share."""
AT_ONCE = 16
"""Kernels that the assembler gets at once."""


needs_assembler = pytest.mark.skipif(
    find_assembler() is None, reason="ptxas was not found; the package nvidia-cuda-nvcc has it"
)


@needs_assembler
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("target", CUDA_TARGETS)
def test_kernels_are_assembled_without_spills(
    target: str, share: int, request: pytest.FixtureRequest, rng: np.random.Generator
) -> None:
    part, seed = request.config.getoption("--kernels"), request.config.getoption("--seed")
    examples = list(EXAMPLES.values())[share::SHARES]
    if part:
        chosen = [e for e in examples if Part.parse(part).has(f"assembled {e.name} {target}")]
    else:
        chosen = [e for e in examples if not _turn(e, target, seed) % SELDOM]
    choose = every if part else Rotation(1, seed)
    kernels = [kernel for example in chosen for kernel in _kernels(example, target, choose, rng, CudaRig.tactics)]
    kept = getattr(request.config, "cache", None) if part else None
    passed = Remembered(kept, f"assembled/{target}-{share}", f"{_tools()} {CUDA_TARGETS[target]}")
    known = passed.names()
    new = [(origin, kernel) for origin, kernel in kernels if kernel.name not in known]
    assert not list(_spilling(new, CUDA_TARGETS[target]))
    passed.add(kernel.name for _, kernel in new)


@needs_assembler
@pytest.mark.parametrize("target", CUDA_TARGETS)
def test_a_kernel_of_every_tactic_is_assembled_without_spills(
    target: str, request: pytest.FixtureRequest, rng: np.random.Generator
) -> None:
    seed = request.config.getoption("--seed")
    turns = sorted(EXAMPLES.values(), key=lambda example: _turn(example, target, seed))
    kernels = [_first_kernel(turns, tactic, target, seed, rng) for tactic in CudaRig.tactics]
    assert not list(_spilling(filter(None, kernels), CUDA_TARGETS[target]))


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


@needs_assembler
def test_kernels_take_the_same_alone_and_together(rng: np.random.Generator) -> None:
    target = CUDA_TARGETS["sm_90"]
    chosen = ("convolution-3x3", "warps-layers-float32", "tensor-cores-product")
    kernels = [
        kernel for name in chosen for _, kernel in _kernels(EXAMPLES[name], target.name, Rotation(2, 0), rng, tactics())
    ]
    modules = {kernel.name: compile_ptx(kernel.code, target) for kernel in kernels}
    together = resources_of(list(modules.values()), target)
    assert together.keys() == modules.keys()
    for name, ptx in modules.items():
        alone = resources_of([ptx], target)[name]
        assert (together[name].registers, together[name].spill_bytes) == (alone.registers, alone.spill_bytes)
    assert any(found.spill_bytes for found in together.values())


@cache
def _tools() -> str:
    """What machine code hangs on beside a kernel's text and the target: LLVM, the assembler, how they are called."""
    assembler = subprocess.run([str(find_assembler()), "--version"], capture_output=True, text=True, check=True).stdout
    calls = blake2b(inspect.getsource(compile_module).encode(), digest_size=8).hexdigest()
    return f"{llvmlite.__version__} {assembler} {calls}"


def _turn(example: Example, target: str, seed: int) -> int:
    return crc32(f"{seed} {example.name} {target}".encode())


def _kernels(
    example: Example, target: str, choose: Choose, rng: np.random.Generator, of: Sequence[AnyTactic[Any]]
) -> Iterator[tuple[str, CudaKernel]]:
    """The kernels of some tactics, with what makes them."""
    rig, region = CudaRig(), example.region(rng)
    for tactic, configs in applicable(rig, region, target, of):
        for config in choose(key_of(example, tactic, target), configs):
            yield (
                f"{example.name} on {target} by {tactic.name} {config}",
                tactic.emit(region, config, CUDA_TARGETS[target]),
            )


def _first_kernel(
    examples: Sequence[Example], tactic: AnyTactic[Any], target: str, seed: int, rng: np.random.Generator
) -> tuple[str, CudaKernel] | None:
    """One for the first example that a tactic computes, if it computes any on this target."""
    found = (kernel for example in examples for kernel in _kernels(example, target, Rotation(1, seed), rng, [tactic]))
    return next(found, None)


def _spilling(kernels: Iterable[tuple[str, CudaKernel]], target: CudaTarget) -> Iterator[str]:
    """Those that keep registers in memory, or need more of them than a multiprocessor has."""
    rest = iter(kernels)
    while together := list(islice(rest, AT_ONCE)):
        modules = {kernel.name: compile_ptx(kernel.code, target) for _, kernel in together}
        resources = resources_of(list(modules.values()), target)
        for origin, kernel in together:
            found = resources[kernel.name]
            if found.spill_bytes:
                found = assemble(modules[kernel.name], target)[1][kernel.name]
            if found.spill_bytes or found.registers * kernel.block > REGISTERS:
                yield f"{origin}: {found}"
