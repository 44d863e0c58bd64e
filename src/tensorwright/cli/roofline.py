"""How near each step of a plan is to what the machine allows (Williams, Waterman & Patterson, "Roofline", 2009).

A step takes at least the time of its arithmetic at the machine's peak, and at least the time of moving its data: inputs
and output at the speed of the smallest level of memory that holds them, packed constants at the speed of reading all
that an inference touches, over and over: that is what happens between two uses of a constant, however few bytes its own
step has. Near the size of the largest cache that speed lies between those of the cache and of memory, part of every
round being evicted before the next one; it is then measured at that very size. What the chosen algorithm does counts,
not the definition of the operator, so that Winograd's algorithm is measured by its own, fewer operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log

from tensorwright.plan.plan import Json

NEAR_ENOUGH = 0.7
"""Steps below this share of their roofline are worth a look,"""
MATTERS = 0.02
"""if they take at least this share of the inference."""

JsonObject = Mapping[str, Json]


@dataclass(frozen=True)
class Level:
    """A level of memory: bytes that it holds (0 for no limit) and GB/s."""

    name: str
    bytes: int
    gigabytes_per_second: float


@dataclass(frozen=True)
class Roof:
    """What the machine reaches with all threads of a plan: GFLOP/s, and its levels of memory, the fastest first.

    footprint: bytes that one inference touches, all packed constants and activations; speed: GB/s of reading them over
    and over, if it was measured. gains: how many times as fast products of other types are than float32's, by name.
    """

    peak_gflops: float
    levels: tuple[Level, ...]
    footprint: int
    speed: float | None = None
    gains: Mapping[str, float] = field(default_factory=dict)

    def peak(self, precision: Json) -> float:
        """GFLOP/s of what multiplies a type: float32's where nothing else is known."""
        return self.peak_gflops * self.gains.get(str(precision), 1.0)

    def level(self, size: int) -> Level:
        """The first level that holds so many bytes."""
        return next((level for level in self.levels if not level.bytes or size <= level.bytes), self.levels[-1])

    @property
    def constants(self) -> Level:
        """Where packed constants come from: if the speed was measured, the level that is nearest to it."""
        holds = self.level(self.footprint)
        if self.speed is None:
            return holds
        speed, further = self.speed, self.levels[self.levels.index(holds) :]
        nearest = min(further, key=lambda level: abs(log(level.gigabytes_per_second / speed)))
        return replace(nearest, gigabytes_per_second=speed)


@dataclass(frozen=True)
class Standing:
    """A step beside its roofline: GB/s that it moves, what bounds it, and the share of the bound that it reaches."""

    gigabytes_per_second: float
    bound: str
    share: float


def roof_of(
    report: JsonObject, footprint: int, speed: float | None = None, gains: Mapping[str, float] | None = None
) -> Roof | None:
    """The roof that the report of a plan states; None if its machine was not measured. See `Roof`."""
    machine = report.get("machine")
    if not isinstance(machine, dict):
        return None
    peak, memory = machine.get("peak_gflops"), machine.get("memory")
    if not isinstance(peak, int | float) or not isinstance(memory, list):
        return None
    levels = tuple(level for item in memory if (level := _level(item)) is not None)
    return Roof(float(peak), levels, footprint, speed, gains or {}) if levels else None


def _level(item: Json) -> Level | None:
    if not isinstance(item, dict):
        return None
    name, size, speed = item.get("name"), item.get("bytes"), item.get("gigabytes_per_second")
    if isinstance(name, str) and isinstance(size, int) and isinstance(speed, int | float) and speed > 0:
        return Level(name, size, float(speed))
    return None


def standing(step: JsonObject, milliseconds: float | None, roof: Roof | None) -> Standing | None:
    """Where a step of a report stands that takes so long; None if the report or the roof says too little."""
    work = step.get("work")
    if roof is None or not isinstance(work, dict) or not milliseconds:
        return None
    numbers = [work.get(key) for key in ("flops", "activation_bytes", "constant_bytes")]
    flops, activations, constants = (number if isinstance(number, int) else 0 for number in numbers)
    near, far = roof.level(activations), roof.constants
    arithmetic = flops / roof.peak(step.get("precision"))
    moving = [(activations / near.gigabytes_per_second, near.name), (constants / far.gigabytes_per_second, far.name)]
    movement = sum(time for time, _ in moving)
    bound = "arithmetic" if arithmetic >= movement else max(moving)[1]
    nanoseconds = milliseconds * 1e6
    return Standing((activations + constants) / nanoseconds, bound, max(arithmetic, movement) / nanoseconds)


def findings(standings: Sequence[Standing | None], milliseconds: Sequence[float]) -> list[int]:
    """The steps that matter and are not near enough to their roofline, by number, the most time to gain first."""
    total = sum(milliseconds)
    gains = {
        number: (1 - where.share) * time
        for number, (where, time) in enumerate(zip(standings, milliseconds, strict=True))
        if where is not None and where.share < NEAR_ENOUGH and time >= MATTERS * total
    }
    return sorted(gains, key=lambda number: -gains[number])
