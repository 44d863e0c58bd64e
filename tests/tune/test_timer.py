"""The race of kernels, on a clock that the kernels themselves set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphs import binary, drawn, given
from targets import RUNNABLE
from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.region import region_of
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.tune.cpu import timer
from tensorwright.tune.cpu.bench import CpuBench, CpuPrepared
from tensorwright.tune.cpu.kernel_runner import LoadedKernel, Operands, prepare
from tensorwright.tune.cpu.timer import ALL_TURNS, FIRST_TURNS, MAX_COPIES, Contestant, race, run_timed, timed_call
from tensorwright.tune.reference import places_of


class Clock:
    """Time passes only while something pretends to compute."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def passing(self, seconds: Callable[[int], float]) -> Pretender:
        return Pretender(self, seconds)


class Pretender:
    """A call whose n-th run takes so many seconds."""

    def __init__(self, clock: Clock, seconds: Callable[[int], float]) -> None:
        self.clock, self.seconds, self.runs, self.turns = clock, seconds, 0, list[int]()
        self.loaded, self.waits, self.evicting = self, 0.0, 1

    def call(self, *arguments: int) -> None:
        self.clock.now += self.seconds(self.runs)
        self.runs += 1

    def arguments(self, turn: int) -> tuple[int, ...]:
        self.turns.append(turn)
        return ()

    def copied(self, most: int) -> Pretender:
        self.copies = most
        return self


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(timer, "time", found)
    return found


def _raced(*calls: Pretender) -> list[Contestant]:
    contestants = [Contestant([call]) for call in calls]  # type: ignore[list-item]
    race(contestants)
    return contestants


def test_nobody_races() -> None:
    race([])


def test_seconds_are_the_lower_quartile(clock: Clock) -> None:
    (one,) = _raced(clock.passing(lambda run: 1e-3 if run % 2 else 3e-3))
    assert one.seconds == pytest.approx(1e-3)
    assert len(one.times) == ALL_TURNS


def test_those_far_behind_drop_out(clock: Clock) -> None:
    fast, near, slow = (clock.passing(lambda run, s=s: s) for s in (1e-3, 1.2e-3, 2e-3))  # type: ignore[misc]
    raced = _raced(slow, fast, near)
    assert [len(one.times) for one in raced] == [FIRST_TURNS, ALL_TURNS, ALL_TURNS]
    assert [one.seconds for one in raced] == pytest.approx([2e-3, 1e-3, 1.2e-3])


def test_long_calls_are_repeated_until_they_took_long_enough(clock: Clock) -> None:
    calls = [clock.passing(lambda run, s=s: s) for s in (0.012, 0.014, 0.2)]  # type: ignore[misc]
    raced = _raced(*calls)
    assert [call.runs for call in calls] == [1 + 5, 1 + 5, 1]
    assert [one.seconds for one in raced] == pytest.approx([0.012, 0.014, 0.2])


def test_one_turn_tells_enough_of_steady_calls(clock: Clock) -> None:
    calls = [clock.passing(lambda run, s=s: s) for s in (0.03, 0.05, 0.032)]  # type: ignore[misc]
    assert [len(one.times) for one in _raced(*calls)] == [2, 1, 2]
    assert [call.copies for call in calls] == [1 + 2] * 3
    (one,) = _raced(clock.passing(lambda run: 1.0))
    assert len(one.times) == 1


def test_steady_calls_far_behind_are_not_repeated(clock: Clock) -> None:
    calls = [clock.passing(lambda run, s=s: s) for s in (0.03, 0.061, 0.059)]  # type: ignore[misc]
    assert [len(one.times) for one in _raced(*calls)] == [2, 1, 1]
    assert [call.runs for call in calls] == [3, 1, 2]


def test_what_ran_before_is_not_begun_again(clock: Clock) -> None:
    calls = [clock.passing(lambda run, s=s: s) for s in (0.03, 0.2)]  # type: ignore[misc]
    contestants = [Contestant([call], [call.seconds(0)]) for call in calls]  # type: ignore[list-item]
    race(contestants)
    assert [call.runs for call in calls] == [2, 0]
    assert [one.seconds for one in contestants] == pytest.approx([0.03, 0.2])


def test_copies_are_as_many_as_turns_or_as_drive_each_other_out(clock: Clock) -> None:
    calls = [clock.passing(lambda run: 1e-3), clock.passing(lambda run: 1e-3), clock.passing(lambda run: 2e-2)]
    calls[1].evicting = calls[2].evicting = 30
    _raced(*calls[:2])
    _raced(calls[2])
    assert [call.copies for call in calls] == [1 + ALL_TURNS, 30, 1 + 3]


