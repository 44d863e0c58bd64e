"""Which colour stands for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorwright.picture.facts import Facts
from tensorwright.picture.times import Timing

SERIES = 10
"""Colours that the style sheet has for tactics and for layouts; what comes after them shares the last one."""


@dataclass(frozen=True)
class Colours:
    """Classes of the style sheet by name of tactic and of layout, the most used first; milliseconds by tactic."""

    tactics: Mapping[str, str]
    layouts: Mapping[str, str]
    totals: Mapping[str, float]


def colours_of(facts: Facts, times: Sequence[Timing]) -> Colours:
    """Colours for everything in a plan."""
    totals: Counter[str] = Counter()
    for step, time in zip(facts.steps, times, strict=True):
        totals[step.tactic] += time.milliseconds  # type: ignore[assignment]
    ranked = sorted(totals, key=lambda name: (-totals[name], name))
    layouts = Counter(tensor.layout for tensor in facts.tensors if tensor.layout != "plain")
    blocked = sorted(layouts, key=lambda name: (-layouts[name], name))
    return Colours(_classes("t", ranked), {"plain": "l0", **_classes("l", blocked, 1)}, {n: totals[n] for n in ranked})


def _classes(letter: str, names: Sequence[str], start: int = 0) -> dict[str, str]:
    return {name: f"{letter}{min(number, SERIES - 1)}" for number, name in enumerate(names, start)}


def hue(number: int) -> int:
    """A hue in degrees for each of many things, neighbours far apart: steps of the golden angle."""
    return round(number * 137.508) % 360
