"""Program to plan: compiles and links the code, packs the constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.cpu.entry import entry_module
from tensorwright.codegen.cpu.link import Image, link
from tensorwright.codegen.target import Target
from tensorwright.graph.graph import Value
from tensorwright.graph.region import Region
from tensorwright.kernels.tactic import Kernel
from tensorwright.ops.indexing import Gather, GatherElements, GatherNd
from tensorwright.plan.plan import Binding, Json, MachineStamp, Plan
from tensorwright.schedule.program import PackedConstant, Program
from tensorwright.tensor.dim import Symbol

ENTRIES = ("run", "worker", "stop")
_GATHERS = (Gather, GatherElements, GatherNd)


def assemble(
    name: str,
    program: Program,
    symbols: Sequence[Symbol],
    target: Target,
    stamp: MachineStamp,
    threads: int,
    report: Mapping[str, Json],
    *,
    batch_symbol: str | None = None,
    compile_kernel: Callable[[Kernel, Target], bytes] | None = None,
) -> Plan:
    """The plan of a program."""
    image = _link(program, symbols, target, compile_kernel or _compiled)
    return Plan(
        name=name,
        stamp=stamp,
        bindings=_bindings(program),
        symbols=tuple(symbols),
        batch_symbol=batch_symbol,
        code=image.code,
        entries={entry: image.functions[entry] for entry in ENTRIES},
        arena_bytes=program.arena_bytes,
        workspace_bytes=program.workspace_bytes,
        threads=threads,
        weights=packed_weights(program.constants, program.weights_bytes),
        tables=_tables(program),
        report=report,
    )


def _compiled(kernel: Kernel, target: Target) -> bytes:
    return compile_object(kernel.code, target)


def _link(
    program: Program, symbols: Sequence[Symbol], target: Target, compile_kernel: Callable[[Kernel, Target], bytes]
) -> Image:
    kernels = {step.kernel.name: step.kernel for step in program.steps}
    entry = entry_module([step.call for step in program.steps], symbols, program.workspace_bytes, target)
    return link([compile_object(entry, target), *(compile_kernel(k, target) for k in kernels.values())])


def _bindings(program: Program) -> tuple[Binding, ...]:
    inputs = [Binding(name, "input", value.type) for name, value in program.inputs]
    return (*inputs, *(Binding(name, "output", value.type) for name, value in program.outputs))


def _tables(program: Program) -> tuple[tuple[int, int], ...]:
    """Offset and size of the constants that are only gathered from."""
    sizes = {constant.offset: constant.size for constant in program.constants}
    gathered: set[int] = set()
    whole: set[int] = set()
    for step in program.steps:
        for value, operand in zip(step.choice.region.inputs, step.call.operands[1:], strict=True):
            if operand.base == "weights":
                (gathered if _is_gathered(step.choice.region, value) else whole).add(operand.offset)
    return tuple((offset, sizes[offset]) for offset in sorted(gathered - whole) if sizes[offset])


def _is_gathered(region: Region, table: Value) -> bool:
    """Whether a region reads an input only here and there."""
    readers = [value for value in region.values if table in value.inputs]
    return all(isinstance(value.op, _GATHERS) and table not in value.inputs[1:] for value in readers)


def packed_weights(constants: Sequence[PackedConstant], size: int) -> memoryview:
    """All packed constants in one block of memory."""
    memory = np.zeros(size, np.uint8)
    for constant in constants:
        flat = np.ascontiguousarray(constant.packed).reshape(-1).view(np.uint8)
        memory[constant.offset : constant.offset + constant.size] = flat
    return memory.data
