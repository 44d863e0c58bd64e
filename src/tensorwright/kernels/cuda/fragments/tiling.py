"""How the work of a product is dealt to warps, blocks and clusters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil

from tensorwright.codegen.cuda.targets import WARP, CudaTarget
from tensorwright.kernels.cuda.problem import GROUP, Problem
from tensorwright.kernels.tactic import TacticOptions
from tensorwright.tensor.dim import Dim, tuning_value
from tensorwright.tensor.dtype import FLOAT32

MAX_REGISTERS = 224
"""Registers that a tile may take."""
MAX_WARPS = 16
"""Of a block."""
MAX_CANDIDATES = 16
MOST_ALIKE = 2
"""Candidates that differ only in their stages."""
MOST_SPLIT_ALIKE = 6
"""Candidates that split the depth alike."""


@dataclass(frozen=True)
class Pace:
    """Microseconds on an H200, as fitted to kernels with cold weights.

    launch: of an empty kernel. loaded: of a multiprocessor for a byte that a warp loads; product: for the four
    instructions of a unit; finished: for a unit; from_l2: of the GPU for a byte. load, waited_product, waited_finish:
    of one warp for a load, a unit's products, a unit. cold: for a byte of weights; cluster: for a wave of up to four
    blocks each.
    """

    launch: float
    loaded: float
    product: float
    finished: float
    from_l2: float
    load: float
    waited_product: float
    waited_finish: float
    cold: float
    cluster: float


PACE = Pace(1.0, 1.5e-6, 2.8e-3, 0.045, 0.1e-6, 0.16, 0.009, 0.07, 0.08e-6, 1.2)
"""Of 620 kernels of four networks in float16."""
FLOAT32_PACE = Pace(1.36, 0.9e-6, 0.5e-3, 0.035, 0.052e-6, 0.26, 0.016, 0.0, 0.12e-6, 2.8)
"""Of 272 kernels for 17 products and convolutions in float32, as TF32 and split."""


@dataclass(frozen=True)
class Tiling(TacticOptions):
    """A warp computes ``8 row_tiles × 32 column_groups`` outputs.

    A block has ``row_warps × column_warps × depth_warps`` warps, and `cluster` blocks share its outputs; the depth is
    split among all warps that share outputs. stages: pieces of the depth that are loaded ahead. splits: whether each
    factor is the sum of two.
    """

    row_tiles: int
    column_groups: int
    row_warps: int
    column_warps: int
    depth_warps: int
    cluster: int
    stages: int
    splits: bool = False

    @property
    def warps(self) -> int:
        return self.row_warps * self.column_warps * self.depth_warps

    @property
    def threads(self) -> int:
        return WARP * self.warps

    @property
    def parts(self) -> int:
        """How many warps split the depth."""
        return self.depth_warps * self.cluster

    @property
    def units(self) -> int:
        """Pieces of a warp's outputs: 8 rows by a group of columns each, 8 numbers for every thread."""
        return self.row_tiles * self.column_groups

    @property
    def block_rows(self) -> int:
        return 8 * self.row_tiles * self.row_warps

    @property
    def block_groups(self) -> int:
        return self.column_groups * self.column_warps

    @property
    def shared_bytes(self) -> int:
        """Shared memory for the sums of the warps that share outputs."""
        return self.warps * self.units * 8 * WARP * 4 if self.parts > 1 else 0

    @property
    def registers(self) -> int:
        """Registers for sums, operands, the addresses of rows, and the rest."""
        loads = self.row_tiles + 4 * self.column_groups
        lower = 4 * loads + 8 * self.units if self.splits else 0
        return 8 * self.units + 4 * loads * self.stages + lower + 2 * self.row_tiles + 32

    def grid(self, problem: Problem) -> tuple[Dim, Dim, Dim]:
        rows = (problem.rows + (self.block_rows - 1)) // self.block_rows
        return ceil(problem.groups / self.block_groups), rows, self.cluster

    def rounds(self, problem: Problem) -> int:
        """How often a warp goes through its stages."""
        return ceil(ceil(problem.steps / self.parts) / self.stages)


