"""What a kernel for a GPU is: code, and how it is launched."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from tensorwright.codegen.cuda.nest import TeamEmitter
from tensorwright.codegen.cuda.target import CudaTarget
from tensorwright.codegen.cuda.threads import ThreadBuilder
from tensorwright.codegen.ir import Pointer, Register
from tensorwright.kernels.tactic import NAME, Packing
from tensorwright.tensor.dim import Dim, Symbol
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.layout import Layout

ALIGNMENT = 256
"""Bytes to which every tensor is aligned; kernels may rely on it."""
ATTRIBUTES = 'nounwind "no-builtins" "no-trapping-math"="true"'


@dataclass(frozen=True)
class CudaKernel:
    """Code for a region on a GPU, and its launch.

    text: a module of LLVM IR that defines ``void @KERNEL_NAME(ptr out, ptr in…, ptr workspace, i64 symbol…)``.
    packings: for every input, how it is packed if it is a constant; None leaves it in its layout.
    grid: blocks along x, y and z; block: threads in each; cluster: blocks along z that form a cluster.
    shared_bytes: dynamic shared memory of a block. workspace_bytes: device memory that one launch needs.
    waits: whether it waits itself for the kernel before it, so that it may be launched before that one has ended.
    """

    text: str
    inputs: tuple[Layout, ...]
    output: Layout
    packings: tuple[Packing | None, ...]
    symbols: tuple[Symbol, ...]
    grid: tuple[Dim, Dim, Dim]
    block: int
    cluster: int = 1
    shared_bytes: int = 0
    workspace_bytes: int = 0
    waits: bool = False

    @property
    def name(self) -> str:
        """A name that is equal for equal code."""
        return "k" + blake2b(self.text.encode(), digest_size=8).hexdigest()

    @property
    def code(self) -> str:
        """The module's text with the function's name filled in."""
        return self.text.replace(NAME, self.name)


def cuda_signature(inputs: int, symbols: int, block: int, constants: frozenset[int] = frozenset()) -> str:
    """The signature of a kernel's function. `constants`: inputs that no kernel ever writes."""
    operands = [f"ptr {'noalias readonly ' if i in constants else ''}align {ALIGNMENT} %in{i}" for i in range(inputs)]
    arguments = [f"ptr align {ALIGNMENT} %out", *operands, f"ptr align {ALIGNMENT} %workspace"]
    arguments += [f"i64 %s{i}" for i in range(symbols)]
    return f'ptx_kernel void @{NAME}({", ".join(arguments)}) "nvvm.maxntid"="{block}"'


def thread_emitter(inputs: int, symbols: tuple[Symbol, ...], target: CudaTarget, team: int = 1) -> TeamEmitter:
    """What writes the body of a kernel's function for one thread: it knows the arguments of `cuda_signature`."""
    operands = [Pointer(f"%in{number}") for number in range(inputs)]
    values = {symbol.name: Register(f"%s{number}", INT64) for number, symbol in enumerate(symbols)}
    return TeamEmitter(ThreadBuilder(target=target), target, operands, values, team=team)
