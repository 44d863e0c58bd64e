"""Blocks whose sums wait in workspace until the next block is multiplied: vectors finish the one while tile registers
work at the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.term import Term, least
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.tensor.dtype import INT64

STATE_BYTES = 64


@dataclass(frozen=True)
class Unfinished:
    """At most one block. `place` is memory for the number of its rows, and for what else has to be known of it."""

    builder: FunctionBuilder
    place: Pointer

    def clear(self) -> None:
        """There is none: no rows, and zeros for the facts."""
        self.builder.store(literal(0, INT64, STATE_BYTES // INT64.size), self.place, INT64)

    def set(self, rows: Register, *facts: Register) -> None:
        """There is a block of so many rows now."""
        for number, value in enumerate((rows, *facts)):
            self.builder.store(value, self.builder.offset(self.place, number, INT64), INT64)

    @property
    def rows(self) -> Register:
        return self.builder.load(self.place, INT64)

    def fact(self, number: int) -> Register:
        return self.builder.load(self.builder.offset(self.place, 1 + number, INT64), INT64)

    def piece(self, number: Register, size: int) -> tuple[Register, Register]:
        """From and up to which row a piece of the block goes, if all have `size` rows."""
        begin = Term(self.builder, number) * size
        return begin.register, least(begin + size, Term(self.builder, self.rows)).register
