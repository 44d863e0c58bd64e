"""Tiles of a Winograd convolution along one axis: their points, the phases of their inputs, those that share code."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.kernels.convolution.problem import Axis
from tensorwright.kernels.cpu.spatial.runs import full_sizes, grouped


@dataclass(frozen=True)
class TileAxis:
    """One axis of a tile: `outputs` of a kernel that moves by `stride`.

    Phase q of the tile's inputs, every stride-th from q on, meets the taps q, q + stride, … of the kernel at stride 1;
    the sum of the phases is the output. Phases of fewer taps than the first have one, and nothing at infinity.
    """

    outputs: int
    kernel: int
    stride: int

    @property
    def taps(self) -> int:
        """The most that a phase has."""
        return most_taps(self.kernel, self.stride)

    @property
    def points(self) -> int:
        """Of them infinity is the last."""
        return self.outputs + self.taps - 1

    @property
    def inputs(self) -> int:
        return (self.outputs - 1) * self.stride + self.kernel

    def phases(self, point: int) -> int:
        """So many phases, the first ones, have something at a point."""
        return self.stride if point < self.points - 1 else self.kernel - (self.taps - 1) * self.stride

    def phase_points(self, phase: int) -> int:
        """The points of a phase, as many as its inputs."""
        return self.points if phase < self.phases(self.points - 1) else self.points - 1


def every(axis: Axis) -> Axis:
    """What every so many positions see of an axis whose taps are so far apart: an axis without dilation."""
    apart = axis.dilation
    return Axis(
        -(-axis.input // apart), -(-axis.output // apart), axis.kernel, axis.stride, before=-(-axis.before // apart)
    )


def most_taps(kernel: int, stride: int) -> int:
    return -(-kernel // stride)


@dataclass(frozen=True)
class TileRun:
    """Neighbouring tiles along one axis with the same code.

    valid: which of a tile's inputs lie in the image; outputs: how many of its outputs do.
    """

    first: int
    count: int
    valid: tuple[int, ...]
    outputs: int
    tile: TileAxis


def tile_runs(axis: Axis, size: int, *, short: bool) -> tuple[TileRun, ...]:
    """All tiles of an axis; `short`: the last one has no more points than its outputs in the image need."""

    def kind(start: int, outputs: int) -> tuple[tuple[int, ...], int, TileAxis]:
        tile = TileAxis(outputs if short else size, axis.kernel, axis.stride)
        return tuple(tap for tap in range(tile.inputs) if axis.reads(start, tap)), outputs, tile

    sizes = full_sizes(axis.output, size)
    changes = sorted(axis.changes(0, axis.input))
    return tuple(TileRun(first, count, *made) for made, first, count, _ in grouped(sizes, kind, changes))
