"""The times of steps from the marks that threads leave."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.runtime import profiler


class Marked:
    """A context whose inferences leave given marks."""

    step_names = ("a", "b", "c")

    def __init__(self, runs: Sequence[Sequence[int]]) -> None:
        self._runs = iter(runs)

    def profile(self, inputs: object, steps: int, outputs: object) -> list[int]:
        assert (steps, outputs) == (len(self.step_names), None)
        return list(next(self._runs))


def test_a_step_takes_the_least_time_of_all_runs() -> None:
    found = profiler.profile(Marked([[0, 10, 30, 60], [100, 112, 130, 165], [200, 211, 229, 270]]), {}, runs=3)
    assert [step.ticks for step in found.steps] == [10, 18, 30]
    assert [step.name for step in found.steps] == ["a", "b", "c"]


def test_runs_whose_marks_are_out_of_order_do_not_count() -> None:
    late_start = [190, 110, 130, 160]
    found = profiler.profile(Marked([[0, 50, 20, 60], late_start, [200, 210, 230, 260]]), {}, runs=3)
    assert [step.ticks for step in found.steps] == [10, 20, 30]


def test_steps_that_always_end_out_of_order_take_no_negative_time() -> None:
    found = profiler.profile(Marked([[0, 50, 20, 60], [100, 150, 110, 165]]), {}, runs=2)
    assert [step.ticks for step in found.steps] == [50, 0, 10]
    assert found.nanoseconds >= 0
