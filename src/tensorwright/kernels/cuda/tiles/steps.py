"""The depth in steps of 128 bytes."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.kernels.cuda.problem import GROUP, Problem

PIECES = 8
"""Pieces of 16 bytes in a row of a step."""


@dataclass(frozen=True)
class Steps:
    """A step is one tap and `channels` neighbouring channels, in one or more blocks of 32."""

    problem: Problem

    @property
    def channels(self) -> int:
        return PIECES * self.problem.piece

    @property
    def slabs(self) -> int:
        """Steps for each tap."""
        return -(-self.problem.channels // self.channels)

    @property
    def count(self) -> int:
        return len(self.problem.taps) * self.slabs

    @property
    def rest(self) -> int:
        """Pieces that the last slab has; 0 if it has all."""
        return -(-(self.problem.channels % self.channels) // self.problem.piece) % PIECES

    @property
    def slab_offset(self) -> int:
        """Elements of the left operand from one slab to the next."""
        return self.channels // GROUP * self.problem.block_step

    @property
    def pieces_of_block(self) -> int:
        """Pieces that lie side by side: those of one block of channels."""
        return GROUP // self.problem.piece