def test_short_calls_are_repeated_on_one_copy_after_another(clock: Clock) -> None:
    short, long = clock.passing(lambda run: 2e-6), clock.passing(lambda run: 9e-4)
    raced = _raced(short, long)
    assert [one.repeats for one in raced] == [10, 1]
    assert raced[0].seconds == pytest.approx(2e-6)
    assert short.turns == list(range(1, short.runs + 1))


def test_sequences_count_together(clock: Clock) -> None:
    parts = [clock.passing(lambda run: 1.0), clock.passing(lambda run: 0.5)]
    both = Contestant(parts)  # type: ignore[arg-type]
    race([both])
    assert both.seconds == pytest.approx(1.5)
    assert parts[0].runs == parts[1].runs


def test_waiting_between_waves_counts(clock: Clock) -> None:
    waiting, other = clock.passing(lambda run: 1.0), clock.passing(lambda run: 1.0)
    waiting.waits = 0.25
    assert [one.seconds for one in _raced(waiting, other)] == [1.25, 1.0]


def test_the_first_run_of_all_tasks_times_one_share(clock: Clock) -> None:
    calls: list[tuple[int, ...]] = []

    class Loaded:
        def call(self, *arguments: int) -> None:
            calls.append(arguments[-2:])
            clock.now += arguments[-1] - arguments[-2]

    operands = Operands(np.zeros(1), (), np.zeros(1), (), 7)
    assert run_timed(Loaded(), operands, 4) == 4  # type: ignore[arg-type]
    assert calls == [(0, 4), (4, 7)]


def test_constants_are_copied_until_they_are_cold(rng: np.random.Generator) -> None:
    target, value = TARGETS[RUNNABLE[0]], binary("add", given("x", 64, 100), drawn(rng, 64, 100))
    region = region_of([value])
    kernel = Generic().emit(region, Generic().configs(region, target)[0], target)
    arrays = [rng.standard_normal((64, 100), dtype=np.float32), np.ones((64, 100), np.float32)]
    first, loaded = prepare(region, kernel, arrays, {}), LoadedKernel(kernel, target)
    size = arrays[1].nbytes
    for cold, copies in ((0, 1), (3 * size, 3), (10**9, MAX_COPIES)):
        call = timed_call(region, kernel, loaded, first, {}, 3, cold)
        assert call.operands == [first]
        assert len(call.copied(2).operands) == min(copies, 2)
        assert call.evicting == copies  # All of them take less than a cache holds.
        call = call.copied(MAX_COPIES)
        places = [operands.inputs[1].ctypes.data for operands in call.operands]
        assert places == list(range(places[0], places[0] + copies * size, size))
        assert all(np.array_equal(operands.inputs[1], first.inputs[1]) for operands in call.operands)
        assert len({operands.inputs[0].ctypes.data for operands in call.operands}) == 1
        assert call.share == -(-first.tasks // 3)
        assert call.arguments(copies) == call.arguments(0) == (*call.operands[0].arguments[:-1], call.share)


def test_kernels_share_inputs_that_lie_alike(rng: np.random.Generator) -> None:
    target, value = TARGETS[RUNNABLE[0]], binary("add", given("x", 2, 64, 5, 7), given("y", 2, 64, 5, 7))
    region, bench = region_of([value]), CpuBench(target, 1)
    plain, blocked = Generic().configs(region, target)[:2]
    arrays = [rng.standard_normal((2, 64, 5, 7), dtype=np.float32) for _ in range(2)]
    prepared: list[CpuPrepared] = []
    for config in (plain, blocked, plain, blocked):
        kernel = Generic().emit(region, config, target)
        compiled = compile_object(kernel.code, target)
        prepared.append(bench.prepare(region, kernel, compiled, arrays, {}, {}, prepared))
        np.testing.assert_array_equal(prepared[-1].run(), arrays[0] + arrays[1])
        places = places_of(region, {}, 50, rng)
        np.testing.assert_array_equal(prepared[-1].run(places), (arrays[0] + arrays[1])[places])
    addresses = [[array.ctypes.data for array in one.operands.inputs] for one in prepared]
    assert addresses[:2] == addresses[2:]
    assert not set(addresses[0]) & set(addresses[1])
    assert len({one.operands.output.ctypes.data for one in prepared}) == len(prepared)
