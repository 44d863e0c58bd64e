"""A row in the registers of a warp, and what is computed of all its elements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

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
        share = literal(1 / self.extent, FLOAT32)
        mean = builder.mul(self._combined(x, "add", 0.0), share)
        own = [self._with(builder.sub, part, mean) for part in x]
        variance = builder.mul(self._combined([builder.mul(part, part) for part in own], "add", 0.0), share)
        root = apply_function(builder, "sqrt", [builder.add(variance, epsilon)], FLOAT32)
        inverse = builder.div(literal(1.0, FLOAT32), root)
        return [self._with(builder.mul, part, inverse) for part in own]

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
