"""Where the generator's decisions come from: seeded random numbers, or hypothesis, which can shrink them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

T = TypeVar("T")


class Choices(Protocol):
    """One decision at a time. What comes first is simplest: hypothesis shrinks towards it."""

    def integer(self, low: int, high: int) -> int:
        """From `low` to `high`, both included."""
        ...


def choose(choices: Choices, options: Sequence[T]) -> T:
    return options[choices.integer(0, len(options) - 1)]


def chance(choices: Choices, percent: int) -> bool:
    return choices.integer(0, 99) >= 100 - percent


class SeededChoices:
    """Decisions of a seed."""

    def __init__(self, seed: int | tuple[int, ...]) -> None:
        self._rng = np.random.default_rng(seed)

    def integer(self, low: int, high: int) -> int:
        return int(self._rng.integers(low, high + 1))


class DrawnChoices:
    """Decisions that a function of both ends draws."""

    def __init__(self, draw: Callable[[int, int], int]) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        return self._draw(low, high)
