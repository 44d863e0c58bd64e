"""Whether two threads may touch the same memory between two times that all wait for each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tensorwright.base.errors import BuildError
from tensorwright.schedule.check.contents import Space, space_of
from tensorwright.schedule.check.shares import NOBODY, Owners, merged
from tensorwright.schedule.check.steps import Look, Operand


def groups(steps: Sequence[Look], threads: int) -> list[list[Look]]:
    """The steps that so many threads run without waiting for each other in between."""
    found: list[list[Look]] = []
    for step in steps:
        if not found or step.step.waits(threads):
            found.append([])
        found[-1].append(step)
    return found


@dataclass(eq=False)
class Touched:
    """The threads that have written and read each piece of memory since all last waited."""

    writer: Owners
    reader: Owners

    @classmethod
    def none(cls, pieces: int) -> Touched:
        return cls(np.full(pieces, NOBODY, np.int32), np.full(pieces, NOBODY, np.int32))


@dataclass(frozen=True, eq=False)
class Group:
    """Steps between two waits, one after another, with so many threads."""

    threads: int
    piece: int
    spaces: dict[Space, Touched]

    def check(self, steps: Sequence[Look]) -> None:
        """Go through the steps.

        Raises:
            BuildError: two threads touch the same memory, and one of them writes there; or threads wait inside one of
                several steps.
        """
        for step in steps if len(steps) > 1 and self.threads > 1 else ():
            if step.step.kernel.waves != 1:
                raise BuildError(f"with {self.threads} threads, {step.name} has waves and runs together with others")
        for step in steps:
            for operand in step.inputs:
                self._read(step, operand, steps)
            self._write(step, step.output, steps)

    def _read(self, step: Look, operand: Operand, steps: Sequence[Look]) -> None:
        readers = self._spread(step.readers(operand, self.threads), operand)
        here, rows = self._place(operand)
        self._expect_apart(step, operand, readers, here.writer[rows], steps, ("reads", "writes"))
        here.reader[rows] = merged(here.reader[rows], readers)

    def _write(self, step: Look, operand: Operand, steps: Sequence[Look]) -> None:
        writers = self._spread(step.writers(self.threads), operand)
        here, rows = self._place(operand)
        for others, does in ((here.reader[rows], "reads"), (here.writer[rows], "writes")):
            self._expect_apart(step, operand, writers, others, steps, ("writes", does))
        here.writer[rows] = merged(here.writer[rows], writers)

    def _spread(self, owners: Owners, operand: Operand) -> Owners:
        return np.repeat(owners, operand.value.type.dtype.size // self.piece)

    def _place(self, operand: Operand) -> tuple[Touched, slice]:
        space = self.spaces[space_of(operand.address)]
        first = operand.start // self.piece
        return space, slice(first, first + operand.size // self.piece)

    def _expect_apart(
        self,
        step: Look,
        operand: Operand,
        mine: Owners,
        others: Owners,
        steps: Sequence[Look],
        does: tuple[str, str],
    ) -> None:
        clash = (mine != NOBODY) & (others != NOBODY) & ((mine != others) | (mine < NOBODY))
        if not clash.any():
            return
        first = int(np.argmax(clash))
        byte, thread, other = operand.start + first * self.piece, _thread(mine[first]), _thread(others[first])
        names = ", ".join(look.name for look in steps if look.number <= step.number)
        raise BuildError(
            f"with {self.threads} threads, {thread} {does[0]} byte {byte} of {operand} in {step.name}, "
            f"and {other} {does[1]} it, while nobody waits between {names}"
        )


def _thread(number: int) -> str:
    return f"thread {number}" if number >= 0 else "more than one thread"
