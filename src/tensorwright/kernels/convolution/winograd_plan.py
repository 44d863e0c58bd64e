"""How a Winograd convolution is cut: tiles, blocks of them, register tiles, parallel tasks, packed weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import groupby

import numpy as np

from tensorwright.codegen.target import Target
from tensorwright.kernels.convolution.problem import Axis, Problem
from tensorwright.kernels.convolution.tiling import even_sizes
from tensorwright.kernels.convolution.winograd_phases import PHASES, Patch
from tensorwright.kernels.convolution.winograd_transform import transformed_weights
from tensorwright.kernels.tactic import Array, Config, Packing
from tensorwright.tensor.dim import Dim

PARALLEL_TASKS = 8

BEST_BLOCKS = 2
"""With so many blocks of outputs in a register tile, products were measured to be fastest."""


TILES = {3: (4, 2), 4: (5, 3), 5: (4, 2)}
"""Outputs of large and of small tiles along an axis, by the taps of the kernel."""

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
            tuple(tap for tap in range(size + axis.kernel - 1) if axis.reads(start, tap)),
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

    phases: along each axis; more than one if the problem is one of stride 1 on the phases of a row-major input.
    """

    problem: Problem
    cut: WinogradCut
    lanes: int
    phases: int = 1

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

    @property
    def points(self) -> int:
        return self.height * self.width

    @property
    def height(self) -> int:
        """Points along the rows of a tile, as many as inputs."""
        return self.cut.rows + self.problem.axes[0].kernel - 1

    @property
    def width(self) -> int:
        return self.cut.columns + self.problem.axes[1].kernel - 1

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
        """Elements from one point of the transformed input to the next: not a power of two, which caches dislike."""
        return (self.channel_blocks * self.cut.tiles + 1) * self.lanes

    @property
    def product_step(self) -> int:
        """Elements from one point of the products to the next."""
        return (self.split_blocks * self.cut.tiles + 1) * self.lanes

    @property
    def workspace(self) -> int:
        """Bytes for one thread."""
        return 4 * (self.points * (self.input_step + self.product_step) + (self.patch.elements if self.patch else 0))

    @property
    def patch(self) -> Patch | None:
        """What a tile needs of an input whose phases are to be taken apart."""
        if self.phases == 1:
            return None
        return Patch(self.problem.channels // PHASES, self.height * self.phases, self.width * self.phases, self.lanes)

    @property
    def weight_bytes(self) -> int:
        return 4 * self.points * self.problem.channels * self.split_blocks * self.cut.splits * self.lanes

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds on single elements for an image, transforms included, as if all were as fast as products."""
        outputs = self.split_blocks * self.cut.splits * self.lanes
        products = self.points * self.tiles * self.problem.channels * outputs
        transforms = 10 * self.points * self.tiles * (self.channel_blocks * self.lanes + outputs)
        return products + transforms


def pack_winograd(plan: WinogradPlan, prepare: Callable[[Array], Array]) -> Packing:
    """``[O, C, *K]`` as ``[splits, points, groups, C, outputs of a group]``, transformed, padded with zeros.

    `prepare` gives the weights of the plan's problem.
    """
    cut, size = plan.cut, plan.cut.blocks * plan.lanes

    def pack(array: Array) -> Array:
        points = transformed_weights(prepare(array), cut.rows, cut.columns)
        outputs = plan.split_blocks * cut.splits * plan.lanes
        padded = np.pad(points, ((0, 0), (0, outputs - points.shape[1]), (0, 0)))
        split = padded.reshape(plan.points, cut.splits, plan.groups, size, plan.problem.channels)
        return np.ascontiguousarray(split.transpose(1, 0, 2, 4, 3)).reshape(-1)

    name = f"winograd {cut.rows}x{cut.columns} phases={plan.phases} splits={cut.splits} group={size}"
    return Packing(name, pack)


def winograd_plans(problem: Problem, phases: int, target: Target) -> list[WinogradPlan]:
    """The cuts worth timing, those with the least work first."""
    found = dict.fromkeys(_plans(problem, phases, target))
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


def _plans(problem: Problem, phases: int, target: Target) -> Iterator[WinogradPlan]:
    lanes = target.float_lanes
    blocks_out = -(-problem.outputs // lanes)
    (tall, low), (wide, narrow) = (TILES[axis.kernel] for axis in problem.axes)
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
                    yield WinogradPlan(problem, cut, lanes, phases)


def _most_pixels(target: Target, blocks: int) -> int:
    """So many sums for each block of outputs fit into the registers beside the weights and one input."""
    others = blocks + (2 if target.has_fma else 3)
    return min((target.registers - others) // blocks, target.registers - 4)


def _splits(groups: int, tile_blocks: int) -> int:
    """The fewest equal parts of the output channels that give enough tasks."""
    fitting = [parts for parts in range(1, groups + 1) if groups % parts == 0]
    return next((parts for parts in fitting if parts * tile_blocks >= PARALLEL_TASKS), fitting[-1])
