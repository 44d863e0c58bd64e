"""The GPU architectures that code is generated for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tensorwright.base.errors import BuildError
from tensorwright.codegen.target import Target
from tensorwright.devices.cuda.context import CORES
from tensorwright.plan.stamp import OR_NEWER

TRIPLE = "nvptx64-nvidia-cuda"
WARP = 32
LEAST_SHARED = 99 * 1024
"""Shared memory that a block may have on every GPU of compute capability 8.0 or later."""


@dataclass(frozen=True)
class CudaTarget(Target):
    """An architecture of NVIDIA GPUs. A thread is the scalar unit: vectors of code generation have one lane.

    capability: ten times the compute capability. block_shared_bytes: shared memory that one block may ask for.
    multiprocessors, l2_bytes: of the usual GPU of the architecture, where no GPU is there to be asked.
    """

    capability: int = 0
    block_shared_bytes: int = 48 * 1024
    multiprocessors: int = 1

    @property
    def is_compatible(self) -> bool:
        """Whether newer GPUs run its code, too, compiled once more from PTX."""
        return self.name.endswith(OR_NEWER)

    def compatible(self) -> CudaTarget:
        """What this architecture has in common with all newer ones: none of the features with an "a" (`wgmma`), and no
        more shared memory than the least of them has.
        """
        if self.is_compatible:
            return self
        return replace(
            self,
            name=f"{self.name}{OR_NEWER}",
            cpu=self.name,
            block_shared_bytes=min(self.block_shared_bytes, LEAST_SHARED),
        )

    @property
    def has_clusters(self) -> bool:
        """Whether blocks can work in clusters that reach each other's shared memory."""
        return self.capability >= 90

    @property
    def has_dependent_launch(self) -> bool:
        """Whether a kernel can start before the one before it has ended, and wait for it where it needs to."""
        return self.capability >= 90

    @property
    def has_async_copies(self) -> bool:
        """Whether threads can copy from global to shared memory without registers."""
        return self.capability >= 80

    @property
    def has_float8_products(self) -> bool:
        """Whether tensor cores multiply numbers of 8 bits."""
        return self.capability >= 89

    @property
    def has_warpgroup_products(self) -> bool:
        """Whether warpgroups multiply tiles that lie in shared memory: sm_90a alone."""
        return self.cpu == "sm_90a"

    @property
    def narrow_gains(self) -> Mapping[str, float]:
        """How many times as fast as float32 without them tensor cores multiply other types at best, by their names."""
        two_bytes, bytes, floats8 = TENSOR_CORES[self.capability]
        found = {"float16": two_bytes, "bfloat16": two_bytes, "int8": bytes, "uint8": bytes, "float8_e4m3fn": floats8}
        return {name: rate / CORES for name, rate in found.items() if rate}


def _target(
    capability: int, ptx: int, shared: int, multiprocessors: int, l2: int, cpu: str = ""
) -> tuple[str, CudaTarget]:
    name = f"sm_{capability}"
    return name, CudaTarget(
        name=name,
        triple=TRIPLE,
        cpu=cpu or name,
        features=f"+ptx{ptx}",
        vector_bytes=4,
        registers=255,
        has_fma=True,
        l1_bytes=shared * 1024,
        l2_bytes=l2 << 20,
        capability=capability,
        block_shared_bytes=(shared - 1) * 1024 if shared > 64 else shared * 1024,
        multiprocessors=multiprocessors,
    )


TENSOR_CORES = {
    75: (512, 1024, 0),
    80: (1024, 2048, 0),
    90: (2048, 4096, 4096),
    100: (4096, 8192, 8192),
    120: (256, 1024, 512),
}
"""Multiply-adds of a multiprocessor in a cycle by capability: of float16, added up in float32, of int8 and of float8.
From NVIDIA's papers on Turing, Ampere, Hopper and Blackwell: dense peaks, divided by boost clocks and multiprocessors.
"""

CUDA_TARGETS = dict(
    (
        _target(75, 80, 64, 40, 4),
        _target(80, 80, 164, 108, 40),
        _target(90, 84, 228, 132, 50, "sm_90a"),
        _target(100, 86, 228, 148, 126),
        _target(120, 87, 100, 170, 96),
    )
)
"""By name. PTX versions are the oldest that know the architecture and that all supported drivers accept."""


def cuda_target_named(name: str) -> CudaTarget:
    """The target of a name such as ``sm_90``, or ``sm_90+`` for what it has in common with newer ones.

    Raises:
        BuildError: there is none; the message lists those there are.
    """
    found = CUDA_TARGETS.get(name.removesuffix(OR_NEWER))
    if found is None:
        raise BuildError(f"no GPU architecture '{name}'; expected one of {', '.join(CUDA_TARGETS)}")
    return found.compatible() if name.endswith(OR_NEWER) else found


def cuda_target_for(capability: int) -> CudaTarget:
    """The newest target whose code runs on a GPU of ten times this compute capability.

    Machine code runs on its own major version from its minor version on; the code of sm_90 runs there alone.

    Raises:
        BuildError: the GPU is older or of a family that no target covers.
    """
    fitting = [
        t for t in CUDA_TARGETS.values() if t.capability <= capability and t.capability // 10 == capability // 10
    ]
    if not fitting:
        raise BuildError(
            f"no code generation for GPUs of compute capability {capability / 10:.1f}; "
            f"expected the family of one of {', '.join(CUDA_TARGETS)}"
        )
    return max(fitting, key=lambda t: t.capability)
