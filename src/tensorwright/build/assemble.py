"""Program to plan: compiles and links the code, packs the constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tensorwright.codegen.compile import compile_object
from tensorwright.codegen.entry import entry_module
from tensorwright.codegen.link import Image, link
from tensorwright.codegen.target import Target
from tensorwright.kernels.tactic import Kernel
from tensorwright.plan.plan import Binding, Json, MachineStamp, Plan
from tensorwright.schedule.program import PackedConstant, Program
from tensorwright.tensor.dim import Symbol

ENTRIES = ("run", "worker", "stop")


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


def packed_weights(constants: Sequence[PackedConstant], size: int) -> memoryview:
    """All packed constants in one block of memory."""
    memory = np.zeros(size, np.uint8)
    for constant in constants:
        flat = np.ascontiguousarray(constant.packed).reshape(-1).view(np.uint8)
        memory[constant.offset : constant.offset + constant.size] = flat
    return memory.data
