"""What the entry of a network does: steps, and those one after another that are one piece of code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from tensorwright.plan.plan import Address
from tensorwright.tensor.dim import Dim, Symbol, symbols_of

FEWEST_ROWS = 8
"""So many steps that are alike have a table."""


@dataclass(frozen=True)
class EntryStep:
    """One call: the kernel's function, its operands (output first), symbols and the number of tasks of a wave.

    free: the numbers of threads with which no thread has to wait for others before this step, as the bits of a number;
    with every other number of threads all wait for each other. waves: how many follow each other; if there may be
    several, the step has to be a group of its own.
    """

    function: str
    operands: tuple[Address, ...]
    symbols: tuple[Symbol | int, ...]
    tasks: Dim
    free: int = 0
    waves: Dim = 1

    @property
    def numbers(self) -> tuple[int, ...]:
        """What may be different for steps that are alike."""
        return (*(operand.offset for operand in self.operands), *(one for one in self.symbols if isinstance(one, int)))

    @property
    def used(self) -> frozenset[str]:
        """The names of the symbols that the call needs."""
        named = [one for one in self.symbols if isinstance(one, Symbol)]
        return frozenset(one.name for one in (*named, *symbols_of(self.tasks), *symbols_of(self.waves)))

    @property
    def likeness(self) -> tuple[object, ...]:
        """Equal for steps that are alike."""
        symbols = tuple(None if isinstance(one, int) else one for one in self.symbols)
        return self.function, tuple(operand.base for operand in self.operands), symbols, self.tasks, self.waves


@dataclass(frozen=True)
class Piece:
    """Steps one after another, the first of them with a number: one, or many that are alike."""

    first: int
    steps: tuple[EntryStep, ...]

    @property
    def is_table(self) -> bool:
        return len(self.steps) > 1

    @property
    def table(self) -> str:
        """The numbers of all steps as a constant."""
        rows = (f"[{self.width} x i64] [{', '.join(f'i64 {one}' for one in step.numbers)}]" for step in self.steps)
        shape = f"[{len(self.steps)} x [{self.width} x i64]]"
        return f"@numbers_{self.first} = internal constant {shape} [{', '.join(rows)}], align 8"

    @property
    def width(self) -> int:
        return len(self.steps[0].numbers)


def pieces_of(steps: Sequence[EntryStep]) -> Iterator[Piece]:
    """The pieces of a network, in order."""
    first = 0
    for _, group in groupby(steps, key=lambda step: step.likeness):
        alike = tuple(group)
        parts = [alike] if len(alike) >= FEWEST_ROWS else [(step,) for step in alike]
        for part in parts:
            yield Piece(first, part)
            first += len(part)
