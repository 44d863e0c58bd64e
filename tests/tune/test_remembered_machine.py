"""What the timing cache remembers of a machine: the best that was ever measured."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from graphs import given, network, unary
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.devices.cpu.host import host_stamp
from tensorwright.tune.cache import TimingCache
from tensorwright.tune.cpu.bench import CpuBench
from tensorwright.tune.cpu.machine import LEVELS, capacities
from tensorwright.tune.machine import (
    LATELY,
    Machine,
    MemoryLevel,
    remember_machine,
    remembered_machine,
    was_measured_lately,
)

TARGET = TARGETS["baseline"]
NOW = 1.8e9
QUIET = Machine(100.0, tuple(MemoryLevel(name, 0, speed) for name, speed in zip(LEVELS, (90, 70, 50, 20), strict=True)))


def test_disturbed_measurements_change_nothing() -> None:
    cache, stamp, levels = TimingCache(None, print), host_stamp(TARGET.name), capacities(TARGET, 1)
    disturbed = replace(
        QUIET, peak_gflops=60.0, levels=(replace(QUIET.levels[0], gigabytes_per_second=95.0), *QUIET.levels[1:])
    )
    assert remembered_machine(cache, stamp, levels, 1) is None
    for found in (QUIET, disturbed):
        remember_machine(cache, stamp, found, 1, NOW)
    known = remembered_machine(cache, stamp, levels, 1)
    assert known is not None
    assert known.peak_gflops == 100.0
    assert [level.gigabytes_per_second for level in known.levels] == [95.0, 70.0, 50.0, 20.0]
    assert remembered_machine(cache, stamp, levels, 2) is None


def test_a_machine_is_measured_again_when_an_hour_has_passed(tmp_path: Path) -> None:
    stamp, path = host_stamp(TARGET.name), tmp_path / "timings.json"
    cache = TimingCache(path, print)
    assert not was_measured_lately(cache, stamp, 1, NOW)
    remember_machine(cache, stamp, QUIET, 1, NOW)
    assert cache.save()
    other = TimingCache(path, print)
    times = (NOW, NOW + LATELY - 1, NOW + LATELY, NOW - 1)  # The last one: somebody has set the clock back.
    assert [was_measured_lately(other, stamp, 1, time) for time in times] == [True, True, False, False]
    assert not was_measured_lately(other, stamp, 2, NOW)


def test_builds_of_one_hour_measure_the_machine_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured = list[int]()

    def machine(bench: CpuBench) -> Machine:
        measured.append(bench.threads)
        levels = (MemoryLevel(name, held, 1.0) for name, held in bench.capacities)
        return Machine(float(len(measured)), tuple(levels))

    monkeypatch.setattr(CpuBench, "machine", machine)
    peaks = list[object]()
    for width, days in ((5, 0), (5, 0), (6, 0), (7, 1)):
        monkeypatch.setattr(sys.modules["tensorwright.build.build"], "time", lambda days=days: NOW + 86400 * days)
        graph = network(unary("exp", given("x", 3, width)))
        plan = build(graph, BuildConfig(level=1, threads=1, timing_cache=tmp_path / "timings.json"))
        peaks.append(plan.report["machine"]["peak_gflops"])
    assert peaks == [1, 1, 1, 2]
