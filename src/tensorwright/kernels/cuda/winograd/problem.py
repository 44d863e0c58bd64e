"""Convolutions that Winograd's algorithm computes, as tiles of outputs."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.problem import Problem, RowAxis, problem_of
from tensorwright.ops.convolution import Convolution
from tensorwright.tensor.dim import Dim, product
from tensorwright.tensor.dtype import FLOAT32

OUTPUTS, TAPS = 2, 3
"""Of a tile, and of the kernel, along each axis."""
POINTS = OUTPUTS + TAPS - 1
"""Along each axis: inputs of a tile as well."""
PLACES = POINTS * POINTS
EIGHT = 8
"""Tiles, and channels, of a fragment."""


@dataclass(frozen=True)
class Axis:
    """A spatial axis: its extents, and the padding before the input."""

    input: int
    output: int
    before: int

    @property
    def tiles(self) -> int:
        return -(-self.output // OUTPUTS)

    @property
    def clips(self) -> bool:
        """Whether some tile reads beside the input."""
        return self.before > 0 or OUTPUTS * (self.tiles - 1) + POINTS > self.input


@dataclass(frozen=True)
class Winograd:
    """A convolution with 3×3 taps at stride 1. problem: the same as rows, columns and a depth."""

    problem: Problem
    down: Axis
    right: Axis

    @property
    def tile_extents(self) -> tuple[Dim, int, int]:
        """Images, and tiles of each, one below the other and side by side."""
        return self.problem.row_axes[0].extent, self.down.tiles, self.right.tiles

    @property
    def tiles(self) -> Dim:
        return product(self.tile_extents)


def tiles_of(row_axes: tuple[RowAxis, ...]) -> Dim:
    """Tiles of all images of a problem."""
    images, height, width = (axis.extent for axis in row_axes)
    return images * ((height + (OUTPUTS - 1)) // OUTPUTS) * ((width + (OUTPUTS - 1)) // OUTPUTS)


def winograd_of(region: Region) -> Winograd | None:
    """The convolution that a region is built around, if it has 3×3 taps side by side at stride 1, and whole fragments
    of channels.
    """
    problem, op = problem_of(region, (FLOAT32,)), None if region.anchor is None else region.anchor.op
    if problem is None or region.anchor is None or not isinstance(op, Convolution) or problem.channels % EIGHT:
        return None
    kernel = region.anchor.inputs[1].type.shape[2:]
    if kernel != (TAPS, TAPS) or any(one != 1 for one in (*op.strides, *op.dilations)):
        return None
    inputs, outputs = region.anchor.inputs[0].type.shape[2:], region.anchor.type.shape[2:]
    axes = [
        Axis(given, found, before)
        for given, found, before in zip(inputs, outputs, op.pads_begin, strict=True)
        if isinstance(given, int) and isinstance(found, int)
    ]
    return Winograd(problem, *axes)
