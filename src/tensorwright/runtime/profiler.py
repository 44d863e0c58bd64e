"""Where the time of an inference goes, step by step."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from tensorwright.base.errors import ExecutionError
from tensorwright.runtime.arrays import Array
from tensorwright.runtime.context import ExecutionContext

CALIBRATION_SECONDS = 0.02


@dataclass(frozen=True)
class StepTime:
    """The time of one step: ticks of the device's counter and nanoseconds."""

    name: str
    ticks: int
    nanoseconds: float


@dataclass(frozen=True)
class Profile:
    """The times of all steps of one inference, in order."""

    steps: tuple[StepTime, ...]
    nanoseconds_per_tick: float

    @property
    def nanoseconds(self) -> float:
        """The whole inference, without the call."""
        return sum(step.nanoseconds for step in self.steps)


def profile(
    context: ExecutionContext,
    inputs: Array | Mapping[str, Array],
    runs: int = 10,
    *,
    outputs: Mapping[str, Array] | None = None,
) -> Profile:
    """Run several times and keep the smallest time of each step.

    The rate of the counter is measured against the clock by the ends of two runs that lie some time apart.

    outputs: arrays that results are written into, by name of output, as in a call: caches that stay where they are.

    Raises:
        ExecutionError: the plan does not name its steps, or the inputs are wrong.
    """
    names = context.step_names
    if not names:
        raise ExecutionError("the plan cannot be profiled: its report does not name its steps; build it again")
    count = len(names)
    first, first_clock = context.profile(inputs, count, outputs), time.perf_counter_ns()
    time.sleep(CALIBRATION_SECONDS)
    last, last_clock = context.profile(inputs, count, outputs), time.perf_counter_ns()
    rate = (last_clock - first_clock) / max(1, last[-1] - first[-1])
    samples = [first, last, *(context.profile(inputs, count, outputs) for _ in range(runs - 2))]
    ticks = [min(times) for times in zip(*map(_spent, _orderly(samples)), strict=True)]
    steps = tuple(StepTime(name, spent, spent * rate) for name, spent in zip(names, ticks, strict=True))
    return Profile(steps, rate)


def _orderly(samples: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
    """The runs whose marks follow each other; all runs if there are none.

    Where threads have no core of their own, others may have done the steps before the first one marks the start.
    """
    return [marks for marks in samples if all(a <= b for a, b in pairwise(marks))] or samples


def _spent(marks: Sequence[int]) -> list[int]:
    """The ticks of each step. Threads that do not wait for each other may end steps out of order: a step that ends
    before an earlier one took no time of its own.
    """
    return [end - start for start, end in pairwise(accumulate(marks, max))]
