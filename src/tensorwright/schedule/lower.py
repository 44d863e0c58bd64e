"""Turns choices into a program: decides where every tensor lives and when threads must wait for each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tensorwright.codegen.cpu.entry import Address, EntryStep
from tensorwright.graph.graph import Graph, Value, is_constant, weights_in
from tensorwright.kernels.tactic import Packing
from tensorwright.schedule.arena import Block
from tensorwright.schedule.barriers import Access
from tensorwright.schedule.boxes import Boxes, touched
from tensorwright.schedule.layout import Operand, Stage, arrange
from tensorwright.schedule.program import PackedConstant, Program, Step
from tensorwright.schedule.storage import Buffer, Storage, Tensor, assign, size_of
from tensorwright.tune.choice import Choice

ALIGNMENT = 64


def lower(graph: Graph, choices: Sequence[Choice], threads: int = 2) -> Program:
    """The program of a network, laid out so that so many threads wait rarely for each other.

    Every output has to be the result of a region of its own memory: see `tensorwright.passes.outputs`.
    """
    storage = assign(graph, choices)
    arena = storage.in_arena()
    numbers = {buffer: number for number, buffer in enumerate(arena)}
    constants = _Constants()
    executed = [(time, choice) for time, choice in enumerate(choices) if not storage.is_in_place(choice)]
    stages = [_stage(choice, time, storage, numbers, constants) for time, choice in executed]
    found = arrange(stages, [Block(buffer.size, buffer.first, buffer.last) for buffer in arena], threads)
    offsets = found.placement.offsets
    steps = []
    for (_, choice), stage, free in zip(executed, stages, found.free, strict=True):
        operands = tuple(operand.placed(offsets).address for operand in stage.operands)
        kernel = choice.kernel
        steps.append(Step(choice, EntryStep(kernel.name, operands, kernel.symbols, kernel.tasks, free)))
    return Program(
        inputs=graph.inputs,
        outputs=graph.outputs,
        steps=tuple(steps),
        constants=tuple(constants.packed),
        arena_bytes=found.placement.size,
        arena_lower_bound=found.placement.lower_bound,
        weights_bytes=constants.end,
        workspace_bytes=max((_rounded(step.kernel.workspace) for step in steps), default=0),
    )


def _stage(choice: Choice, time: int, storage: Storage, numbers: Mapping[Buffer, int], constants: _Constants) -> Stage:
    """A step and the memory that its tasks touch."""
    region, kernel = choice.region, choice.kernel
    known = touched(region, kernel)
    written = (None,) if known is None else (known.output,)
    operands = [_operands(choice.result, written, storage, numbers, writes=True)]
    for number, value in enumerate(region.inputs):
        if is_constant(value):
            place = Address("weights", constants.place(value, kernel.packings[number]))
            operands.append([Operand(Access(place, 0, 1, False, None), None)])
            continue
        read = None if known is None else known.inputs[number]
        operands.append(_operands((value, kernel.inputs[number]), read or (None,), storage, numbers, writes=False))
    tasks = kernel.tasks if isinstance(kernel.tasks, int) else None
    more = tuple(operand for found in operands for operand in found[1:])
    return Stage(tasks, tuple(found[0] for found in operands), more, time)


def _operands(
    tensor: Tensor,
    boxes: Sequence[Boxes | None],
    storage: Storage,
    numbers: Mapping[Buffer, int],
    *,
    writes: bool,
) -> list[Operand]:
    """All that a step does with one tensor."""
    (value, layout), buffer = tensor, storage.find(*tensor)
    root, size = buffer.root, size_of((value, layout))
    if root.binding is not None:
        address, block = Address("binding", root.binding), None
    else:
        address, block = Address("arena", buffer.root_offset), numbers[root]
    return [Operand(Access(address, size, value.type.dtype.size, writes, each), block) for each in boxes]


def _rounded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass
class _Constants:
    """Packs every constant once per packing and lays them out one after another."""

    packed: list[PackedConstant] = field(default_factory=list)
    offsets: dict[tuple[bytes, str], int] = field(default_factory=dict)
    end: int = 0

    def place(self, value: Value, packing: Packing | None) -> int:
        weights = weights_in(value)
        key = (weights.digest, "" if packing is None else packing.name)
        if key not in self.offsets:
            packed = weights.array if packing is None else packing.pack(weights.array)
            self.offsets[key] = self.end
            self.packed.append(PackedConstant(weights, packed, self.end))
            self.end += _rounded(packed.nbytes)
        return self.offsets[key]
