"""Convolutions of all shapes, for tests that draw them."""

from __future__ import annotations

from hypothesis import strategies as st

from regions.convolutions import Window
from tensorwright.tensor.dtype import DType

TAILS = st.sampled_from(["", "bias", "bias relu", "bias add relu"])
EXTENTS = st.integers(1, 3) | st.integers(15, 18)


@st.composite
def windows(draw: st.DrawFn, channels: st.SearchStrategy[int], dtype: DType) -> Window:
    """Along two axes; images are as large as one window at least."""
    kernel, dilations, strides = (draw(st.tuples(*[st.integers(1, 3)] * 2)) for _ in range(3))
    begin, end = (draw(st.tuples(*[st.integers(0, 3)] * 2)) for _ in range(2))
    spans = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    spatial = [max(draw(EXTENTS), span - b - e) for span, b, e in zip(spans, begin, end, strict=True)]
    x = (draw(st.integers(1, 2)), draw(channels), *map(int, spatial))
    return Window(x, draw(st.integers(1, 50)), kernel, strides, begin, end, dilations, 1, draw(TAILS), dtype)
