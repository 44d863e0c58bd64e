"""Rows of an image as tiles read them: in place, or copied with zeros where padding is."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.term import Term, greatest
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.tensor.dtype import INT16, INT32, DType

WORDS = {word.size: word for word in (INT16, INT32)}
"""What elements are copied as, by their size."""


@dataclass(frozen=True)
class Line:
    """Neighbouring columns of a row: where the first of them lies, in the first block of channels that is meant, and
    how many elements further it does in the next block.
    """

    start: Pointer
    step: Register


@dataclass(frozen=True)
class Lines:
    """Copies pieces of rows into `workspace`.

    columns: in a piece. every: only every so many of them are read. blocks: of channels in a piece, at most. block:
    channels side by side in each; 1 in row-major layout. dtype: of the elements. lanes: in a vector.
    """

    emitter: ScalarEmitter
    workspace: Pointer
    columns: int
    every: int
    blocks: int
    block: int
    dtype: DType
    lanes: int

    @property
    def word(self) -> DType:
        return WORDS[self.dtype.size]

    @property
    def width(self) -> int:
        """Elements that are copied at once."""
        return self.block if self.block > 1 else self.lanes

    @property
    def step(self) -> int:
        """Elements from one block of channels of a copy to the next; what is copied at once may exceed a row."""
        return self.columns * self.block + (self.width if self.block == 1 else 0)

    @property
    def elements(self) -> int:
        """Those of a copy."""
        return self.blocks * self.step

    def padded(self, line: Line, first: Term, extent: Term, low: Register, high: Register) -> Line:
        """A piece of a line, or its copy if it is not all in the image.

        Args:
            line: the piece as if it were in the image; what is outside is not read.
            first: the column of the image that is the first of the piece.
            extent: columns of the image.
            low: the first block of channels of those that are read.
            high: the one behind the last of them.
        """
        builder, limit = self.emitter.builder, greatest(extent - (self.columns - 1), 0)
        outside = builder.compare("uge", first.register, limit.register)
        with self.emitter.when(outside):
            self.copy(line, first, extent, low, high)
        return Line(
            builder.choose(outside, self.workspace, line.start), builder.select(outside, i64(self.step), line.step)
        )

    def copy(self, line: Line, first: Term, extent: Term, low: Register, high: Register) -> None:
        """Copy a piece: see `padded`."""
        builder, width = self.emitter.builder, self.width
        zeros, numbers = literal(0, self.word, width), Term(builder, builder.lane_numbers(width))
        size, stride = self.columns * self.block, self.every * self.block if self.block > 1 else width
        with self.emitter.loop(0, size, stride) as loop:
            places = numbers + Term(
                builder, builder.splat((first * self.block + self._term(loop.index)).register, width)
            )
            inside = places.below(Term(builder, builder.splat((extent * self.block).register, width)))
            with self.emitter.loop(low, high) as block:
                source = (self._term(block.index) * self._term(line.step) + self._term(loop.index)).register
                target = (self._term(block.index) * self.step + self._term(loop.index)).register
                here, there = self._moved(line.start, source), self._moved(self.workspace, target)
                builder.store(builder.masked_load(here, inside.register, zeros, self.word), there, self.word)

    def _moved(self, base: Pointer, elements: Register) -> Pointer:
        return self.emitter.builder.offset(base, elements, self.word)

    def _term(self, value: Register) -> Term:
        return Term(self.emitter.builder, value)
