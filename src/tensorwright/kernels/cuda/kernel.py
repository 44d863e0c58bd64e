"""What a kernel for a GPU is: code, and how it is launched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from tensorwright.devices.cuda.tensor_map import TensorMap
from tensorwright.kernels.tactic import Kernel
from tensorwright.tensor.dim import Dim, Symbol, dims_for, substitute

ALIGNMENT = 16
"""Bytes to which every tensor is aligned: one access of a thread."""
MOST_BLOCKS = 65535
"""Of a grid along y."""
COUNTERS_ALIGNMENT = 256
"""Bytes that keep a workspace aligned that lies behind them."""


@dataclass(frozen=True)
class CudaKernel(Kernel):
    """Code for a region on a GPU, and its launch.

    text: a module that defines ``ptx_kernel void @KERNEL_NAME(ptr out, ptr in…, ptr workspace, i64 symbol…, map…)``.
    tasks: blocks in the grid. workspace: bytes of device memory for the whole launch.
    grid: blocks along x, y and z; block: threads in each; cluster: blocks along z that form a cluster; shared_bytes:
    dynamic shared memory of a block. waits: whether it waits itself for the kernel before it, so that it may be
    launched before that one has ended. maps: of operands whose boxes it has copied. counters: bytes in front of the
    workspace, a multiple of `COUNTERS_ALIGNMENT`, that are 0 when the kernel starts, and that it leaves 0.
    """

    grid: tuple[Dim, Dim, Dim] = (1, 1, 1)
    block: int = 1
    cluster: int = 1
    shared_bytes: int = 0
    waits: bool = False
    maps: tuple[TensorMap, ...] = ()
    counters: int = 0
    alignment: int = ALIGNMENT

    def filled(self, others: Mapping[Symbol, Symbol | int]) -> Self:
        dims = dims_for(others)
        x, y, z = (substitute(size, dims) for size in self.grid)
        return replace(super().filled(others), grid=(x, y, z), maps=tuple(one.substituted(dims) for one in self.maps))
