"""What lies where and when in the memory of a program, found from its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tensorwright.graph.graph import Value, is_constant, storage_root
from tensorwright.plan.plan import Address
from tensorwright.schedule.program import Program, Step
from tensorwright.schedule.storage import stored
from tensorwright.tensor.dim import upper_bound
from tensorwright.tensor.layout import Layout, physical_bytes


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a program that is no constant.

    address: in the arena, or the number of a binding; size: bytes, at the largest shapes; first: the step that writes
    it or, if none does, the first that writes a part of it, -1 for an input; last: the last step that reads it, the
    number of steps for an output.
    """

    value: Value
    layout: Layout
    address: Address
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class StepMemory:
    """What a step reads and writes, by number among the tensors, and the offsets of the constants that it reads."""

    reads: tuple[int, ...]
    writes: int
    constants: tuple[int, ...]


@dataclass(frozen=True)
class ProgramMemory:
    """All tensors of a program in the order in which they are first used, and what each step does with them."""

    tensors: tuple[StoredTensor, ...]
    steps: tuple[StepMemory, ...]


_Key = tuple[Value, Layout, Address]


def memory_of(program: Program) -> ProgramMemory:
    """The tensors of a program."""
    found: dict[_Key, StoredTensor] = {}
    numbers: dict[_Key, int] = {}
    by_value: dict[Value, list[_Key]] = {}
    steps = []
    for number, step in enumerate(program.steps):
        operands = list(zip(step.choice.region.inputs, step.kernel.inputs, step.operands[1:], strict=True))
        keys = [(*stored(value, layout), at) for value, layout, at in operands if not is_constant(value)]
        for key in keys:
            if key not in found:
                found[key] = _unwritten(key, found, by_value, len(program.inputs))
                by_value.setdefault(storage_root(key[0]), []).append(key)
            found[key] = replace(found[key], last=max(found[key].last, number))
        output = _output_key(step)
        if output not in found:
            found[output] = _tensor(output, number)
            by_value.setdefault(storage_root(output[0]), []).append(output)
        for key in (*keys, output):
            numbers.setdefault(key, len(numbers))
        constants = tuple(at.offset for value, _, at in operands if is_constant(value))
        steps.append(StepMemory(tuple(numbers[key] for key in keys), numbers[output], constants))
    outputs = {Address("binding", len(program.inputs) + number) for number in range(len(program.outputs))}
    kept = {value for _, value in program.kept}
    ending = [tensor.address in outputs or tensor.value in kept for tensor in found.values()]
    tensors = (
        replace(tensor, last=len(program.steps)) if ends else tensor
        for tensor, ends in zip(found.values(), ending, strict=True)
    )
    return ProgramMemory(tuple(tensors), tuple(steps))


def _output_key(step: Step) -> _Key:
    return *stored(*step.choice.result), step.operands[0]


def _tensor(key: _Key, first: int) -> StoredTensor:
    value, layout, address = key
    return StoredTensor(value, layout, address, upper_bound(physical_bytes(value.type, layout)), first, first)


def _unwritten(
    key: _Key, found: Mapping[_Key, StoredTensor], by_value: Mapping[Value, Sequence[_Key]], inputs: int
) -> StoredTensor:
    """A tensor that no step writes as a whole: an input, or a concatenation whose parts were written where they lie."""
    tensor = _tensor(key, -1)
    if tensor.address.base == "binding" and tensor.address.offset < inputs:
        return tensor
    first, stack = -1, [tensor.value]
    while stack:
        for operand in map(storage_root, stack.pop().inputs):
            parts = [found[part] for part in by_value.get(operand, ())]
            starts = [part.first for part in parts if _holds(tensor, part)]
            first = min([first, *starts], key=lambda step: (step < 0, step))
            stack += [] if parts else [operand]
    return replace(tensor, first=first)


def _holds(whole: StoredTensor, part: StoredTensor) -> bool:
    start, end = whole.address.offset, whole.address.offset + whole.size
    return whole.address.base == part.address.base and start <= part.address.offset < end
