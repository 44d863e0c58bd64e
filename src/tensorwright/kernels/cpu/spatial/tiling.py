"""How output positions along one spatial axis are cut into tiles, and which tiles share their code."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from tensorwright.kernels.convolution.problem import Axis

Positions = tuple[int, ...]


@dataclass(frozen=True)
class Run:
    """Neighbouring tiles with the same code.

    first, count: which tiles they are. start: the first position of the first of them. size: positions in each.
    valid: for every tap of the kernel, the positions within a tile that read no padding.
    """

    first: int
    count: int
    start: int
    size: int
    valid: tuple[Positions, ...]

    @property
    def positions(self) -> list[tuple[int, int]]:
        """The first position of every tile and the one behind its last."""
        starts = range(self.start, self.start + self.count * self.size, self.size)
        return [(start, start + self.size) for start in starts]


def even_sizes(extent: int, limit: int) -> tuple[int, ...]:
    """Sizes of the fewest tiles of at most `limit` positions, as equal as possible, the larger ones first."""
    count = -(-extent // limit)
    least, larger = divmod(extent, count)
    return (least + 1,) * larger + (least,) * (count - larger)


def runs_of(axis: Axis, sizes: tuple[int, ...], *, walked: bool = False) -> tuple[Run, ...]:
    """Tiles of the given sizes, in order, neighbours that can share code taken together.

    With `walked` the code itself finds out which taps read padding, and all positions count as valid.
    """
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    tiles = [
        (size, (tuple(range(size)),) * axis.kernel if walked else _valid(axis, start, size))
        for start, size in zip(starts, sizes, strict=True)
    ]
    runs, first = [], 0
    for (size, valid), group in groupby(tiles):
        count = len(list(group))
        runs.append(Run(first, count, starts[first], size, valid))
        first += count
    return tuple(runs)


def _valid(axis: Axis, start: int, size: int) -> tuple[Positions, ...]:
    return tuple(
        tuple(position for position in range(size) if axis.reads(start + position, tap)) for tap in range(axis.kernel)
    )


def tile_count(runs: tuple[Run, ...]) -> int:
    return sum(run.count for run in runs)
