"""How a pooling is split: tiles of neighbouring outputs of a row, parallel tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from tensorwright.kernels.cpu.spatial.runs import Run, even_sizes, full_sizes, runs_of
from tensorwright.kernels.cpu.spatial.tiling import Tiling
from tensorwright.kernels.pooling.problem import Pooling

MOST_READS = 36
"""There is code for every way in which padding clips windows if together it reads at most so many rows."""


@dataclass(frozen=True)
class PoolingTiling(Tiling):
    """A pooling and its options. Tiles that share code have equal counts of elements, too."""

    pooling: Pooling

    @property
    def spans(self) -> bool:
        return False

    @property
    def kinds(self) -> int:
        """How many kinds of tiles there is code for."""
        return len(self.rows) * len(self.columns)

    @cached_property
    def walks_rows(self) -> bool:
        """Whether a loop goes through the rows of a window."""
        return sum(len(rows) > 0 for run in self._unrolled_rows for rows in run.valid) > MOST_READS

    @cached_property
    def rows(self) -> tuple[Run, ...]:
        axis = self.problem.axes[-2]
        return runs_of(axis, even_sizes(axis.output, 1), walked=True) if self.walks_rows else self._unrolled_rows

    @cached_property
    def _unrolled_rows(self) -> tuple[Run, ...]:
        axis = self.problem.axes[-2]
        return runs_of(axis, even_sizes(axis.output, 1), counted=self.pooling.counted[-2])

    @cached_property
    def columns(self) -> tuple[Run, ...]:
        axis = self.problem.axes[-1]
        return runs_of(axis, even_sizes(axis.output, self.options.columns), counted=self.pooling.counted[-1])


@dataclass(frozen=True)
class LineTiling(PoolingTiling):
    """Vectors of neighbouring outputs of a row; a tile is one of them.

    Those that meet padding have their own code, unless they meet nothing else.
    """

    @cached_property
    def columns(self) -> tuple[Run, ...]:
        axis = self.problem.axes[-1]
        runs = runs_of(axis, full_sizes(axis.output, self.options.columns), counted=self.pooling.counted[-1])
        return tuple(part for run in runs for part in ([run] if is_uniform(run) else _apart(run, 1)))


def meets_no_padding(run: Run) -> bool:
    """Whether no tap reads padding."""
    return all(len(valid) == run.size for valid in run.valid)


def meets_only_padding(run: Run) -> bool:
    return not any(run.valid)


def is_uniform(run: Run) -> bool:
    """Whether the lanes of a tile need not be told apart."""
    return meets_no_padding(run) or meets_only_padding(run)


def _apart(run: Run, size: int) -> Iterator[Run]:
    """The run in parts of `size` tiles."""
    for number in range(0, run.count, size):
        yield replace(run, first=run.first + number, count=size, start=run.start + number * run.size)
