"""How a Winograd convolution is cut: tiles, blocks of them, register tiles, parallel tasks, packed weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import groupby

from tensorwright.codegen.target import Target
from tensorwright.kernels.convolution.problem import Axis, Problem
from tensorwright.kernels.convolution.tiling import even_sizes
from tensorwright.kernels.convolution.winograd_phases import PHASES, Patch
from tensorwright.kernels.tactic import Config
from tensorwright.tensor.dim import Dim

PARALLEL_TASKS = 8

BEST_BLOCKS = 2
"""With so many blocks of outputs in a register tile, products were measured to be fastest."""


TILES = {2: (4, 2), 3: (4, 2), 4: (5, 3), 5: (4, 2)}
"""Outputs of large and of small tiles along an axis, by the most taps of a phase of the kernel."""

CACHED, STREAMED = 25, 7.5
"""Bytes of weights in a cycle, from the caches and from memory."""


@dataclass(frozen=True)
class WinogradCut:
    """rows, columns: outputs of a tile; tiles: how many in a block; pixels, blocks: the register tile of
    the products, in tiles and blocks of output channels; splits: parts of the output channels, one for each task.
    """

    rows: int
    columns: int
    tiles: int
    pixels: int
    blocks: int
    splits: int

    @property
    def options(self) -> tuple[tuple[str, int], ...]:
        return tuple((field.name, int(getattr(self, field.name))) for field in fields(self))


def winograd_cut_of(config: Config) -> WinogradCut:
    return WinogradCut(**dict(config.options))


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


def tile_runs(axis: Axis, size: int) -> tuple[TileRun, ...]:
    tiles = [
        (
            tuple(tap for tap in range((size - 1) * axis.stride + axis.kernel) if axis.reads(start, tap)),
            min(size, axis.output - start),
        )
        for start in range(0, axis.output, size)
    ]
    runs, first = [], 0
    for (valid, outputs), group in groupby(tiles):
        count = len(list(group))
        runs.append(TileRun(first, count, valid, outputs))
        first += count
    return tuple(runs)


@dataclass(frozen=True)
class WinogradPlan:
    """A problem and its cut, and what follows from both.

    A unit is one phase at one point: a product over the problem's channels for every tile. Those of a point are
    neighbours. apart: the phases along each axis that are taken apart into channels of the problem; 1 if none are.
    """

    problem: Problem
    cut: WinogradCut
    lanes: int
    apart: int = 1

    @cached_property
    def rows(self) -> tuple[TileRun, ...]:
        return tile_runs(self.problem.axes[0], self.cut.rows)

    @cached_property
    def columns(self) -> tuple[TileRun, ...]:
        return tile_runs(self.problem.axes[1], self.cut.columns)

    @property
    def tiles_across(self) -> int:
        return sum(run.count for run in self.columns)

    @property
    def tiles(self) -> int:
        """Tiles of an image."""
        return sum(run.count for run in self.rows) * self.tiles_across

    @property
    def tile_blocks(self) -> int:
        return -(-self.tiles // self.cut.tiles)

    @cached_property
    def height(self) -> TileAxis:
        axis = self.problem.axes[0]
        return TileAxis(self.cut.rows, axis.kernel, axis.stride)

    @cached_property
    def width(self) -> TileAxis:
        axis = self.problem.axes[1]
        return TileAxis(self.cut.columns, axis.kernel, axis.stride)

    @property
    def points(self) -> int:
        return self.height.points * self.width.points

    @property
    def units(self) -> int:
        return self.height.inputs * self.width.inputs

    def unit(self, point: tuple[int, int], phase: tuple[int, int]) -> int:
        """The number of a unit."""
        (i, j), (across, along) = point, phase
        in_row = self.height.phases(i)
        before = i * self.height.stride * self.width.inputs + in_row * j * self.width.stride
        return before + across * self.width.phases(j) + along

    @property
    def channel_blocks(self) -> int:
        return -(-self.problem.channels // self.lanes)

    @property
    def output_blocks(self) -> int:
        return -(-self.problem.outputs // self.lanes)

    @property
    def groups(self) -> int:
        """Groups of output blocks in one task."""
        return -(-self.output_blocks // self.cut.blocks) // self.cut.splits

    @property
    def split_blocks(self) -> int:
        """Blocks of outputs in one task, of which the last task may need fewer."""
        return self.groups * self.cut.blocks

    @property
    def tasks(self) -> Dim:
        return self.problem.batch * (self.tile_blocks * self.cut.splits)

    @property
    def input_step(self) -> int:
        """Elements from one unit of the transformed input to the next: not a power of two, which caches dislike."""
        return (self.channel_blocks * self.cut.tiles + 1) * self.lanes

    @property
    def product_step(self) -> int:
        """Elements from one point of the products to the next."""
        return (self.split_blocks * self.cut.tiles + 1) * self.lanes

    @property
    def workspace(self) -> int:
        """Bytes for one thread."""
        patch = self.patch.elements if self.patch else 0
        return 4 * (self.units * self.input_step + self.points * self.product_step + patch)

    @property
    def patch(self) -> Patch | None:
        """What a tile needs of an input whose phases are to be taken apart."""
        if self.apart == 1:
            return None
        height, width = (axis.inputs * self.apart for axis in (self.height, self.width))
        return Patch(self.problem.channels // PHASES, height, width, self.lanes)

    @property
    def weight_bytes(self) -> int:
        return 4 * self.units * self.problem.channels * self.split_blocks * self.cut.splits * self.lanes

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds on single elements for an image, transforms included, as if all were as fast as products."""
        outputs = self.split_blocks * self.cut.splits * self.lanes
        products = self.units * self.tiles * self.problem.channels * outputs
        transforms = 10 * self.tiles * (self.units * self.channel_blocks * self.lanes + self.points * outputs)
        return products + transforms


