"""Quotients of dimensions: what divides without a rest is divided, and numbers are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorwright.tensor.dim import Dim, evaluate, floor_divide, maximum, product, remainder, symbol

T, N = symbol("t", 1, 4, 90), symbol("n", 0, 3, 70)
NUMBERS = st.fixed_dictionaries({"t": st.integers(1, 90), "n": st.integers(0, 70)})
TERMS = st.sampled_from([1, 2, 3, 7, T, N, T * T, T * N, T // 2, N % 3, 5 * N])
SUMS = st.lists(TERMS, min_size=1, max_size=3).map(sum)


@pytest.mark.parametrize(
    ("quotient", "divisor"),
    [
        (3, T + 1),
        (N, T + 1),
        (6 * N, 2 * T + N + 1),
        (T - 1, T + 1),
        ((N + 3) // 4 + 2, T // 2 + 1),
        (T + N, T * N + 2),
    ],
)
def test_what_divides_without_a_rest_is_divided(quotient: Dim, divisor: Dim) -> None:
    assert floor_divide(quotient * divisor, divisor) == quotient
    assert remainder(quotient * divisor, divisor) == 0
    assert floor_divide(quotient * divisor + 1, divisor) != quotient


@given(SUMS, SUMS, SUMS, NUMBERS)
def test_quotients_are_those_of_the_numbers(quotient: Dim, divisor: Dim, rest: Dim, numbers: dict[str, int]) -> None:
    divisor = maximum(divisor, 1) if evaluate(divisor, {"t": 1, "n": 0}) < 1 else divisor
    for numerator in (quotient * divisor, quotient * divisor + rest, rest):
        exact, by = evaluate(numerator, numbers), evaluate(divisor, numbers)
        assert evaluate(floor_divide(numerator, divisor), numbers) == exact // by
        assert evaluate(remainder(numerator, divisor), numbers) == exact % by


def test_long_quotients_are_not_searched_for() -> None:
    """They come from hostile models: the division of each term takes time."""
    long = sum(product([T] * power) for power in range(12))
    found = floor_divide(long * (N + 1), N + 1)
    assert evaluate(found, {"t": 2, "n": 5}) == 2**12 - 1
    assert "//" in repr(found)
