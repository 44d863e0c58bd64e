"""Rows as lists of vectors in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.functions import apply_function
from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import lane_mask
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.tensor.dtype import DType


@dataclass(frozen=True)
class RowVectors:
    """Loads and combines vectors of a row; of the last one `masked` lanes are elements (0: all of them).

    dtype: the type in which they are combined.
    """

    builder: FunctionBuilder
    dtype: DType
    lanes: int
    masked: int = 0

    def load(self, start: Pointer, dtype: DType, count: int, padding: float, *, ends: bool = True) -> list[Register]:
        """`count` vectors of elements that have the given type in memory; if the row `ends` with them, lanes behind its
        elements hold `padding`.
        """
        vectors: list[Register] = []
        for number in range(count):
            place = self.builder.offset(start, number * self.lanes, dtype)
            if self.masked and ends and number == count - 1:
                fill = literal(padding, self.dtype, self.lanes)
                mask = lane_mask(self.masked, self.lanes)
                vectors.append(self.builder.masked_load(place, mask, fill, dtype))
            else:
                vectors.append(self.builder.load(place, dtype, self.lanes))
        return vectors

    def combined(self, function: str, vectors: Sequence[Register]) -> Register:
        """All vectors combined pairwise into one."""
        rest = list(vectors)
        while len(rest) > 1:
            pairs = [self.apply(function, a, b) for a, b in zip(rest[::2], rest[1::2], strict=False)]
            rest = pairs + rest[2 * len(pairs) :]
        return rest[0]

    def across(self, function: str, vector: Register) -> Register:
        """All lanes of a vector combined into one number."""
        while vector.lanes > 1:
            half = vector.lanes // 2
            if half == 1:
                return self.apply(function, self.builder.extract(vector, 0), self.builder.extract(vector, 1))
            low = self.builder.shuffle(vector, vector, range(half))
            high = self.builder.shuffle(vector, vector, range(half, vector.lanes))
            vector = self.apply(function, low, high)
        return vector

    def total(self, function: str, vectors: Sequence[Register]) -> Register:
        """All elements combined into one number."""
        return self.across(function, self.combined(function, vectors))

    def spread(self, number: Register) -> Register:
        """A number in all lanes."""
        return self.builder.splat(number, self.lanes)

    def apply(self, function: str, *operands: Register) -> Register:
        return apply_function(self.builder, function, operands, self.dtype)

    def cleared(self, vectors: Sequence[Register]) -> list[Register]:
        """The vectors of a whole row with zeros behind its elements."""
        if not self.masked:
            return list(vectors)
        zero = literal(0.0, self.dtype, self.lanes)
        return [*vectors[:-1], self.builder.select(lane_mask(self.masked, self.lanes), vectors[-1], zero)]
