"""The function of a kernel: its signature, and what writes its body."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.codegen.cuda.threads import ThreadBuilder
from tensorwright.codegen.values import Pointer, Register
from tensorwright.devices.cuda.tensor_map import MAP_ALIGNMENT, MAP_BYTES
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.kernel import ALIGNMENT, CudaKernel
from tensorwright.kernels.tactic import NAME, AnyConfig
from tensorwright.tensor.dim import Dim, Symbol
from tensorwright.tensor.dtype import INT64

REGISTERS, MOST_THREADS = 65536, 2048
"""Of a multiprocessor: registers, and threads at a time."""
ATTRIBUTES = 'nounwind "no-builtins" "no-trapping-math"="true"'


def signature(region: Region, threads: int, registers: int | None = None, maps: int = 0) -> str:
    """The signature of the kernel of a region, with blocks of so many threads, each of which may use so many registers.

    maps: how many tensor maps follow the other arguments; their addresses are `%map0` and so on.

    Without a number the assembler makes do with few, so that many threads fit a multiprocessor, and loads wait for
    registers. A number is told as that of blocks that have to fit.

    Nothing is said of what other operands share memory with, or change when: they may be written by the kernel before,
    which may still be running when this one starts.
    """
    blocks = None if registers is None else max(1, min(MOST_THREADS, REGISTERS // registers) // threads)
    arguments = [f"ptr align {ALIGNMENT} %out"]
    for number, value in enumerate(region.inputs):
        arguments.append(f"ptr {'noalias readonly ' if is_constant(value) else ''}align {ALIGNMENT} %in{number}")
    arguments.append(f"ptr align {ALIGNMENT} %workspace")
    arguments += [f"i64 %s{number}" for number in range(len(region.symbols))]
    kind = f'ptr byval([{MAP_BYTES} x i8]) align {MAP_ALIGNMENT} "nvvm.grid_constant"'
    arguments += [f"{kind} %map{number}" for number in range(maps)]
    room = "" if blocks is None else f' "nvvm.minctasm"="{blocks}"'
    return f'ptx_kernel void @{NAME}({", ".join(arguments)}) "nvvm.maxntid"="{threads}"{room}'


def kernel_in_a_row(
    region: Region,
    config: AnyConfig,
    emitter: GroupEmitter,
    target: CudaTarget,
    blocks: Dim,
    threads: int,
    registers: int | None = None,
    in_place: tuple[int, ...] = (),
) -> CudaKernel:
    """The kernel whose body an emitter has written: so many blocks along x, all operands as they are.

    threads: of a block; registers: as for `signature`.
    """
    return CudaKernel(
        text=emitter.builder.module(signature(region, threads, registers), ATTRIBUTES),
        inputs=config.inputs,
        output=config.output,
        tasks=blocks,
        packings=(None,) * len(region.inputs),
        symbols=region.symbols,
        in_place=in_place,
        grid=(blocks, 1, 1),
        block=threads,
        waits=target.has_dependent_launch,
    )


class ThreadWriter:
    """What writes a part of a kernel, for one thread."""

    emitter: GroupEmitter

    @property
    def builder(self) -> ThreadBuilder:
        return self.emitter.builder


def thread_emitter(inputs: int, symbols: Sequence[Symbol], target: CudaTarget, group_size: int = 1) -> GroupEmitter:
    """What writes the body of a kernel's function for one thread: it knows the arguments of `signature`."""
    operands = [Pointer(f"%in{number}") for number in range(inputs)]
    builder = ThreadBuilder(target=target)
    return GroupEmitter(builder, target, operands, symbol_registers(symbols), group_size=group_size)


def symbol_registers(symbols: Sequence[Symbol]) -> dict[str, Register]:
    """The arguments of `signature` that symbols are, by name."""
    return {symbol.name: Register(f"%s{number}", INT64) for number, symbol in enumerate(symbols)}
