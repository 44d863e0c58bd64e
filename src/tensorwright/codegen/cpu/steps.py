"""What the entry of a network does: steps, and those that are one piece of code because they are alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.plan.plan import Address
from tensorwright.tensor.dim import Dim, Symbol, symbols_of

FEWEST_ROWS = 128
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
    """One step, or many that are alike, with their numbers."""

    numbers: tuple[int, ...]
    steps: tuple[EntryStep, ...]

    @property
    def first(self) -> int:
        return self.numbers[0]

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


def pieces_of(steps: Sequence[EntryStep]) -> list[Piece]:
    """The pieces of a network, in the order of their first steps."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for number, step in enumerate(steps):
        alike.setdefault(step.likeness, []).append(number)
    pieces = list[Piece]()
    for numbers in alike.values():
        is_table = len(numbers) >= FEWEST_ROWS and steps[numbers[0]].waves == 1
        parts = [numbers] if is_table else [[number] for number in numbers]
        pieces += (Piece(tuple(part), tuple(steps[number] for number in part)) for part in parts)
    return sorted(pieces, key=lambda piece: piece.first)


def rows_of(pieces: Sequence[Piece]) -> str:
    """In which row of its table each step is, as a constant."""
    rows = {number: row for piece in pieces for row, number in enumerate(piece.numbers)}
    listed = ", ".join(f"i64 {rows[number]}" for number in range(len(rows)))
    return f"@rows = internal constant [{len(rows)} x i64] [{listed}], align 8"
