"""Turns choices into a program: decides where every tensor lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tensorwright.graph.graph import Graph, Value, is_constant, weights_in
from tensorwright.kernels.tactic import Packing
from tensorwright.plan.plan import Address
from tensorwright.schedule.arena import Block
from tensorwright.schedule.placement import Arrange, Operand, Stage, arrange_alone
from tensorwright.schedule.program import PackedConstant, Program, Step
from tensorwright.schedule.storage import Buffer, Storage, Tensor, assign, bound_and_kept, size_of
from tensorwright.tune.choice import Choice

ALIGNMENT = 64


def lower(graph: Graph, choices: Sequence[Choice], arrange: Arrange = arrange_alone) -> Program:
    """The program of a network; `arrange` lays out its memory and says where threads wait for each other.

    Every output has to be the result of a region of its own memory: see `tensorwright.passes.outputs`.
    """
    storage = assign(graph, choices)
    arena = storage.in_arena()
    numbers = {buffer: number for number, buffer in enumerate(arena)}
    constants = _Constants()
    executed = [(time, choice) for time, choice in enumerate(choices) if not storage.is_in_place(choice)]
    stages = [_stage(choice, time, storage, numbers, constants) for time, choice in executed]
    found = arrange(stages, [Block(buffer.size, buffer.first, buffer.last) for buffer in arena])
    offsets = found.placement.offsets
    steps = [
        Step(stage.choice, tuple(operand.placed(offsets) for operand in stage.operands), free)
        for stage, free in zip(stages, found.free, strict=True)
    ]
    bound, kept = bound_and_kept(graph)
    return Program(
        inputs=graph.inputs,
        outputs=bound,
        kept=kept,
        steps=tuple(steps),
        constants=tuple(constants.packed),
        arena_bytes=found.placement.size,
        arena_lower_bound=found.placement.lower_bound,
        weights_bytes=constants.end,
        workspace_bytes=max((_rounded(step.kernel.workspace) for step in steps), default=0),
    )


def _stage(choice: Choice, time: int, storage: Storage, numbers: Mapping[Buffer, int], constants: _Constants) -> Stage:
    """A step and the memory that it reads and writes."""
    region, kernel = choice.region, choice.kernel
    operands = [_operand(choice.result, storage, numbers, writes=True)]
    for value, layout, packing in zip(region.inputs, kernel.inputs, kernel.packings, strict=True):
        if is_constant(value):
            place = Address("weights", constants.place(value, packing))
            operands.append(Operand(place, 0, 1, writes=False, block=None))
        else:
            operands.append(_operand((value, layout), storage, numbers, writes=False))
    return Stage(choice, tuple(operands), time)


def _operand(tensor: Tensor, storage: Storage, numbers: Mapping[Buffer, int], *, writes: bool) -> Operand:
    (value, _), buffer = tensor, storage.find(*tensor)
    root, size, width = buffer.root, size_of(tensor), value.type.dtype.size
    if root.binding is not None:
        return Operand(Address("binding", root.binding), size, width, writes, None)
    return Operand(Address("arena", buffer.root_offset), size, width, writes, numbers[root])


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