def tilings(problem: Problem, target: CudaTarget, *, splits: bool = False) -> list[Tiling]:
    """Tilings worth timing, the most promising first. splits: as of a tiling."""
    ranked = sorted(_possible(problem, target, splits), key=lambda tiling: estimate(problem, tiling, target))
    chosen: list[Tiling] = []
    for tiling in ranked:
        alike = sum(replace(other, stages=tiling.stages) == tiling for other in chosen)
        split = sum((other.depth_warps, other.cluster) == (tiling.depth_warps, tiling.cluster) for other in chosen)
        if alike < MOST_ALIKE and split < MOST_SPLIT_ALIKE and len(chosen) < MAX_CANDIDATES:
            chosen.append(tiling)
    return chosen


def tilings_alone(problem: Problem, target: CudaTarget, threads: int, *, splits: bool) -> list[Tiling]:
    """The tilings for blocks of so many threads that are in no cluster."""
    return [one for one in _possible(problem, target, splits, clusters=(1,)) if one.threads == threads]


def _possible(
    problem: Problem, target: CudaTarget, splits: bool, clusters: Sequence[int] = (1, 2, 4, 8)
) -> Iterator[Tiling]:
    rows = tuning_value(problem.rows)
    shapes = product((1, 2, 4, 7, 8), (1, 2), ((1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (4, 2)), (1, 2, 4, 8, 16))
    for row_tiles, column_groups, (row_warps, column_warps), depth_warps in shapes:
        if row_warps * column_warps * depth_warps > MAX_WARPS:
            continue
        for cluster, stages in product(clusters if target.has_clusters else (1,), (1, 2, 3, 4)):
            tiling = Tiling(row_tiles, column_groups, row_warps, column_warps, depth_warps, cluster, stages, splits)
            if _fits(problem, rows, tiling, target):
                yield tiling


def _fits(problem: Problem, rows: int, tiling: Tiling, target: CudaTarget) -> bool:
    pieces = ceil(problem.steps / tiling.parts)
    return (
        tiling.parts <= problem.steps
        and tiling.stages <= pieces
        and (tiling.row_tiles == 1 or tiling.block_rows < 2 * rows)
        and (tiling.row_warps == 1 or tiling.block_rows < 2 * rows)
        and tiling.block_groups < 2 * problem.groups
        and (tiling.cluster == 1 or tiling.depth_warps >= 4)
        and tiling.registers <= min(MAX_REGISTERS, 65536 // tiling.threads)
        and tiling.shared_bytes <= target.block_shared_bytes
    )


def estimate(problem: Problem, tiling: Tiling, target: CudaTarget) -> float:
    """Microseconds on an H200 with cold weights; elsewhere the order counts.

    A launch; what the warps of a multiprocessor load and multiply, and what all blocks read from the L2; what one warp
    waits for, load by load and product by product; finishing sums; weights from memory; clusters.
    """
    pace = FLOAT32_PACE if problem.dtype == FLOAT32 else PACE
    x, y, z = (tuning_value(size) for size in tiling.grid(problem))
    resident = max(1, min(2048 // tiling.threads, 65536 // (tiling.registers * tiling.threads)))
    if tiling.shared_bytes:
        resident = min(resident, max(1, target.l1_bytes // (tiling.shared_bytes + 1024)))
    blocks = x * y * z
    waves = ceil(blocks / (resident * target.multiprocessors))
    warps = tiling.warps * waves * min(resident, ceil(blocks / target.multiprocessors))
    pieces, finished = ceil(problem.steps / tiling.parts), tiling.units / tiling.parts
    products = (3 if tiling.splits else 1) * pieces * tiling.units
    loaded = pieces * 64 * (8 * tiling.row_tiles + GROUP * tiling.column_groups)
    from_l2 = blocks * pieces * tiling.depth_warps * 64 * (tiling.block_rows + GROUP * tiling.block_groups)
    weights = problem.groups * problem.steps * 2 * GROUP * GROUP
    busy = warps * (pace.loaded * loaded + pace.product * products + pace.finished * finished) + pace.from_l2 * from_l2
    loads = ceil(pieces / tiling.stages)
    alone = waves * (pace.load * loads + pace.waited_product * products + pace.waited_finish * finished)
    cold = pace.cold * weights / max(0.25, min(1.0, blocks / target.multiprocessors))
    clusters = waves * pace.cluster * (0.0 if tiling.cluster == 1 else 1.0 if tiling.cluster <= 4 else 1.4)
    return pace.launch + busy + alone + cold + clusters
