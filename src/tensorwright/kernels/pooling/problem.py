"""A pooling in plain numbers, as its kernels see it."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import NO_WEIGHTS, Axis, Problem
from tensorwright.kernels.numerics import BYTES, IN_BLOCKS, Numerics, numerics_of
from tensorwright.ops.pooling import Pool
from tensorwright.tensor.dtype import DType


@dataclass(frozen=True)
class Pooling:
    """The largest element or the mean under a window: as a convolution, every channel is a group of its own.

    counted: along every axis, the range of indices (relative to the input) of elements that count in a mean.
    """

    problem: Problem
    is_max: bool
    counted: tuple[tuple[int, int], ...]

    def counts(self, number: int, start: int, size: int = 1) -> list[int]:
        """How many of a window's elements count in a mean along an axis, for neighbouring positions."""
        axis = self.problem.axes[number]
        return [axis.taps_in(*self.counted[number], start + place) for place in range(size)]


def pooling_of(region: Region) -> Pooling | None:
    """The pooling that a region is built around; None if it is none, or not one for hand-written kernels.

    Those find maxima of floats or bytes, means of floats, and have no symbolic dimension but the batch.
    """
    anchor = region.anchor
    if (
        anchor is None
        or not isinstance(anchor.op, Pool)
        or anchor.op.mode == "lp"
        or not region.is_elementwise_around_anchor
    ):
        return None
    op, x = anchor.op, anchor.inputs[0]
    numerics = _numerics(op, x.type.dtype)
    types = (x.type, anchor.type, region.output.type)
    if x not in region.inputs or is_constant(x) or region.output.type.dtype not in IN_BLOCKS:
        return None
    if numerics is None or any(not isinstance(dim, int) for type in types for dim in type.shape[1:]):
        return None
    channels, *extents = (int(dim) for dim in x.type.shape[1:])  # type: ignore[arg-type]
    outputs = [int(dim) for dim in anchor.type.shape[2:]]  # type: ignore[arg-type]
    if 0 in (x.type.shape[0], channels, *extents, *outputs):
        return None
    axes = tuple(_axis(op, number, *each) for number, each in enumerate(zip(extents, outputs, strict=True)))
    counted = tuple(
        (-before, extent + after) if op.count_include_pad else (0, extent)
        for extent, before, after in zip(extents, op.pads_begin, op.pads_end, strict=True)
    )
    rank, number = len(axes), region.input_number(x)
    if rank == 1:
        axes, counted = (Axis(1, 1, 1), *axes), ((0, 1), *counted)
    problem = Problem(x.type.shape[0], channels, 1, 1, axes, number, NO_WEIGHTS, None, rank, numerics=numerics)
    return Pooling(problem, op.mode == "max", counted)


def _numerics(op: Pool, dtype: DType) -> Numerics | None:
    """The types of means of floats, and of maxima of floats or bytes, which are compared as they are."""
    if dtype in BYTES:
        return Numerics(dtype, dtype, dtype, dtype) if op.mode == "max" else None
    return numerics_of(dtype, dtype, dtype)


def _axis(op: Pool, number: int, extent: int, output: int) -> Axis:
    """A spatial axis, without the taps that read padding at every position."""
    taps, dilation = op.taps(number, extent, output), op.dilations[number]
    return Axis(extent, output, len(taps), op.strides[number], dilation, op.pads_begin[number] - taps.start * dilation)
