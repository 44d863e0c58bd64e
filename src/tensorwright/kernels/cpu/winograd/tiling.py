"""How a Winograd convolution is split: tiles, blocks of them, register tiles, parallel tasks, packed weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from itertools import accumulate
from math import prod
from typing import overload

from tensorwright.codegen.target import Target
from tensorwright.codegen.winograd import FINITE_POINTS
from tensorwright.kernels.convolution.problem import Axis, OpenAxis, Problem
from tensorwright.kernels.cpu.dealing import idling, sharers
from tensorwright.kernels.cpu.spatial.runs import even_size, even_sizes
from tensorwright.kernels.cpu.winograd.phases import PHASES, Patch
from tensorwright.kernels.cpu.winograd.tiles import TileAxis, TileRun, every, most_taps, tile_runs
from tensorwright.kernels.tactic import TacticOptions
from tensorwright.tensor.dim import Dim, ceil_divide, tuning_value

BEST_BLOCKS = 2
"""With so many blocks of outputs in a register tile, products were measured to be fastest."""


TILES = {2: (4, 2), 3: (4, 2), 4: (3, 2), 5: (4, 2)}
"""Outputs of large and of small tiles along an axis, by the most taps of a phase of the kernel.

Four taps, which the first layers of deep networks have, do without the eight points of five outputs: what these lose
there grows through all layers.
"""

MOST_CACHED = 1 << 20
"""Bytes of weights that may stay in a core's own cache from one use to the next."""

WHOLE = 4
"""A block of so many register tiles is for images that have no more, so that weights which are not cached pass once."""

CACHED, SHARED, STREAMED = 25, 15, 7.5
"""Bytes of weights in a cycle, from a core's own caches, from one that cores share, and from memory."""


@dataclass(frozen=True)
class WinogradOptions(TacticOptions):
    """rows, columns: outputs of a tile; tiles: how many in a block; pixels, blocks: the register tile of
    the products, in tiles and blocks of output channels; splits: parts of the output channels, one for each task;
    prefetch: whether weights are asked for before they are needed.
    """

    rows: int
    columns: int
    tiles: int
    pixels: int
    blocks: int
    splits: int
    prefetch: bool

    @property
    def tile(self) -> tuple[int, int]:
        return self.rows, self.columns


@dataclass(frozen=True)
class Grid:
    """The tiles of an image: how many lie in a row of them, how many there are, and in how many blocks."""

    across: Dim
    tiles: Dim
    blocks: Dim


