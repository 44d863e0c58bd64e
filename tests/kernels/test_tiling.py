"""Tiles of positions: sizes, and which of them share code, as if every tile were looked at."""

from __future__ import annotations

from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorwright.kernels.convolution.problem import Axis
from tensorwright.kernels.cpu.matmul import shapes
from tensorwright.kernels.cpu.spatial.runs import Sizes, even_size, even_sizes, full_sizes, runs_of, tile_start

AXES = st.builds(
    Axis, st.integers(1, 30), st.integers(1, 40), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3),
    st.integers(0, 12),
)  # fmt: skip
LONG = 10**7


@given(st.integers(1, 100), st.integers(1, 20))
def test_sizes(extent: int, limit: int) -> None:
    even = [size for size, count in even_sizes(extent, limit) for _ in range(count)]
    assert sum(even) == extent
    assert max(even) - min(even) <= 1
    assert even == sorted(even, reverse=True)
    assert len(even) == -(-extent // limit) == even_sizes(extent, limit).count
    assert even[0] == even_size(extent, limit)
    full = [size for size, count in full_sizes(extent, limit) for _ in range(count)]
    assert full == [min(limit, extent - start) for start in range(0, extent, limit)]


@given(AXES, st.integers(1, 9), st.booleans(), st.none() | st.tuples(st.integers(-5, 0), st.integers(0, 40)))
def test_tiles_of_one_kind_share_code(axis: Axis, limit: int, walked: bool, counted: tuple[int, int] | None) -> None:
    sizes = even_sizes(axis.output, limit)
    expected, start, number = [], 0, 0
    for size in [size for size, count in sizes for _ in range(count)]:
        positions = range(start, start + size)
        valid = tuple(
            tuple(at for at, position in enumerate(positions) if walked or axis.reads(position, tap))
            for tap in range(axis.kernel)
        )
        counts = [
            0 if counted is None else sum(counted[0] <= axis.source(p, tap) < counted[1] for tap in range(axis.kernel))
            for p in positions
        ]
        expected.append((size, valid, counts, number, start))
        start, number = start + size, number + 1
    groups = [list(group) for _, group in groupby(expected, key=lambda tile: tile[:3])]
    runs = runs_of(axis, sizes, walked=walked, counted=counted)
    assert [(run.size, run.valid, run.first, run.count, run.start) for run in runs] == [
        (group[0][0], group[0][1], group[0][3], len(group), group[0][4]) for group in groups
    ]
    assert [tile_start(runs, n) for n in range(len(expected) + 1)] == [*(tile[4] for tile in expected), axis.output]


@pytest.mark.parametrize("walked", [False, True])
def test_long_axes_take_no_time(walked: bool) -> None:
    axis = Axis(LONG, LONG, 3, 1, 1, 1)
    runs = runs_of(axis, Sizes(((1, LONG),)), walked=walked)
    assert [run.count for run in runs] == ([LONG] if walked else [1, LONG - 2, 1])


def test_long_padding_takes_no_time() -> None:
    axis = Axis(8, LONG, 3, 1, 1, LONG // 2)
    runs = runs_of(axis, Sizes(((1, LONG),)), counted=(-LONG, 4))
    assert sum(run.count for run in runs) == LONG
    assert sum(run.count for run in runs if any(run.valid)) == 10


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 16))
def test_balance(tiles: int, units: int, groups: int) -> None:
    sizes = [tiles * (group + 1) // groups - tiles * group // groups for group in range(groups)] * units
    expected = 1.0
    for threads in shapes.THREADS:
        edges = [len(sizes) * thread // threads for thread in range(threads + 1)]
        largest = max(sum(sizes[a:b]) for a, b in pairwise(edges))
        expected *= sum(sizes) / threads / largest
    assert shapes._balance(tiles, units, groups, shapes.THREADS) == pytest.approx(expected)
