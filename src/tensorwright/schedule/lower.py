"""Turns choices into a program: decides where every tensor lives."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tensorwright.base.pages import grown, map_pages
from tensorwright.graph.graph import Graph, Value, is_constant, weights_in
from tensorwright.kernels.tactic import Packing
from tensorwright.plan.plan import Address
from tensorwright.schedule.arena import Block
from tensorwright.schedule.placement import Arrange, Operand, Stage, arrange_alone
from tensorwright.schedule.program import PackedConstant, Program, Step
from tensorwright.schedule.storage import Buffer, Storage, Tensor, assign, bound_and_kept, size_of
from tensorwright.tensor.weights import Weights
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
    weights, packed = constants.finish()
    return Program(
        inputs=graph.inputs,
        outputs=bound,
        kept=kept,
        steps=tuple(steps),
        constants=packed,
        arena_bytes=found.placement.size,
        arena_lower_bound=found.placement.lower_bound,
        weights=weights,
        workspace_bytes=max((rounded(step.kernel.workspace) for step in steps), default=0),
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


def rounded(size: int) -> int:
    """What a constant of so many bytes takes."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class _Packed(NamedTuple):
    weights: Weights
    offset: int
    type: np.dtype[np.generic]
    shape: tuple[int, ...]


class _Constants:
    """Packs every constant once per packing, one after another into one block of memory.

    No constant is held twice, and what can be read again is let go of, so that a build needs little more memory than
    the packed constants take.
    """

    def __init__(self) -> None:
        self._packed: list[_Packed] = []
        self._offsets: dict[tuple[bytes, str], int] = {}
        self._memory = map_pages(mmap.PAGESIZE)
        self._end = 0

    def place(self, value: Value, packing: Packing | None) -> int:
        """Where a constant starts that is packed so."""
        weights = weights_in(value)
        key = (weights.digest, "" if packing is None else packing.name)
        if key not in self._offsets:
            packed = weights.array if packing is None else packing.pack(weights.array)
            self._offsets[key] = self._end
            self._packed.append(_Packed(weights, self._end, packed.dtype, packed.shape))
            self._append(np.ascontiguousarray(packed).reshape(-1).view(np.uint8))
            weights.let_go()
        return self._offsets[key]

    def finish(self) -> tuple[memoryview, tuple[PackedConstant, ...]]:
        """The memory of all, and views of it."""
        memory = np.frombuffer(self._memory, np.uint8, self._end)
        return memory.data, tuple(_view(memory, packed) for packed in self._packed)

    def _append(self, content: npt.NDArray[np.uint8]) -> None:
        end = self._end + rounded(content.nbytes)
        if end > len(self._memory):
            self._memory = grown(self._memory, max(end, 2 * len(self._memory)))
        np.frombuffer(self._memory, np.uint8, content.nbytes, self._end)[:] = content
        self._end = end


def _view(memory: npt.NDArray[np.uint8], packed: _Packed) -> PackedConstant:
    size = prod(packed.shape) * packed.type.itemsize
    array = memory[packed.offset : packed.offset + size].view(packed.type).reshape(packed.shape)
    return PackedConstant(packed.weights, array, packed.offset)
