"""Channels that lie side by side."""

from __future__ import annotations

from tensorwright.codegen.target import Target
from tensorwright.kernels.numerics import FLOAT_TOTAL
from tensorwright.tensor.layout import Layout


def blocked_layout(target: Target) -> Layout:
    """The blocked layout of floats, whatever they are in memory: a block is a vector register of their sums."""
    return Layout(target.lanes(FLOAT_TOTAL))
