"""How a product is dealt to blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import TypeVar

from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.kernels.cuda.kernel import MOST_BLOCKS
from tensorwright.kernels.cuda.problem import GROUP, Problem
from tensorwright.kernels.cuda.tiles.arithmetic import Arithmetic
from tensorwright.kernels.cuda.tiles.steps import Steps
from tensorwright.kernels.tactic import TacticOptions
from tensorwright.tensor.dim import Dim, product, tuning_value, upper_bound

WARPGROUP = 128
ROWS = 64
"""Rows of a tile of a warpgroup, 16 for each of its warps."""
ROW_BYTES = 128
MAX_CANDIDATES = 16
MOST_ALIKE = 2
"""Candidates that differ only in their stages."""
MANY_WAVES = 3
"""With so many waves of blocks that come and go the last one is not told apart."""


@dataclass(frozen=True)
class Tiling(TacticOptions):
    """A warpgroup computes ``64 row_tiles × 32 column_groups`` outputs, a block so many warpgroups one below the other.

    cluster: blocks that split the depth; stages: steps of the depth that have room in shared memory, planes: how many
    numbers for each element.
    """

    row_tiles: int
    warpgroups: int
    column_groups: int
    cluster: int
    stages: int
    planes: int = 1

    @property
    def threads(self) -> int:
        return self.multiplying

    @property
    def multiplying(self) -> int:
        """The threads that multiply and finish, the first ones of a block."""
        return WARPGROUP * self.warpgroups

    @property
    def rows(self) -> int:
        """Rows of a block."""
        return ROWS * self.row_tiles * self.warpgroups

    @property
    def columns(self) -> int:
        return GROUP * self.column_groups

    @property
    def sums(self) -> int:
        """Of a thread."""
        return self.row_tiles * self.column_groups * ROWS * GROUP // WARPGROUP

    @property
    def registers(self) -> int:
        """Registers of a thread: sums, and the rest."""
        return self.sums + 84

    @property
    def units(self) -> int:
        """What a thread finishes at once: 8 neighbouring columns of a row."""
        return self.sums // 8

    @property
    def plane_bytes(self) -> int:
        """What is copied for a step."""
        return ROW_BYTES * (self.rows + self.columns)

    @property
    def stage_bytes(self) -> int:
        return self.planes * self.plane_bytes

    @property
    def shared_bytes(self) -> int:
        sums = 4 * self.sums * self.threads if self.cluster > 1 else 0
        return max(self.stages * self.stage_bytes, sums)

    @property
    def filling(self) -> float:
        """Microseconds on an H200 until a block's first stages are there."""
        return 1.27

    @property
    def many_waves(self) -> float:
        """So many waves of blocks take as long as their share of the last one says."""
        return MANY_WAVES

    @property
    def meeting(self) -> float:
        """Microseconds that a block takes to leave sums to others, and to add theirs, through memory."""
        return 0.0

    def tiles(self, problem: Problem) -> tuple[int, Dim]:
        """How many tiles lie side by side, and one below the other."""
        return problem.groups // self.column_groups, problem.batches * self.row_blocks(problem)

    def grid(self, problem: Problem) -> tuple[Dim, Dim, Dim]:
        return *self.tiles(problem), self.cluster

    def row_blocks(self, problem: Problem) -> Dim:
        """Blocks one below the other for all rows that share a right operand."""
        return (problem.batch_rows + (self.rows - 1)) // self.rows


AnyTiling = TypeVar("AnyTiling", bound=Tiling)


def tilings(problem: Problem, arithmetic: Arithmetic, target: CudaTarget) -> list[Tiling]:
    """Tilings worth timing, the most promising first."""
    possible = _possible(problem, arithmetic, target)
    return chosen(sorted(possible, key=lambda tiling: estimate(problem, tiling, arithmetic, target)))


def chosen(ranked: Sequence[AnyTiling]) -> list[AnyTiling]:
    """The first ones, but few that differ only in their stages."""
    found: list[AnyTiling] = []
    for tiling in ranked:
        alike = sum(replace(other, stages=tiling.stages) == tiling for other in found)
        if alike < MOST_ALIKE and len(found) < MAX_CANDIDATES:
            found.append(tiling)
    return found