@dataclass(frozen=True)
class WinogradTiling:
    """A problem and its options, and what follows from both.

    A unit is one phase at one point: a product over the problem's channels for every tile. Those of a point are
    neighbours. apart: the phases along each axis that are taken apart into channels of the problem; 1 if none are.
    open_axes: where extents are known only at run time, the axes as they are then; those of `problem` are the usual
    ones. Dilated axes count as open. A tile of them has positions that are as far apart as the taps.
    """

    problem: Problem
    options: WinogradOptions
    lanes: int
    apart: int = 1
    open_axes: tuple[OpenAxis, OpenAxis] | None = None

    @property
    def positions(self) -> tuple[Dim, ...]:
        """Extents of the output."""
        return tuple(axis.output for axis in self.open_axes or self.problem.axes)

    @cached_property
    def grid(self) -> Grid:
        """The tiles that there are at run time."""
        down, right = self.open_axes or self.problem.axes
        across = _tiles_along(right, self.options.columns)
        tiles = _tiles_along(down, self.options.rows) * across
        return Grid(across, tiles, ceil_divide(tiles, self.options.tiles))

    @cached_property
    def rows(self) -> tuple[TileRun, ...]:
        return tile_runs(every(self.problem.axes[0]), self.options.rows, short=self._is_short(self.height, 0))

    @cached_property
    def columns(self) -> tuple[TileRun, ...]:
        return tile_runs(every(self.problem.axes[1]), self.options.columns, short=self._is_short(self.width, 1))

    def _is_short(self, tile: TileAxis, axis: int) -> bool:
        """Whether the last tile may take fewer points: tiles are then numbered anew at every point, all in a block."""
        rest = self.problem.axes[axis].output % tile.outputs
        tiles = prod(-(-axis.output // size) for axis, size in zip(self.problem.axes, self.options.tile, strict=True))
        suits = self.apart == 1 and self.open_axes is None
        return suits and tiles <= self.options.tiles and rest > 0 and rest + tile.taps - 1 in FINITE_POINTS

    @property
    def is_short(self) -> bool:
        """Whether there are points that not all tiles have."""
        return self.last_row != self.height or self.last_column != self.width

    @property
    def last_row(self) -> TileAxis:
        return self.rows[-1].tile

    @property
    def last_column(self) -> TileAxis:
        return self.columns[-1].tile

    @property
    def tile_counts(self) -> tuple[int, ...]:
        """How many tiles a point may have."""
        rows, columns = {self.tiles_down}, {self.tiles_across}
        rows |= {self.tiles_down - 1} if self.last_row != self.height else set()
        columns |= {self.tiles_across - 1} if self.last_column != self.width else set()
        return tuple(sorted({row * column for row in rows for column in columns} - {0}))

    @property
    def tiles_down(self) -> int:
        return self.problem.axes[0].dilation * sum(run.count for run in self.rows)

    @property
    def tiles_across(self) -> int:
        return self.problem.axes[1].dilation * sum(run.count for run in self.columns)

    @property
    def tiles(self) -> int:
        """Tiles of an image."""
        return self.tiles_down * self.tiles_across

    @property
    def tile_blocks(self) -> int:
        return -(-self.tiles // self.options.tiles)

    @cached_property
    def height(self) -> TileAxis:
        axis = self.problem.axes[0]
        return TileAxis(self.options.rows, axis.kernel, axis.stride)

    @cached_property
    def width(self) -> TileAxis:
        axis = self.problem.axes[1]
        return TileAxis(self.options.columns, axis.kernel, axis.stride)

    @property
    def points(self) -> int:
        return self.height.points * self.width.points

    @property
    def units(self) -> int:
        return self.height.inputs * self.width.inputs

    def is_everywhere(self, column: int) -> bool:
        """Whether the tiles of the last column have the points of this column."""
        return column < self.last_column.points - 1 or column == self.width.points - 1

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
        return -(-self.output_blocks // self.options.blocks) // self.options.splits

    @property
    def split_blocks(self) -> int:
        """Blocks of outputs in one task, of which the last task may need fewer."""
        return self.groups * self.options.blocks

    @property
    def tasks(self) -> Dim:
        return self.problem.batch * (self.grid.blocks * self.options.splits)

    @property
    def input_step(self) -> int:
        """Elements from one unit of the transformed input to the next: not a power of two, which caches dislike."""
        return (self.channel_blocks * self.options.tiles + 1) * self.lanes

    @property
    def product_step(self) -> int:
        """Elements from one point of the products to the next."""
        return (self.split_blocks * self.options.tiles + 1) * self.lanes

    @property
    def workspace(self) -> int:
        """Bytes for one thread."""
        outputs = 0 if self.open_axes is None else prod(self.options.tile) * self.lanes
        return self.problem.numerics.total.size * (
            self.units * self.input_step + self.points * self.product_step + self.patch_elements + outputs
        )

    @property
    def patch_elements(self) -> int:
        """Elements of an image that are copied to workspace: where phases are taken apart, or, at borders of images of
        open extents, of one block of channels.
        """
        if self.patch is not None:
            return self.patch.elements
        return 0 if self.open_axes is None else self.height.inputs * self.patch_columns * self.lanes

    @property
    def patch_columns(self) -> int:
        """Columns from the first to the last one that a tile reads."""
        return (self.width.inputs - 1) * self.problem.axes[1].dilation + 1

    @property
    def patch(self) -> Patch | None:
        """What a tile needs of an input whose phases are to be taken apart."""
        if self.apart == 1:
            return None
        height, width = (axis.inputs * self.apart for axis in (self.height, self.width))
        return Patch(self.problem.numerics, self.problem.channels // PHASES, height, width, self.lanes)

    @property
    def weight_bytes(self) -> int:
        return (
            self.problem.numerics.total.size
            * self.units
            * self.problem.channels
            * self.split_blocks
            * self.options.splits
            * self.lanes
        )

    @property
    def multiplied_tiles(self) -> int:
        """Tiles of an image, those included that only fill the last block up to a multiple of the register tile."""
        whole, rest = divmod(self.tiles, self.options.tiles)
        sizes = [size for size, count in even_sizes(self.options.tiles, self.options.pixels) for _ in range(count)]
        stops = accumulate(sizes, initial=0)
        return whole * self.options.tiles + next(stop for stop in stops if stop >= rest)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds on single elements for an image, transforms included, as if all were as fast as products."""
        outputs = self.split_blocks * self.options.splits * self.lanes
        units = prod(
            axis.dilation * sum(run.count * run.tile.inputs for run in runs)
            for axis, runs in zip(self.problem.axes, (self.rows, self.columns), strict=True)
        )
        products = units * self.problem.channels * outputs * self.multiplied_tiles // self.tiles
        transforms = 10 * self.tiles * (self.units * self.channel_blocks * self.lanes + self.points * outputs)
        return products + transforms


def winograd_tilings(
    problem: Problem, apart: int, target: Target, open_axes: tuple[OpenAxis, OpenAxis] | None = None
) -> list[WinogradTiling]:
    """Those worth timing: the cheapest of every size of tiles, with and without prefetching, then the others."""
    found = sorted(
        set(_tilings(problem, apart, target, open_axes)),
        key=lambda tiling: (cost(tiling, target), astuple(tiling.options)),
    )
    kinds: dict[tuple[object, ...], WinogradTiling] = {}
    for tiling in found:
        kinds.setdefault((tiling.options.tile, tiling.options.prefetch), tiling)
    return list(dict.fromkeys([*kinds.values(), *found]))


def cost(tiling: WinogradTiling, target: Target) -> float:
    """Cycles for an image, about: multiply-adds, tasks that threads wait for, blocks that leave the second cache, and
    weights.

    Weights that do not stay in that cache come from memory, mostly, but not altogether, while others are multiplied;
    more of them if they are asked for. Further blocks of tiles bring them again, from a cache that cores share.
    """
    options, room = tiling.options, target.l2_bytes
    compute = tiling.multiply_adds / tiling.lanes * (1 + 1.5 / (options.pixels * options.blocks))
    compute *= idling(tuning_value(tiling.tasks), target.threads)
    compute *= 1.0 if tiling.workspace <= room // 2 else 1.05 if tiling.workspace <= room else 1.1
    compute *= (
        1.0 if options.blocks == BEST_BLOCKS else 1.02 if options.prefetch and options.blocks < BEST_BLOCKS else 1.08
    )
    loads = tiling.weight_bytes / (CACHED if tiling.weight_bytes <= room else STREAMED)
    if tiling.weight_bytes > room:
        loads += (tiling.tile_blocks - 1) * tiling.weight_bytes / SHARED
    return max(compute, loads) + min(compute, loads) / (8 if options.prefetch else 4)


def _tilings(
    problem: Problem, apart: int, target: Target, open_axes: tuple[OpenAxis, OpenAxis] | None
) -> Iterator[WinogradTiling]:
    lanes = target.lanes(problem.numerics.total)
    blocks_out = -(-problem.outputs // lanes)
    (tall, low), (wide, narrow) = (TILES[most_taps(axis.kernel, axis.stride)] for axis in problem.axes)
    for rows, columns in ((tall, wide), (tall, narrow), (low, narrow)):
        tiles = _tiles_along(problem.axes[0], rows) * _tiles_along(problem.axes[1], columns)
        for blocks in (1, 2, 4):
            if blocks > blocks_out or (blocks > 1 and blocks_out % blocks):
                continue
            most = _most_pixels(target, blocks)
            for pixels in sorted({even_size(tiles, most), even_size(tiles, -(-most // 2))}):
                for multiple in (1, 2, WHOLE):
                    size = even_size(tiles, pixels * multiple)
                    splits = _splits(-(-blocks_out // blocks), -(-tiles // size), sharers(target))
                    options = WinogradOptions(
                        rows, columns, size, even_size(size, pixels), blocks, splits, prefetch=False
                    )
                    tiling = WinogradTiling(problem, options, lanes, apart, open_axes)
                    if multiple == WHOLE and (tiling.tile_blocks > 1 or tiling.weight_bytes <= MOST_CACHED):
                        continue
                    yield tiling
                    if tiling.is_short:
                        yield replace(tiling, options=replace(options, pixels=min(most, tiles)))
                    if tiling.tile_blocks == 1 and tiling.weight_bytes > MOST_CACHED:
                        yield replace(tiling, options=replace(options, prefetch=True))
                        yield replace(tiling, options=replace(options, pixels=min(most, tiles), prefetch=True))


@overload
def _tiles_along(axis: Axis, outputs: int) -> int: ...
@overload
def _tiles_along(axis: Axis | OpenAxis, outputs: int) -> Dim: ...
def _tiles_along(axis: Axis | OpenAxis, outputs: int) -> Dim:
    """How many tiles of so many outputs; where taps are apart, positions at each distance have tiles of their own."""
    return ceil_divide(ceil_divide(axis.output, axis.dilation), outputs) * axis.dilation


def _most_pixels(target: Target, blocks: int) -> int:
    """So many sums for each block of outputs fit into the registers beside the weights and one input."""
    others = blocks + (2 if target.has_fma else 3)
    return min((target.registers - others) // blocks, target.registers - 4)


def _splits(groups: int, tile_blocks: int, tasks: int) -> int:
    """The fewest equal parts of the output channels that give enough tasks."""
    fitting = [parts for parts in range(1, groups + 1) if groups % parts == 0]
    return next((parts for parts in fitting if parts * tile_blocks >= tasks), fitting[-1])
