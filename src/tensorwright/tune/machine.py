"""What a machine can do at best: arithmetic peak, and how fast each level of its memory can be read.

Both are what all threads reach together, each working on data of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.plan.plan import Json, MachineStamp
from tensorwright.tune.cache import TimingCache, machine_key

LATELY = 3600.0
"""For so many seconds nothing that was measured of a machine is measured again."""

Capacities = Sequence[tuple[str, int]]
"""Names of levels of memory, from the fastest to the largest, and bytes that each holds (0 for no limit)."""


@dataclass(frozen=True)
class MemoryLevel:
    """A level of memory: bytes that it holds for all threads together (0 for no limit), and GB/s of reading them."""

    name: str
    bytes: int
    gigabytes_per_second: float


@dataclass(frozen=True)
class Machine:
    """peak_gflops: float32, multiply-adds counted as two; levels: from the fastest to the largest."""

    peak_gflops: float
    levels: tuple[MemoryLevel, ...]

    def json(self) -> dict[str, Json]:
        """As the report of a plan says it."""
        return {"peak_gflops": self.peak_gflops, "memory": [dict(vars(level)) for level in self.levels]}

    @property
    def capacities(self) -> Capacities:
        return [(level.name, level.bytes) for level in self.levels]


def remembered_machine(cache: TimingCache, stamp: MachineStamp, capacities: Capacities, threads: int) -> Machine | None:
    """What the cache says of the machine whose memory has these levels; None if it says nothing."""
    found = [cache.get(machine_key(stamp, threads, name)) for name in _names(capacities)]
    known = [value for value in found if value is not None]
    if len(known) < len(found):
        return None
    peak, *speeds = known
    return Machine(peak, tuple(MemoryLevel(n, b, s) for (n, b), s in zip(capacities, speeds, strict=True)))


def remember_machine(cache: TimingCache, stamp: MachineStamp, machine: Machine, threads: int, now: float) -> None:
    """Keep the best of what was measured now and what the cache says: other work only disturbs.

    now: seconds since 1970.
    """
    numbers = [machine.peak_gflops, *(level.gigabytes_per_second for level in machine.levels)]
    for name, value in zip(_names(machine.capacities), numbers, strict=True):
        key = machine_key(stamp, threads, name)
        cache.put(key, max(value, cache.get(key) or 0.0))
    cache.put(machine_key(stamp, threads, _TIME), now)


def was_measured_lately(cache: TimingCache, stamp: MachineStamp, threads: int, now: float) -> bool:
    """Whether the machine was measured within the last hour, by whichever process."""
    then = cache.get(machine_key(stamp, threads, _TIME))
    return then is not None and 0 <= now - then < LATELY


_TIME = "time of measuring"


def _names(capacities: Capacities) -> list[str]:
    return ["peak", *(name for name, _ in capacities)]
