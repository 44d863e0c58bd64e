"""The arena planner never lets tensors overlap that are alive together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorwright.schedule.arena import ALIGNMENT, Block, lower_bound, place


@st.composite
def blocks(draw: st.DrawFn) -> list[Block]:
    spans = draw(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 30), st.integers(0, 10)), max_size=30))
    return [Block(size, first, first + length) for size, first, length in spans]


@given(blocks())
def test_blocks_alive_together_do_not_overlap(items: list[Block]) -> None:
    placement = place(items)
    for i, a in enumerate(items):
        assert placement.offsets[i] % ALIGNMENT == 0
        assert placement.offsets[i] + a.size <= placement.size
        for j, b in enumerate(items[:i]):
            if a.overlaps(b) and a.size and b.size:
                assert (
                    placement.offsets[i] + a.size <= placement.offsets[j]
                    or placement.offsets[j] + b.size <= placement.offsets[i]
                )
    assert placement.lower_bound <= placement.size


@pytest.mark.parametrize(
    ("items", "size"),
    [
        ([], 0),
        ([Block(100, 0, 1), Block(100, 1, 2), Block(100, 2, 3)], 256),
        ([Block(64, 0, 9), Block(128, 0, 1), Block(128, 2, 3)], 192),
    ],
)
def test_known_optima(items: list[Block], size: int) -> None:
    assert place(items).size == size == place(items).lower_bound


def test_lower_bound_counts_what_is_alive_at_once() -> None:
    assert lower_bound([Block(10, 0, 2), Block(20, 2, 4), Block(40, 3, 5)]) == 60


@given(blocks())
def test_lower_bound_is_reached_at_some_step(items: list[Block]) -> None:
    steps = {block.first for block in items}
    assert lower_bound(items) == max((sum(b.size for b in items if b.first <= s <= b.last) for s in steps), default=0)
