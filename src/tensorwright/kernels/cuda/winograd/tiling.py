"""How tiles and columns are dealt to blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from tensorwright.codegen.cuda.targets import WARP, CudaTarget
from tensorwright.kernels.cuda.kernel import MOST_BLOCKS
from tensorwright.kernels.cuda.problem import GROUP, Problem
from tensorwright.kernels.cuda.winograd.problem import EIGHT, PLACES, tiles_of
from tensorwright.kernels.tactic import TacticOptions
from tensorwright.tensor.dim import Dim, tuning_value, upper_bound

WARPS = PLACES // 2
"""Of a block: each multiplies at two points, and transforms one fragment in a step."""
COLUMNS = 16
"""Of a fragment of the weights."""
QUAD = 4
"""Neighbouring columns that a thread finishes."""
TILE_GROUPS = (2, 4, 8)
MOST_FRAGMENTS = 8
"""Products at a point: with twice as many, the assembler keeps some of the sums in memory."""
MAX_CANDIDATES = 12
CYCLES = 1700.0
"""Of a multiprocessor in a microsecond."""
MEASURED = 1.55
"""Times over those that were counted, of twelve convolutions on an H200 (1.3 to 2)."""


@dataclass(frozen=True)
class Tiling(TacticOptions):
    """A block computes ``8 tile_groups`` tiles of outputs by ``16 column_groups`` columns; `cluster` blocks split the
    channels.
    """

    tile_groups: int
    column_groups: int
    cluster: int

    @property
    def threads(self) -> int:
        return WARP * WARPS

    @property
    def tiles(self) -> int:
        """Of a block."""
        return EIGHT * self.tile_groups

    @property
    def columns(self) -> int:
        """Of a block."""
        return COLUMNS * self.column_groups

    @property
    def parts(self) -> int:
        """Fragments along the channels of a step: as many as give every warp one to transform."""
        return WARPS // self.tile_groups

    @property
    def depth(self) -> int:
        """Channels of a step."""
        return EIGHT * self.parts

    @property
    def stage_bytes(self) -> int:
        """Of the transformed input of a step: 16 points of a fragment for every warp, two numbers for each thread."""
        return PLACES * self.point_bytes

    @property
    def point_bytes(self) -> int:
        return WARPS * self.fragment_bytes

    @property
    def fragment_bytes(self) -> int:
        """Of 8 tiles by 8 channels."""
        return 4 * EIGHT * EIGHT

    @property
    def row_floats(self) -> int:
        """From one tile's products at a point to the next one's: such that the threads that write at once have a bank
        each.
        """
        return self.columns + 4

    @property
    def pieces(self) -> int:
        """Quads of columns of all tiles of a block."""
        return self.tiles * self.columns // QUAD

    @property
    def shared_bytes(self) -> int:
        """Two stages; the products that meet take their place."""
        return max(2 * self.stage_bytes, 4 * PLACES * self.tiles * self.row_floats)

    @property
    def fragments(self) -> int:
        """Products of fragments at a point, for each fragment along the channels."""
        return self.tile_groups * self.column_groups

    @property
    def registers(self) -> int:
        """Registers of a thread: sums, patches, weights and the rest."""
        return 8 * self.fragments + 100

    def steps(self, problem: Problem) -> int:
        return problem.channels // self.depth

    def grid(self, problem: Problem) -> tuple[Dim, Dim, Dim]:
        blocks = (tiles_of(problem.row_axes) + (self.tiles - 1)) // self.tiles
        return problem.groups * GROUP // self.columns, blocks, self.cluster


def tilings(problem: Problem, target: CudaTarget) -> list[Tiling]:
    """Tilings worth timing, the most promising first."""
    return sorted(_possible(problem, target), key=lambda tiling: estimate(problem, tiling, target))[:MAX_CANDIDATES]


def _possible(problem: Problem, target: CudaTarget) -> Iterator[Tiling]:
    for tile_groups in TILE_GROUPS:
        for column_groups in (1, 2):
            for cluster in (1, 2, 4, 8) if target.has_clusters else (1,):
                tiling = Tiling(tile_groups, column_groups, cluster)
                if _fits(problem, tiling, target):
                    yield tiling


def _fits(problem: Problem, tiling: Tiling, target: CudaTarget) -> bool:
    tiles, whole = tuning_value(tiles_of(problem.row_axes)), EIGHT * WARPS
    fewest = next(groups for groups in TILE_GROUPS if problem.channels * groups % whole == 0)
    return (
        tiling.fragments <= MOST_FRAGMENTS
        and tiling.shared_bytes <= target.block_shared_bytes
        and problem.channels % tiling.depth == 0
        and problem.groups * GROUP % tiling.columns == 0
        and upper_bound(tiling.grid(problem)[1]) <= MOST_BLOCKS
        and tiling.cluster <= tiling.steps(problem)
        and (tiling.tile_groups == fewest or tiling.tiles < 2 * tiles)
    )


def estimate(problem: Problem, tiling: Tiling, target: CudaTarget) -> float:
    """Microseconds on an H200, from what instructions take.

    The most of what blocks of a multiprocessor take, one after the other, and what memory delivers; a launch, the first
    step, the sums of a cluster.
    """
    across, down, _ = (tuning_value(extent) for extent in tiling.grid(problem))
    blocks, steps = across * down * tiling.cluster, ceil(tiling.steps(problem) / tiling.cluster)
    products = 2 * 3 * tiling.parts * tiling.fragments
    splits = 2 * 4 * tiling.parts * (2 * tiling.column_groups + tiling.tile_groups)
    issued = products + splits + 8 * tiling.fragments + 200
    step = max(2 * 8.0 * products, 2 * issued, 900.0)
    finish = 1500.0 + (1000.0 if tiling.cluster > 1 else 0.0)
    waves = ceil(blocks / target.multiprocessors)
    busy = MEASURED * waves * (2000.0 + steps * step + finish) / CYCLES
    weights = PLACES * problem.groups * GROUP * problem.channels
    rows = tuning_value(problem.rows) * (problem.columns + problem.channels)
    return 0.3 + max(busy, 4 * (weights + rows) / 3.7e6)
