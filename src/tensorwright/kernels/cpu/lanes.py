"""Vectors put together from the lanes of others."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Register


def picked(builder: FunctionBuilder, vectors: Sequence[Register], places: Sequence[tuple[int, int]]) -> Register:
    """A vector whose lanes are those at the given places: the number of a vector and a lane of it."""
    lanes = vectors[0].lanes
    used = sorted({number for number, _ in places})
    first, *others = used
    if not others and [lane for _, lane in places] == list(range(lanes)):
        return vectors[first]
    second = others[0] if others else first
    picks = [lane + lanes * (number == second != first) if number in (first, second) else 0 for number, lane in places]
    result = builder.shuffle(vectors[first], vectors[second], picks)
    for other in others[1:]:
        merged = [lanes + lane if number == other else here for here, (number, lane) in enumerate(places)]
        result = builder.shuffle(result, vectors[other], merged)
    return result
