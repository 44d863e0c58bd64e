"""What the timing cache remembers of a machine: the best that was ever measured."""

from __future__ import annotations

from dataclasses import replace

from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.devices.cpu.host import host_stamp
from tensorwright.tune.cache import TimingCache
from tensorwright.tune.cpu.machine import LEVELS, capacities
from tensorwright.tune.machine import Machine, MemoryLevel, remember_machine, remembered_machine

TARGET = TARGETS["baseline"]
QUIET = Machine(100.0, tuple(MemoryLevel(name, 0, speed) for name, speed in zip(LEVELS, (90, 70, 50, 20), strict=True)))


def test_disturbed_measurements_change_nothing() -> None:
    cache, stamp, levels = TimingCache(None, print), host_stamp(TARGET.name), capacities(TARGET, 1)
    disturbed = replace(
        QUIET, peak_gflops=60.0, levels=(replace(QUIET.levels[0], gigabytes_per_second=95.0), *QUIET.levels[1:])
    )
    assert remembered_machine(cache, stamp, levels, 1) is None
    for found in (QUIET, disturbed):
        remember_machine(cache, stamp, found, 1)
    known = remembered_machine(cache, stamp, levels, 1)
    assert known is not None
    assert known.peak_gflops == 100.0
    assert [level.gigabytes_per_second for level in known.levels] == [95.0, 70.0, 50.0, 20.0]
    assert remembered_machine(cache, stamp, levels, 2) is None
