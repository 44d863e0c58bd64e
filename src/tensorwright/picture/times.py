"""How long steps take, as far as that is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal

Source = Literal["profiled", "measured", "estimated", "unknown"]

LONGEST = 1e9

MEANING: dict[Source, str] = {
    "profiled": "measured now, in the network",
    "measured": "measured by the tuner: one thread's share of each kernel alone, with cold weights",
    "estimated": "estimated by the cost model",
    "unknown": "not known",
}


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a step and where they come from; what bounds it, and the share of that bound that it reaches."""

    milliseconds: float
    source: Source
    bound: str | None = None
    share: float | None = None

    @property
    def drawn(self) -> Timing:
        """The timing with numbers that can be drawn: differences of a counter may be below zero, and a report may say
        anything.
        """
        share = self.share if self.share is not None and isfinite(self.share) else None
        time = self.milliseconds if isfinite(self.milliseconds) else 0.0
        return replace(self, milliseconds=min(max(time, 0.0), LONGEST), share=share and max(share, 0.0))


def meaning(times: Sequence[Timing]) -> str:
    """Where the times come from, in words."""
    counts = Counter(time.source for time in times)
    ranked = [source for source, _ in counts.most_common()]
    first = MEANING[ranked[0]] if ranked else MEANING["unknown"]
    return "; ".join([first, *(f"of {_steps(counts[source])} {MEANING[source]}" for source in ranked[1:])])


def _steps(count: int) -> str:
    return "one step" if count == 1 else f"{count} steps"


def format_time(milliseconds: float) -> str:
    """A time in the unit that fits."""
    if milliseconds >= 1:
        return f"{milliseconds:.3g} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"
    return f"{milliseconds * 1e3:.3g} µs"
