"""Which tensors lie in the same memory.

Every stored tensor (a value in a layout) has a buffer: bytes of its own, at a binding, or inside the buffer of a
concatenation. A buffer is needed from the first write to the last read of all tensors that lie in it, those of buffers
inside it included; a step may put its result over a buffer only if that is needed no longer than up to this step, which
reads it as the one operand that the result replaces element by element.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from tensorwright.graph.graph import Graph, Value, is_constant, storage_root
from tensorwright.ops.indexing import IndexRange
from tensorwright.ops.shape import Concatenation
from tensorwright.tensor.dim import upper_bound
from tensorwright.tensor.layout import PLAIN, Layout, physical_bytes
from tensorwright.tune.choice import Choice

Tensor = tuple[Value, Layout]
Named = tuple[tuple[str, Value], ...]


@dataclass(eq=False)
class Buffer:
    """Memory of one tensor or, one after another, of several.

    first, last: the steps between which any tensor in it, or in buffers inside it, is needed, both included.
    binding: the number of the binding that it is, None in the arena. parent: the buffer that it is `offset` bytes into.
    """

    size: int
    first: int
    last: int
    binding: int | None = None
    parent: Buffer | None = None
    offset: int = 0

    @property
    def root(self) -> Buffer:
        buffer = self
        while buffer.parent is not None:
            buffer = buffer.parent
        return buffer

    @property
    def root_offset(self) -> int:
        buffer, offset = self, 0
        while buffer.parent is not None:
            buffer, offset = buffer.parent, offset + buffer.offset
        return offset

    @property
    def is_free_to_move(self) -> bool:
        """Whether it may still become part of another buffer, or hold another tensor later."""
        return self.binding is None and self.parent is None

    def keep(self, first: int, last: int) -> None:
        """Need it from one step to another, too."""
        buffer: Buffer | None = self
        while buffer is not None:
            buffer.first, buffer.last = min(buffer.first, first), max(buffer.last, last)
            buffer = buffer.parent

    def move_into(self, parent: Buffer, offset: int) -> None:
        """Become part of a larger buffer, which is needed as long as its parts."""
        self.parent, self.offset = parent, offset
        parent.keep(self.first, self.last)


@dataclass(frozen=True)
class Storage:
    """The buffers of all tensors."""

    buffers: Mapping[Tensor, Buffer]

    def find(self, value: Value, layout: Layout) -> Buffer:
        return self.buffers[stored(value, layout)]

    def in_arena(self) -> list[Buffer]:
        """The buffers that need room of their own in the arena."""
        roots = dict.fromkeys(buffer.root for buffer in self.buffers.values())
        return [root for root in roots if root.binding is None]

    def is_in_place(self, choice: Choice) -> bool:
        """Whether a choice is a concatenation all of whose operands already lie where it would copy them."""
        if not concatenates_views(choice) or any(is_constant(value) for value in choice.region.inputs):
            return False
        parent = self.find(*choice.result)
        return all(self.find(operand, choice.kernel.output).parent is parent for operand in choice.region.inputs)


def stored(value: Value, layout: Layout) -> Tensor:
    """The tensor whose memory is read for a value in a layout: views of plain tensors are no tensors of their own."""
    return (storage_root(value), layout) if layout.is_plain else (value, layout)


def bound_and_kept(graph: Graph) -> tuple[Named, Named]:
    """The outputs that the caller gives memory for, and those that are only for the runtime to look at."""
    kept = tuple(output for output in graph.outputs if isinstance(output[1].op, IndexRange) and output[1].op.watched)
    return tuple(output for output in graph.outputs if output not in kept), kept


def size_of(tensor: Tensor) -> int:
    """The most bytes that a tensor takes."""
    value, layout = tensor
    return upper_bound(physical_bytes(value.type, layout))


def assign(graph: Graph, choices: Sequence[Choice]) -> Storage:
    """Buffers for all tensors of a network whose choices run in this order."""
    return _Assignment(_last_reads(graph, choices)).of(graph, choices)


@dataclass
class _Assignment:
    """Buffers as they are found, choice by choice; last_reads: of every tensor that is read at all."""

    last_reads: Mapping[Tensor, int]
    buffers: dict[Tensor, Buffer] = field(default_factory=dict)

    def of(self, graph: Graph, choices: Sequence[Choice]) -> Storage:
        for number, (_, value) in enumerate(graph.inputs):
            self.buffers[value, PLAIN] = Buffer(value.type.max_bytes, 0, len(choices), binding=number)
        bound, _ = bound_and_kept(graph)
        targets = {storage_root(v): len(graph.inputs) + number for number, (_, v) in enumerate(bound)}
        for choice in choices:
            self._add_empty(choice)
        for step, choice in enumerate(choices):
            value, layout = choice.result
            self._add(choice, step, targets.get(value) if layout.is_plain else None)
            if concatenates_views(choice):
                self._adopt_operands(choice)
        return Storage(self.buffers)

    def _add_empty(self, choice: Choice) -> None:
        """Operands that have no elements, whatever the symbols are, are computed by nobody."""
        for value, layout in zip(choice.region.inputs, choice.kernel.inputs, strict=True):
            if value.type.is_empty and not is_constant(value):
                self.buffers.setdefault(stored(value, layout), Buffer(0, 0, 0))

    def _add(self, choice: Choice, step: int, binding: int | None) -> None:
        tensor = choice.result
        buffer = self._replaced(choice, step) if binding is None else None
        if buffer is None:
            buffer = Buffer(size_of(tensor), step, step, binding)
        buffer.keep(step, self.last_reads.get(tensor, step))
        self.buffers[tensor] = buffer

    def _replaced(self, choice: Choice, step: int) -> Buffer | None:
        """The buffer of an operand that the result may overwrite."""
        region, kernel = choice.region, choice.kernel
        moving = [n for n, value in enumerate(region.inputs) if not is_constant(value)]
        used = {n: self._find(region.inputs[n], kernel.inputs[n]) for n in moving}
        for number in kernel.in_place:
            buffer = used.get(number)
            if buffer is None or not buffer.is_free_to_move or buffer.last > step:
                continue
            alone = sum(other.root is buffer for other in used.values()) == 1
            if alone and buffer.size == size_of(choice.result):
                return buffer
        return None

    def _adopt_operands(self, choice: Choice) -> None:
        """Let the operands of a concatenation be produced where the concatenation wants them, if that is possible."""
        parent, layout = self.buffers[choice.result], choice.kernel.output
        operands = [stored(value, layout) for value in choice.region.inputs if not is_constant(value)]
        buffers = [self.buffers[tensor] for tensor in operands]
        movable = all(buffer.is_free_to_move and buffer is not parent for buffer in buffers)
        whole = all(buffer.size == size_of(tensor) for buffer, tensor in zip(buffers, operands, strict=True))
        distinct = len(set(map(id, buffers))) == len(choice.region.inputs)
        if parent.binding is not None or not (movable and whole and distinct):
            return
        offsets = list(accumulate((buffer.size for buffer in buffers[:-1]), initial=0))
        if any(offset % choice.kernel.alignment for offset in offsets):
            return
        for buffer, offset in zip(buffers, offsets, strict=True):
            buffer.move_into(parent, offset)

    def _find(self, value: Value, layout: Layout) -> Buffer:
        return self.buffers[stored(value, layout)]


def _last_reads(graph: Graph, choices: Sequence[Choice]) -> dict[Tensor, int]:
    last: dict[Tensor, int] = {}
    for step, choice in enumerate(choices):
        for value, layout in zip(choice.region.inputs, choice.kernel.inputs, strict=True):
            last[stored(value, layout)] = step
    for _, value in graph.outputs:
        last[stored(value, PLAIN)] = len(choices)
    return last


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
    if any(extent != 1 for extent in leading):
        return False
    if not all(value.type.is_static for value in choice.region.inputs):
        return False
    if layout.is_plain:
        return True
    channels = [value.type.shape[1] for value in choice.region.inputs[:-1]]
    return op.axis == 1 and all(upper_bound(c) % layout.block == 0 for c in channels)
