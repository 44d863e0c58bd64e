"""The part of a tensor's numbers that counts when it is quantised."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """The smallest and the largest element of a tensor that count."""

    low: float
    high: float

    @classmethod
    def within(cls, largest: float) -> Range:
        """All numbers up to a magnitude."""
        return cls(-largest, largest)

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(-self.low, self.high)
