"""What is counted as throughput."""

from __future__ import annotations

import pytest

from tensorwright.cli.throughput import steady_rate


def test_filling_and_emptying_do_not_count() -> None:
    filling = [10.06 + 0.001 * number for number in range(10)]
    steady = [10.1 + 0.002 * number for number in range(450)]
    emptying = [11.02, 11.05, 11.2]
    assert steady_rate([*filling, *steady, *emptying], 10.0, 11.0) == pytest.approx(500)


def test_results_that_come_together_do_not_seem_more() -> None:
    """Ten at a time, at any phase: who counted from the first to the last would find up to 9 more."""
    for phase in (0.0, 0.3, 0.99):
        ends = [10 + 0.1 * (number // 10 + phase) for number in range(300)]
        assert steady_rate(ends, 10.0, 12.0) == pytest.approx(100, rel=0.02)


def test_all_of_few_results_count() -> None:
    assert steady_rate([3.5, 4.0], 2.0, 2.5) == pytest.approx(1)
    assert steady_rate([2.1 + 0.1 * number for number in range(11)], 2.0, 3.0) == pytest.approx(10)