def _possible(problem: Problem, arithmetic: Arithmetic, target: CudaTarget) -> Iterator[Tiling]:
    for row_tiles in (1, 2):
        for warpgroups in (1, 2):
            for column_groups in range(1, 9):
                for cluster in (1, 2, 4, 8) if target.has_clusters else (1,):
                    for ahead in (1, 2, 3, 4, 5, 6):
                        stages = ahead + arithmetic.stages_in_use
                        tiling = Tiling(row_tiles, warpgroups, column_groups, cluster, stages, arithmetic.planes)
                        if _fits(problem, tiling, arithmetic, target):
                            yield tiling


def _fits(problem: Problem, tiling: Tiling, arithmetic: Arithmetic, target: CudaTarget) -> bool:
    steps, rows = Steps(problem).count, tuning_value(problem.batch_rows)
    ahead = tiling.stages - arithmetic.stages_in_use
    return (
        tiling.sums <= arithmetic.most_sums
        and tiling.shared_bytes <= target.block_shared_bytes
        and problem.groups % tiling.column_groups == 0
        and upper_bound(tiling.grid(problem)[1]) <= MOST_BLOCKS
        and ahead * tiling.cluster <= max(steps, 1)
        and (tiling.rows == ROWS or tiling.rows < 2 * rows)
        and (tiling.cluster == 1 or steps >= 4 * tiling.cluster)
    )


def estimate(problem: Problem, tiling: Tiling, arithmetic: Arithmetic, target: CudaTarget) -> float:
    """Microseconds on an H200, fitted to 2500 kernels, clusters to 150 others; elsewhere the order counts.

    The most of three: what the L2 and what memory deliver, and waves of blocks. And clusters.
    """
    blocks, steps = _blocks_and_steps(problem, tiling)
    from_l2 = blocks * steps * tiling.plane_bytes / 7.0e6
    rows, size = tuning_value(problem.rows), problem.dtype.size
    weights = problem.columns * problem.channels * len(problem.taps)
    memory = size * (rows * (problem.columns + problem.channels) + weights) / 3.7e6
    cluster = 0.2 + 3.0e-4 * tiling.rows * tiling.columns if tiling.cluster > 1 else 0.0
    return 0.3 + max(waves(problem, tiling, arithmetic, target), from_l2, memory) + cluster


def waves(problem: Problem, tiling: Tiling, arithmetic: Arithmetic, target: CudaTarget) -> float:
    """Microseconds of waves of blocks: filling the first stages; steps, which wait for copies or for multiplying and
    copying of all blocks on a multiprocessor; finishing.
    """
    blocks, steps = _blocks_and_steps(problem, tiling)
    resident = _resident(tiling, target)
    slots = resident * target.multiprocessors
    full, rest = divmod(blocks, slots)
    wave = _wave(tiling, arithmetic, steps, resident)
    if full >= tiling.many_waves:
        return wave * blocks / slots + tiling.meeting
    last = _wave(tiling, arithmetic, steps, max(1, ceil(rest / target.multiprocessors))) if rest else 0.0
    return full * wave + last


def _blocks_and_steps(problem: Problem, tiling: Tiling) -> tuple[int, int]:
    """Blocks, one for each tile or part of the depth, and the steps of each."""
    tiles = tuning_value(product(tiling.tiles(problem)))
    return tiles * tiling.cluster, ceil(Steps(problem).count / tiling.cluster)


def _resident(tiling: Tiling, target: CudaTarget) -> int:
    """Blocks that a multiprocessor has room for."""
    registers = tiling.registers * tiling.threads
    return max(1, min(target.l1_bytes // (tiling.shared_bytes + 1024), 65536 // registers, 2048 // tiling.threads))


def _wave(tiling: Tiling, arithmetic: Arithmetic, steps: int, active: int) -> float:
    """Microseconds of as many blocks as there are multiprocessors, `active` times."""
    busy = tiling.rows * tiling.columns * arithmetic.pace.output + 4.0e-6 * tiling.plane_bytes
    ahead = max(1, tiling.stages - arithmetic.stages_in_use)  # Fewer stages may be for another arithmetic.
    waiting = max(arithmetic.pace.least, arithmetic.pace.copied / ahead)
    return tiling.filling + steps * max(waiting, active * busy) + 0.19 * tiling.units * max(1.0, active / 2)
