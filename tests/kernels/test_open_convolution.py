"""Convolutions of open extents: windows of all shapes over images of all sizes, smaller than a tile, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regions.checking import Trial
from regions.convolutions import Window
from regions.drawing import windows
from regions.example import Example, Symbols
from regions.rigs import CpuRig
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.kernels.cpu.convolution.open_tactic import OpenConvolution
from tensorwright.kernels.cpu.winograd.tactic import WinogradConvolution
from tensorwright.kernels.tactic import AnyConfig
from tensorwright.tensor.dim import bounds, symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32

MOST = 50
"""The largest height and width."""


HEIGHT, WIDTH = symbol("h", 1, 12, MOST), symbol("w", 1, 28, MOST)
DEEP = {
    "pointwise": Window((1, 1536, HEIGHT, WIDTH), 24, (1, 1), tail="bias add relu"),
    "pointwise-stride": Window((2, 1552, HEIGHT, WIDTH), 17, (1, 1), (2, 2), tail="bias"),
    "3x3-far-taps": Window((1, 272, HEIGHT, WIDTH), 40, (3, 3), begin=(6, 12), dilations=(6, 12), tail="bias relu"),
    "1x3": Window((1, 1040, HEIGHT, WIDTH), 8, (1, 3), (1, 2), (0, 1), tail=""),
}
"""So many channels that they are summed in parts, in tiles of AVX2 as in those of AVX-512."""


class OpenAlone(CpuRig):
    """Nothing but what is made for open extents."""

    tactics = (OpenConvolution(), WinogradConvolution())


def opened(window: Window, usual: tuple[int, int]) -> Window:
    """The window over images at least as large as it was, tuned for others."""
    least = [bounds(extent)[0] for extent in window.x[2:]]
    height, width = (
        symbol(name, low, max(low, often), MOST) for name, low, often in zip("hw", least, usual, strict=True)
    )
    return replace(window, x=(*window.x[:2], height, width))


def grouped(window: Window, groups: int) -> Window:
    """As many groups, each with channels and outputs as the window had altogether."""
    batch, channels, *spatial = window.x
    return replace(window, x=(batch, channels * groups, *spatial), outputs=window.outputs * groups, groups=groups)


def checked(window: Window, sizes: Sequence[tuple[int, int]], seed: int) -> int:
    """How many configs there are; three of them at most are tried, at these sizes; they are right."""
    rng = np.random.default_rng(seed)
    least = [bounds(extent)[0] for extent in window.x[2:]]
    places: list[Symbols] = [dict(zip("hw", map(max, size, least), strict=True)) for size in sizes]
    trial = Trial(Example("drawn", window, tuple(places)), OpenAlone(), rng)

    def some(key: str, configs: Sequence[AnyConfig]) -> Sequence[AnyConfig]:
        return [configs[int(number)] for number in rng.permutation(len(configs))[:3]]

    return trial.check(OpenAlone.main, some)


EXTENT = st.integers(1, 9) | st.integers(1, MOST)
SIZE = st.tuples(EXTENT, EXTENT)


@settings(max_examples=25)
@given(
    windows(st.integers(1, 40), FLOAT32),
    st.sampled_from((1, 1, 1, 2, 3, 8)),
    st.sampled_from((FLOAT32, FLOAT32, FLOAT16, BFLOAT16)),
    SIZE,
    st.lists(SIZE, min_size=3, max_size=3),
    st.integers(0, 99),
)
def test_all_shapes_and_sizes(window, groups, dtype, usual, sizes, seed) -> None:
    drawn = replace(window, dtype=dtype)
    drawn = drawn if groups == 1 else grouped(replace(drawn, outputs=drawn.outputs % 25 + 1), groups)
    assert checked(opened(drawn, usual), sizes, seed)


@settings(max_examples=15)
@given(
    windows(st.just(1), FLOAT32),
    st.sampled_from((1, 2, 4)),
    st.integers(1, 50),
    SIZE,
    st.lists(SIZE, min_size=3, max_size=3),
    st.integers(0, 99),
)
def test_lanes_apart(window, channels, groups, usual, sizes, seed) -> None:
    """As many outputs as channels in each of many groups."""
    drawn = replace(window, x=(window.x[0], channels, *window.x[2:]), outputs=channels)
    assert checked(opened(grouped(drawn, groups + 1), usual), sizes, seed)


@settings(max_examples=15)
@given(
    st.sampled_from(((1, (1, 1)), (1, (2, 2)), (1, (3, 1)), (1, (1, 2)), (2, (1, 1)))),
    st.sampled_from(((3, 3), (5, 5), (4, 4), (3, 5), (7, 7), (6, 6))),
    st.tuples(*[st.integers(0, 3)] * 4),
    st.sampled_from((3, 16, 20, 35)),
    st.sampled_from((FLOAT32, FLOAT32, FLOAT16, BFLOAT16)),
    SIZE,
    st.lists(SIZE, min_size=3, max_size=3),
    st.integers(0, 99),
)
def test_windows_for_winograd(steps, kernel, padding, channels, dtype, usual, sizes, seed) -> None:
    stride, dilations = steps
    spans = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    least = [max(1, size - a - b) for size, a, b in zip(spans, padding[:2], padding[2:], strict=True)]
    window = Window((2, channels, *least), 24, kernel, (stride, stride), padding[:2], padding[2:], dilations)
    assert checked(opened(replace(window, tail="bias add relu", dtype=dtype), usual), sizes, seed)


def test_far_taps(rng: np.random.Generator) -> None:
    """Taps so far apart that some or all but one read padding alone."""
    for dilation in (2, 5, 12, 24):
        x = (1, 40, symbol("h", 1, 14, MOST), symbol("w", 1, 14, MOST))
        window = Window(x, 24, (3, 3), begin=(dilation,) * 2, dilations=(dilation,) * 2, tail="bias relu")
        assert checked(window, [(14, 14), (3, 5), (33, 29)], int(rng.integers(99)))


@pytest.mark.parametrize("name", DEEP)
def test_channels_in_parts(name: str, rng: np.random.Generator) -> None:
    """All ways of it; with large tasks, too, whose sums do not fit into workspace at once."""

    def in_parts(key: str, configs: Sequence[AnyConfig]) -> Sequence[AnyConfig]:
        chosen = [config for config in configs if getattr(config.options, "depth", 0)]
        return [*chosen, *(replace(config, options=replace(config.options, pixels=MOST**2)) for config in chosen[:1])]

    places: list[Symbols] = [{"h": 3, "w": 2}, {"h": 7, "w": 19}, {"h": 40, "w": 37}]
    assert Trial(Example("deep", DEEP[name], tuple(places)), OpenAlone(), rng).check(OpenAlone.main, in_parts) >= 3


def test_tiles_are_chosen_for_the_usual_extents(rng: np.random.Generator) -> None:
    """The first tile divides a row of the usual width."""
    for width in (8, 14, 26, 39):
        window = Window((1, 64, symbol("h", 1, 9, MOST), symbol("w", 1, width, MOST)), 64, (3, 3), begin=(1, 1))
        first, *_ = OpenConvolution().configs(window.region(rng), TARGETS["avx512"])
        assert width % first.options.columns == 0
