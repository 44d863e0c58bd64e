"""What code is generated for."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.tensor.dtype import DType


@dataclass(frozen=True)
class Target:
    """An instruction set and what kernels need to know of it.

    vector_bytes: width of a vector register; registers: how many there are; has_fma: fused multiply-add;
    has_rounding: floor and its like; has_half: conversions from and to float16; has_scale: multiplication by powers of
    two in one instruction; has_lookup: lanes of a full vector that choose entries of another;
    has_bfloat16_dot: dot products of pairs of bfloat16;
    has_integer_dot: dot products of four unsigned and four signed bytes; has_half_arithmetic: products and sums of
    float16, twice as many at once as of float32; has_tiles: products of matrices in tile registers (AMX), of bfloat16
    and of bytes; cpu, features: as LLVM spells them. L1 and L2 are data cache sizes in bytes for one core. threads: how
    many share the tasks of a kernel.
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
    has_bfloat16_dot: bool = False
    has_integer_dot: bool = False
    has_half_arithmetic: bool = False
    has_tiles: bool = False
    threads: int = 1

    def lanes(self, dtype: DType) -> int:
        """Elements of a type in one vector register."""
        return self.vector_bytes // dtype.size

    @property
    def float_lanes(self) -> int:
        """float32 elements in one vector register; the channel block of the blocked layout."""
        return self.vector_bytes // 4
