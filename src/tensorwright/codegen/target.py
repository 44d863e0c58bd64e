"""The instruction set that code is generated for."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.base.errors import BuildError
from tensorwright.tensor.dtype import DType


@dataclass(frozen=True)
class Target:
    """An instruction set and what kernels need to know of it.

    vector_bytes: width of a vector register; registers: how many there are; has_fma: fused multiply-add;
    has_rounding: floor and its like; has_half: conversions from and to float16; has_scale: multiplication by powers of
    two in one instruction; has_lookup: lanes of a full vector that choose entries of another; cpu, features: as LLVM
    spells them. L1 and L2 are data cache sizes in bytes for one core.
    """

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    has_fma: bool
    l1_bytes: int = 32 * 1024
    l2_bytes: int = 1024 * 1024
    has_rounding: bool = True
    has_half: bool = True
    has_scale: bool = False
    has_lookup: bool = False

    def lanes(self, dtype: DType) -> int:
        """Elements of a type in one vector register."""
        return self.vector_bytes // dtype.size

    @property
    def float_lanes(self) -> int:
        """float32 elements in one vector register; the channel block of the blocked layout."""
        return self.vector_bytes // 4


_AVX2 = "+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+popcnt,+sse4.2,+lzcnt,+movbe"
_AVX512 = _AVX2 + ",+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd,-prefer-256-bit"

TARGETS = {
    target.name: target
    for target in (
        Target(
            "avx512", "x86_64-unknown-linux-gnu", "x86-64-v4", _AVX512, 64, 32, True, has_scale=True, has_lookup=True
        ),
        Target("avx2", "x86_64-unknown-linux-gnu", "x86-64-v3", _AVX2, 32, 16, True),
        Target("baseline", "x86_64-unknown-linux-gnu", "x86-64", "", 16, 16, False, has_rounding=False, has_half=False),
        Target("aarch64", "aarch64-unknown-linux-gnu", "generic", "+neon", 16, 32, True),
    )
}


def target_named(name: str) -> Target:
    """The target of a name.

    Raises:
        BuildError: there is none; the message lists those there are.
    """
    if name not in TARGETS:
        raise BuildError(f"no instruction set '{name}'; expected one of {', '.join(TARGETS)}")
    return TARGETS[name]
