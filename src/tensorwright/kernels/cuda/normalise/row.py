"""A row in the registers of a warp, and what is computed of all its elements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

from tensorwright.codegen.cuda.quotient import inverse_root
from tensorwright.codegen.cuda.threads import ThreadBuilder
from tensorwright.codegen.functions import apply_function
from tensorwright.codegen.values import Register, literal
from tensorwright.tensor.dtype import FLOAT32

Vectors = list[Register]
"""A thread's parts of a row."""


@dataclass(frozen=True)
class Row:
    """exists: for each part whether it is inside of the row; None if it is for all threads. extent: elements."""

    builder: ThreadBuilder
    extent: int
    exists: list[Register | None]

    def layer_normalization(self, x: Vectors, epsilon: float) -> Vectors:
        """``(x - mean) / √(variance + epsilon)``"""
        builder = self.builder
        mean = self._mean(x)
        own = [self._with(builder.sub, part, mean) for part in x]
        return self._scaled(own, self._mean(self._squares(own)), epsilon)

    def layer_normalization_at_once(self, x: Vectors, pivot: Register, epsilon: float) -> Vectors:
        """The same with a variance that is off by up to ``extent · 2^-22`` of itself: both sums are added up together.

        pivot: any element of the row. Its distance from the mean is ``√extent`` deviations at most, so that little is
        left out of the mean square from there.
        """
        builder = self.builder
        own = [self._with(builder.sub, part, pivot) for part in x]
        mean, square = self._mean(own), self._mean(self._squares(own))
        difference = builder.sub(square, builder.mul(mean, mean))
        is_below = builder.compare("olt", difference, 0.0)  # By rounding; what is no number stays so.
        variance = builder.select(is_below, literal(0.0, FLOAT32), difference)
        return self._scaled([self._with(builder.sub, part, mean) for part in own], variance, epsilon)

    def _mean(self, parts: Vectors) -> Register:
        return self.builder.mul(self._combined(parts, "add", 0.0), literal(1 / self.extent, FLOAT32))

    def _squares(self, parts: Vectors) -> Vectors:
        return [self.builder.mul(part, part) for part in parts]

    def _scaled(self, parts: Vectors, variance: Register, epsilon: float) -> Vectors:
        """Divided by the standard deviation."""
        inverse = inverse_root(self.builder, self.builder.add(variance, epsilon))
        return [self._with(self.builder.mul, part, inverse) for part in parts]

    def softmax(self, x: Vectors) -> Vectors:
        """``exp(x - max) / Σ exp(x - max)``"""
        builder = self.builder
        largest = self._combined(x, "max", float("-inf"))
        powers = [apply_function(builder, "exp", [self._with(builder.sub, part, largest)], FLOAT32) for part in x]
        inverse = builder.div(literal(1.0, FLOAT32), self._combined(powers, "add", 0.0))
        return [self._with(builder.mul, part, inverse) for part in powers]

    def _combined(self, parts: Vectors, function: str, identity: float) -> Register:
        """All elements of the row combined, in every thread."""
        builder = self.builder

        def combine(a: Register, b: Register) -> Register:
            return apply_function(builder, function, [a, b], FLOAT32)

        existing = [
            part if exists is None else builder.select(exists, part, literal(identity, FLOAT32, part.lanes))
            for part, exists in zip(parts, self.exists, strict=True)
        ]
        vector = reduce(combine, existing)
        own = reduce(combine, [builder.extract(vector, lane) for lane in range(vector.lanes)])
        return builder.combined(own, combine)

    def _with(self, operation: Callable[[Register, Register], Register], part: Register, scalar: Register) -> Register:
        return operation(part, self.builder.splat(scalar, part.lanes))
