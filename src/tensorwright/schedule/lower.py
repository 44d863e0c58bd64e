"""Turns choices into a program: decides where every tensor lives and when threads must wait for each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tensorwright.codegen.cpu.entry import Address, EntryStep
from tensorwright.graph.graph import Graph, Value, is_constant, storage_root, weights_in
from tensorwright.kernels.tactic import Packing
from tensorwright.ops.shape import Concatenation
from tensorwright.schedule.arena import Block
from tensorwright.schedule.barriers import Access
from tensorwright.schedule.boxes import Boxes, touched
from tensorwright.schedule.layout import Operand, Stage, arrange
from tensorwright.schedule.program import PackedConstant, Program, Step
from tensorwright.tensor.dim import is_static, upper_bound
from tensorwright.tensor.layout import PLAIN, Layout, physical_bytes
from tensorwright.tune.choice import Choice

ALIGNMENT = 64


@dataclass(eq=False)
class _Buffer:
    """Memory of a tensor: in the arena, at a binding, or inside the buffer of a concatenation."""

    size: int
    first: int = 0
    last: int = 0
    binding: int | None = None
    parent: _Buffer | None = None
    offset: int = 0

    @property
    def root(self) -> _Buffer:
        return self if self.parent is None else self.parent.root

    @property
    def root_offset(self) -> int:
        return self.offset if self.parent is None else self.offset + self.parent.root_offset


@dataclass
class _Memory:
    """Which buffer holds which value in which layout."""

    buffers: dict[tuple[Value, Layout], _Buffer] = field(default_factory=dict)

    def find(self, value: Value, layout: Layout) -> _Buffer:
        if layout.is_plain and (value, layout) not in self.buffers:
            return self.buffers[storage_root(value), PLAIN]
        return self.buffers[value, layout]


def lower(graph: Graph, choices: Sequence[Choice], threads: int = 2) -> Program:
    """The program of a network, laid out so that so many threads wait rarely for each other.

    Every output has to be the result of a region of its own memory: see `tensorwright.passes.outputs`.
    """
    memory = _assign_buffers(graph, choices)
    arena = _arena_buffers(memory)
    numbers = {buffer: number for number, buffer in enumerate(arena)}
    constants = _Constants()
    executed = [(time, choice) for time, choice in enumerate(choices) if not _in_place_already(choice, memory)]
    stages = [_stage(choice, time, memory, numbers, constants) for time, choice in executed]
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


def _stage(choice: Choice, time: int, memory: _Memory, numbers: Mapping[_Buffer, int], constants: _Constants) -> Stage:
    """A step and the memory that its tasks touch."""
    region, kernel = choice.region, choice.kernel
    known = touched(region, kernel)
    written = (None,) if known is None else (known.output,)
    operands = [_operands(choice.result, written, memory, numbers, writes=True)]
    for number, value in enumerate(region.inputs):
        if is_constant(value):
            place = Address("weights", constants.place(value, kernel.packings[number]))
            operands.append([Operand(Access(place, 0, 1, False, None), None)])
            continue
        read = None if known is None else known.inputs[number]
        operands.append(_operands((value, kernel.inputs[number]), read or (None,), memory, numbers, writes=False))
    tasks = kernel.tasks if isinstance(kernel.tasks, int) else None
    more = tuple(operand for found in operands for operand in found[1:])
    return Stage(tasks, tuple(found[0] for found in operands), more, time)


def _operands(
    stored: tuple[Value, Layout],
    boxes: Sequence[Boxes | None],
    memory: _Memory,
    numbers: Mapping[_Buffer, int],
    *,
    writes: bool,
) -> list[Operand]:
    """All that a step does with one tensor."""
    (value, layout), buffer = stored, memory.find(*stored)
    root, size = buffer.root, upper_bound(physical_bytes(value.type, layout))
    if root.binding is not None:
        address, block = Address("binding", root.binding), None
    else:
        address, block = Address("arena", buffer.root_offset), numbers[root]
    return [Operand(Access(address, size, value.type.dtype.size, writes, each), block) for each in boxes]


def _assign_buffers(graph: Graph, choices: Sequence[Choice]) -> _Memory:
    memory = _Memory()
    for number, (_, value) in enumerate(graph.inputs):
        memory.buffers[value, PLAIN] = _Buffer(value.type.max_bytes, binding=number)
    targets = {storage_root(v): len(graph.inputs) + number for number, (_, v) in enumerate(graph.outputs)}
    readers = _last_reads(graph, choices)
    for step, choice in enumerate(choices):
        value, layout = choice.result
        binding = targets.get(value) if layout.is_plain else None
        buffer = _shared(memory, choice, step, readers) if binding is None else None
        if buffer is None:
            buffer = _Buffer(upper_bound(physical_bytes(value.type, layout)), step, step, binding)
        memory.buffers[value, layout] = buffer
        buffer.last = max(buffer.last, readers.get((value, layout), step))
        _adopt_operands(memory, choice)
    for (value, layout), buffer in memory.buffers.items():
        buffer.last = max(buffer.last, readers.get((value, layout), buffer.first))
    return memory


def _last_reads(graph: Graph, choices: Sequence[Choice]) -> dict[tuple[Value, Layout], int]:
    last: dict[tuple[Value, Layout], int] = {}
    for step, choice in enumerate(choices):
        for value, layout in zip(choice.region.inputs, choice.kernel.inputs, strict=True):
            key = (storage_root(value), layout) if layout.is_plain else (value, layout)
            last[key] = step
    for _, value in graph.outputs:
        last[storage_root(value), PLAIN] = len(choices)
    return last


def _shared(memory: _Memory, choice: Choice, step: int, readers: dict[tuple[Value, Layout], int]) -> _Buffer | None:
    """The buffer of an operand that dies here and may be overwritten in place."""
    region, kernel = choice.region, choice.kernel
    for number in kernel.in_place:
        value, layout = region.inputs[number], kernel.inputs[number]
        if is_constant(value):
            continue
        buffer = memory.find(value, layout)
        key = (storage_root(value), layout) if layout.is_plain else (value, layout)
        once = sum(1 for v in region.inputs if storage_root(v) is storage_root(value)) == 1
        if buffer.binding is None and buffer.parent is None and readers[key] == step and once and buffer.last <= step:
            return buffer
    return None


def _adopt_operands(memory: _Memory, choice: Choice) -> None:
    """Let the operands of a concatenation be produced where the concatenation wants them, if that is possible."""
    if not concatenates_views(choice):
        return
    value, layout = choice.result
    parent, offset = memory.buffers[value, layout], 0
    buffers = [memory.find(operand, layout) for operand in choice.region.inputs if not is_constant(operand)]
    free = all(b.binding is None and b.parent is None and b is not parent for b in buffers)
    sizes = [upper_bound(physical_bytes(operand.type, layout)) for operand in choice.region.inputs]
    whole = all(b.size == s for b, s in zip(buffers, sizes, strict=False))
    distinct = len(set(map(id, buffers))) == len(choice.region.inputs)
    if parent.binding is not None or not (free and whole and distinct):
        return
    for buffer, size in zip(buffers, sizes, strict=True):
        buffer.parent, buffer.offset = parent, offset
        offset += size


def concatenates_views(choice: Choice) -> bool:
    """Whether a region is a concatenation whose operands lie one behind the other in its result's memory."""
    op = choice.region.output.op
    if len(choice.region.values) != 1 or not isinstance(op, Concatenation):
        return False
    layout = choice.kernel.output
    repeated = choice.region.inputs != choice.region.output.inputs
    if repeated or any(other != layout for other in choice.kernel.inputs):
        return False
    leading = choice.region.output.type.shape[: op.axis]
    if any(not is_static(extent) or extent != 1 for extent in leading):
        return False
    if layout.is_plain:
        return all(value.type.is_static for value in choice.region.inputs)
    channels = [value.type.shape[1] for value in choice.region.inputs[:-1]]
    return op.axis == 1 and all(isinstance(c, int) and c % layout.block == 0 for c in channels)


def _in_place_already(choice: Choice, memory: _Memory) -> bool:
    if not concatenates_views(choice) or any(is_constant(value) for value in choice.region.inputs):
        return False
    value, layout = choice.result
    parent = memory.buffers[value, layout]
    return all(memory.find(operand, layout).parent is parent for operand in choice.region.inputs)


def _arena_buffers(memory: _Memory) -> list[_Buffer]:
    """The buffers that need room of their own, each alive as long as everything inside it."""
    for buffer in memory.buffers.values():
        root = buffer.root
        root.first, root.last = min(root.first, buffer.first), max(root.last, buffer.last)
    own = dict.fromkeys(b.root for b in memory.buffers.values() if b.root.binding is None)
    return list(own)


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
