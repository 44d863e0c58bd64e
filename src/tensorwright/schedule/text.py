"""A program as text: its steps, where they wait, what lies where in the arena and for how long, and its constants."""

from __future__ import annotations

from collections.abc import Iterable

from tensorwright.base.text import format_bytes, printable
from tensorwright.graph.graph import Value
from tensorwright.graph.text import Names, names_of, quoted
from tensorwright.plan.plan import Address
from tensorwright.schedule.program import PackedConstant, Program, Step
from tensorwright.schedule.tensors import ProgramMemory, StoredTensor, memory_of


def program_text(program: Program, threads: int) -> str:
    """The whole program, with the waits of so many threads."""
    memory, names = memory_of(program), names_of(_values(program))
    waits = frozenset(program.waits(threads))
    lines = [_head(program, threads, len(waits)), ""]
    for number, step in enumerate(program.steps):
        lines += [*(["-- all wait --"] if number in waits else []), *_step_lines(number, step, names)]
    lines += ["", "tensors: bytes of the arena, and the steps from which to which each is needed"]
    lines += [_tensor_line(tensor, names) for tensor in _by_place(memory)]
    lines += ["", "constants: bytes of the weights"]
    return "\n".join([*lines, *(_constant_line(constant) for constant in program.constants)]) + "\n"


def _values(program: Program) -> Iterable[Value]:
    for _, value in (*program.inputs, *program.outputs):
        yield value
    for step in program.steps:
        yield from (*step.choice.region.inputs, *step.choice.region.values)


def _head(program: Program, threads: int, waits: int) -> str:
    return (
        f"program of {len(program.steps)} steps; {threads} threads wait {waits} times; arena "
        f"{format_bytes(program.arena_bytes)}, at least {format_bytes(program.arena_lower_bound)}; weights "
        f"{format_bytes(program.weights_bytes)}; workspace {format_bytes(program.workspace_bytes)} per thread"
    )


def _step_lines(number: int, step: Step, names: Names) -> list[str]:
    region, kernel = step.choice.region, step.kernel
    output, *inputs = step.operands
    value, layout = step.choice.result
    lines = [f"step {number}: {step.choice.trial.tactic}, {kernel.tasks} tasks, {kernel.name}"]
    for operand, stored, address in zip(region.inputs, kernel.inputs, inputs, strict=True):
        lines.append(f"  reads   {_place(address):22} {names.of(operand)}: {printable(repr(operand.type))} {stored}")
    lines.append(f"  writes  {_place(output):22} {names.of(value)}: {printable(repr(value.type))} {layout}")
    return lines


def _place(address: Address) -> str:
    return f"{address.base} {address.offset}"


def _by_place(memory: ProgramMemory) -> list[StoredTensor]:
    inside = [tensor for tensor in memory.tensors if tensor.address.base == "arena"]
    return sorted(inside, key=lambda tensor: (tensor.first, tensor.address.offset, tensor.last))


def _tensor_line(tensor: StoredTensor, names: Names) -> str:
    start = tensor.address.offset
    what = f"{names.by_value.get(tensor.value, '%' + quoted(tensor.value.name))}: {printable(repr(tensor.value.type))}"
    return (
        f"  {start:>10} to {start + tensor.size:<10} steps {tensor.first:>4} to {tensor.last:<4} {what} {tensor.layout}"
    )


def _constant_line(constant: PackedConstant) -> str:
    kind = printable(repr(constant.weights.type))
    return (
        f"  {constant.offset:>10} to {constant.offset + constant.size:<10} {kind} {constant.weights.digest.hex()[:8]}"
    )
