"""Asking for what the next tile reads before it does."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer
from tensorwright.tensor.dtype import DType

LINE_BYTES = 64

EVERYWHERE = 3
"""Prefetches into all caches."""


@dataclass(frozen=True)
class Ahead:
    """Prefetches what the tile to the right reads of a block of channels, a part of it in each of its rounds. Blocks
    lie so far apart that processors do not foresee it.

    block: channels side by side, of this type. columns: positions in a tile. step: elements from one of them to the
    next.
    """

    builder: FunctionBuilder
    dtype: DType
    block: int
    columns: int
    step: int

    def ask(self, source: Pointer, channel: Term, count: int) -> None:
        """In a round of so many channels from one of the block on, which the tile reads at `source`."""
        if self.block % count:
            return
        distance = max(self.step, LINE_BYTES // self.dtype.size)
        lines = -(-self.columns * self.step // distance)
        each = -(-lines * count // self.block)
        first = channel // count * (each * distance) - channel + self.columns * self.step
        place = self.builder.offset(source, first.register, self.dtype)
        for line in range(each):
            self.builder.prefetch(self.builder.offset(place, line * distance, self.dtype), EVERYWHERE)