def winograd_plans(problem: Problem, apart: int, target: Target) -> list[WinogradPlan]:
    """The cuts worth timing, those with the least work first."""
    found = dict.fromkeys(_plans(problem, apart, target))
    return sorted(found, key=lambda plan: plan_cost(plan, target))


def plan_cost(plan: WinogradPlan, target: Target) -> float:
    """Cycles for an image, about: multiply-adds, blocks that leave the second cache, and weights.

    Weights that do not stay in that cache come from memory, mostly, but not altogether, while others are multiplied.
    """
    sums = plan.cut.pixels * plan.cut.blocks
    compute = plan.multiply_adds / plan.lanes * (1 + 1.5 / sums) * (1.0 if plan.workspace <= target.l2_bytes else 1.1)
    compute *= 1.0 if plan.cut.blocks == BEST_BLOCKS else 1.08
    loads = plan.weight_bytes / (CACHED if plan.weight_bytes <= target.l2_bytes else STREAMED)
    return max(compute, loads) + min(compute, loads) / 4


def _plans(problem: Problem, apart: int, target: Target) -> Iterator[WinogradPlan]:
    lanes = target.float_lanes
    blocks_out = -(-problem.outputs // lanes)
    (tall, low), (wide, narrow) = (TILES[most_taps(axis.kernel, axis.stride)] for axis in problem.axes)
    for rows, columns in ((tall, wide), (tall, narrow), (low, narrow)):
        tiles = -(-problem.axes[0].output // rows) * -(-problem.axes[1].output // columns)
        for blocks in (1, 2, 4):
            if blocks > blocks_out or (blocks > 1 and blocks_out % blocks):
                continue
            most = _most_pixels(target, blocks)
            for pixels in sorted({even_sizes(tiles, most)[0], even_sizes(tiles, -(-most // 2))[0]}):
                for multiple in (1, 2):
                    size = even_sizes(tiles, pixels * multiple)[0]
                    splits = _splits(-(-blocks_out // blocks), -(-tiles // size))
                    cut = WinogradCut(rows, columns, size, even_sizes(size, pixels)[0], blocks, splits)
                    yield WinogradPlan(problem, cut, lanes, apart)


def _most_pixels(target: Target, blocks: int) -> int:
    """So many sums for each block of outputs fit into the registers beside the weights and one input."""
    others = blocks + (2 if target.has_fma else 3)
    return min((target.registers - others) // blocks, target.registers - 4)


def _splits(groups: int, tile_blocks: int) -> int:
    """The fewest equal parts of the output channels that give enough tasks."""
    fitting = [parts for parts in range(1, groups + 1) if groups % parts == 0]
    return next((parts for parts in fitting if parts * tile_blocks >= PARALLEL_TASKS), fitting[-1])
