"""The depth in steps of 128 bytes."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.kernels.cuda.problem import GROUP, Problem

PIECES = 8
"""Pieces of 16 bytes in a row of a step."""
MOST_TAPS = 4
"""Of a step."""


@dataclass(frozen=True)
class Steps:
    """A step is one tap and `channels` neighbouring channels, in one or more blocks of 32; or of so few channels that
    half of a step, or less, has all of them, some taps.
    """

    problem: Problem

    @property
    def taps(self) -> int:
        """Taps of a step, a power of two."""
        found = 1
        while 2 * found <= len(self.problem.taps) and 2 * found * self.problem.channels <= PIECES * self.problem.piece:
            found *= 2
        return min(found, MOST_TAPS)

    @property
    def pieces(self) -> int:
        """Pieces of a tap in a step."""
        return PIECES // self.taps

    @property
    def channels(self) -> int:
        """That a step has room for, of each tap."""
        return self.pieces * self.problem.piece

    @property
    def slabs(self) -> int:
        """Steps for each tap."""
        return -(-self.problem.channels // self.channels)

    @property
    def count(self) -> int:
        return -(-len(self.problem.taps) // self.taps) * self.slabs

    @property
    def rest(self) -> int:
        """Pieces that the last slab has; 0 if it has all."""
        return -(-(self.problem.channels % self.channels) // self.problem.piece) % self.pieces

    @property
    def lacks_taps(self) -> bool:
        """Whether there are fewer taps than the last step has room for."""
        return len(self.problem.taps) % self.taps > 0

    @property
    def slab_offset(self) -> int:
        """Elements of the left operand from one slab to the next."""
        return self.channels // GROUP * self.problem.block_step

    @property
    def pieces_of_block(self) -> int:
        """Pieces that lie side by side: those of one block of channels."""
        return GROUP // self.problem.piece
