"""What lies where and when in the memory of a program, found from its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tensorwright.graph.graph import Value, is_constant, storage_root
from tensorwright.plan.plan import Address
from tensorwright.schedule.program import Program, Step
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
    steps = []
    for number, step in enumerate(program.steps):
        operands = list(zip(step.choice.region.inputs, step.kernel.inputs, step.operands[1:], strict=True))
        keys = [(storage_root(value), layout, at) for value, layout, at in operands if not is_constant(value)]
        for key in keys:
            known = found.get(key) or _unwritten(key, found, len(program.inputs))
            found[key] = replace(known, last=max(known.last, number))
        output = _output_key(step)
        found.setdefault(output, _tensor(output, number))
        order = {key: place for place, key in enumerate(found)}
        constants = tuple(at.offset for value, _, at in operands if is_constant(value))
        steps.append(StepMemory(tuple(order[key] for key in keys), order[output], constants))
    outputs = {Address("binding", len(program.inputs) + number) for number in range(len(program.outputs))}
    kept = {value for _, value in program.kept}
    ending = [tensor.address in outputs or tensor.value in kept for tensor in found.values()]
    tensors = (
        replace(tensor, last=len(program.steps)) if ends else tensor
        for tensor, ends in zip(found.values(), ending, strict=True)
    )
    return ProgramMemory(tuple(tensors), tuple(steps))


def _output_key(step: Step) -> _Key:
    value, layout = step.choice.result
    return storage_root(value), layout, step.operands[0]


def _tensor(key: _Key, first: int) -> StoredTensor:
    value, layout, address = key
    return StoredTensor(value, layout, address, upper_bound(physical_bytes(value.type, layout)), first, first)


def _unwritten(key: _Key, found: Mapping[_Key, StoredTensor], inputs: int) -> StoredTensor:
    """A tensor that no step writes as a whole: an input, or a concatenation whose parts were written where they lie."""
    tensor = _tensor(key, -1)
    if tensor.address.base == "binding" and tensor.address.offset < inputs:
        return tensor
    parts = [part for part in found.values() if _holds(tensor, part)]
    return replace(tensor, first=min((part.first for part in parts), default=-1))


def _holds(whole: StoredTensor, part: StoredTensor) -> bool:
    start, end = whole.address.offset, whole.address.offset + whole.size
    inside = whole.address.base == part.address.base and start <= part.address.offset < end
    return inside and part.value in whole.value.inputs
