"""Which element of which tensor every piece of memory holds as a program runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import gcd

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value, is_constant, storage_root
from tensorwright.ops.shape import Concatenation
from tensorwright.plan.plan import Address
from tensorwright.schedule.program import Program
from tensorwright.tensor.arrange import to_layout
from tensorwright.tensor.dim import evaluate
from tensorwright.tensor.layout import PLAIN, Layout

Numbers = npt.NDArray[np.int64]

NOTHING = -1
"""What memory holds that nothing defined was written to; what padding counts as."""

Space = tuple[str, int]
"""The arena, or a binding and its number."""


def space_of(address: Address) -> Space:
    return ("binding", address.offset) if address.base == "binding" else (address.base, 0)


def piece_size(program: Program) -> int:
    """The bytes that memory is looked at in: the size of every element is a multiple."""
    values = [value for step in program.steps for value in (*step.choice.region.inputs, step.choice.region.output)]
    sizes = [value.type.dtype.size for value in (*values, *(v for _, v in (*program.inputs, *program.outputs)))]
    offsets = [o.offset for step in program.steps for o in step.operands if o.base == "arena"]
    return gcd(*sizes, *offsets)


@dataclass(eq=False)
class Names:
    """A number for every piece of every tensor that the program computes or is given.

    Views have the numbers of what they view. A concatenation that no step computes has those of its operands.
    """

    piece: int
    symbols: Mapping[str, int]
    starts: list[int] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    first: dict[Value, int] = field(default_factory=dict)
    joined: dict[Value, Numbers] = field(default_factory=dict)
    end: int = 0

    def add(self, value: Value) -> None:
        if value in self.first:
            return
        self.first[value] = self.end
        self.starts.append(self.end)
        self.values.append(value)
        self.end += max(1, evaluate(value.type.elements, self.symbols) * self.pieces(value))

    def pieces(self, value: Value) -> int:
        return value.type.dtype.size // self.piece

    def of(self, value: Value) -> Numbers:
        """The first number of every element, in row-major order.

        Raises:
            KeyError: no step computes it.
        """
        root = storage_root(value)
        if evaluate(root.type.elements, self.symbols) == 0:
            return np.empty(0, np.int64)
        if root in self.first:
            start, step = self.first[root], self.pieces(root)
            return start + step * np.arange(evaluate(root.type.elements, self.symbols))
        if root not in self.joined:
            if not isinstance(root.op, Concatenation) or any(map(is_constant, root.inputs)):
                raise KeyError(root)
            operands = [self.shaped(operand) for operand in root.inputs]
            self.joined[root] = np.concatenate(operands, axis=root.op.axis).reshape(-1)
        return self.joined[root]

    def shaped(self, value: Value) -> Numbers:
        return self.of(value).reshape([evaluate(dim, self.symbols) for dim in value.type.shape])

    def in_memory(self, value: Value, layout: Layout) -> Numbers:
        """The numbers of all pieces in memory order; NOTHING for padding."""
        found = self.of(value)
        if not layout.is_plain:
            found = np.asarray(to_layout(self.shaped(value) + 1, layout), np.int64).reshape(-1) - 1
        pieces = self.pieces(value)
        if pieces == 1:
            return found
        return np.where(found[:, None] == NOTHING, NOTHING, found[:, None] + np.arange(pieces)).reshape(-1)

    def called(self, number: int) -> str:
        """The tensor that a piece belongs to."""
        if number == NOTHING:
            return "nothing"
        return f"'{self.values[bisect_right(self.starts, number) - 1].name}'"


@dataclass(eq=False)
class Contents:
    """The numbers of the pieces that memory holds."""

    piece: int
    spaces: dict[Space, Numbers]

    @classmethod
    def of(cls, program: Program, names: Names) -> Contents:
        """Before the first step: the inputs in their bindings."""
        spaces = {("arena", 0): np.full(-(-program.arena_bytes // names.piece), NOTHING)}
        for number, (_, value) in enumerate((*program.inputs, *program.outputs)):
            given = number < len(program.inputs)
            size = evaluate(value.type.elements, names.symbols) * names.pieces(value)
            spaces["binding", number] = names.in_memory(value, PLAIN).copy() if given else np.full(size, NOTHING)
        return cls(names.piece, spaces)

    def at(self, address: Address, pieces: int) -> Numbers | None:
        """So many pieces from an address on; None if they do not all exist."""
        space = self.spaces.get(space_of(address))
        start = 0 if address.base == "binding" else address.offset // self.piece
        if space is None or start < 0 or start + pieces > space.size:
            return None
        return space[start : start + pieces]
