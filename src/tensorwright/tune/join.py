"""Takes a joined region instead of its stages where its kernel is faster than theirs together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tensorwright.graph.region import Region
from tensorwright.tune.select import Searched

LEAST_SAVING = 0.02
"""Part of the stages' time that a joined region must save: less may be a whim of the timer."""


CLOSE = 2.0
"""Where one takes this many times as long as the other, times that were measured apart tell enough."""

Comparison = Callable[[Searched, Sequence[Searched]], tuple[float, float]]
"""Seconds of a joined region, and of its stages one after another."""


def prefer_joined(
    searched: Sequence[Searched],
    candidates: Sequence[Searched],
    compare: Comparison | None = None,
    *,
    untimed: bool = False,
) -> list[Searched]:
    """The regions of a network with joined ones in place of their stages, those that save most time first.

    searched: all regions, each with usable kernels, in an order that respects all reads. candidates: joined regions;
    those without a kernel that was measured and found correct are left out. A joined region takes the place of its
    last stage. compare: measures both where they are close; without it the times of single kernels are added.
    untimed: whether estimates will do where nothing was measured.
    """
    candidates = [item for item in candidates if untimed or any(c.trial.seconds is not None for c in item.candidates)]
    known = {item.region: item for item in searched}
    savings = {
        item.region: _saving(item, [known[stage] for stage in item.region.stages], compare) for item in candidates
    }
    taken: dict[Region, Searched] = {}
    for item in sorted(candidates, key=lambda item: -savings[item.region]):
        if savings[item.region] > 0 and not any(stage in taken for stage in item.region.stages):
            taken.update((stage, item) for stage in item.region.stages)
    kept = [
        item for item in searched if item.region not in taken or item.region is taken[item.region].region.stages[-1]
    ]
    return [taken.get(item.region, item) for item in kept]


def _saving(item: Searched, stages: Sequence[Searched], compare: Comparison | None) -> float:
    """Seconds that a joined region takes less than its stages, each with its fastest kernel; 0 if it is too little."""
    together, apart = _fastest(item), sum(map(_fastest, stages))
    if compare is not None and apart / CLOSE < together < apart * CLOSE:
        together, apart = compare(item, stages)
    saving = apart - together
    return saving if saving > LEAST_SAVING * apart else 0.0


def _fastest(item: Searched) -> float:
    return min(candidate.trial.cost for candidate in item.candidates)
