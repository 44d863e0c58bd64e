"""How output positions along one spatial axis are split into tiles, and which tiles share their code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TypeVar

from tensorwright.kernels.convolution.problem import Axis

Positions = tuple[int, ...]
Kind = TypeVar("Kind")


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


@dataclass(frozen=True)
class Sizes:
    """The sizes of neighbouring tiles: so many of one size, then so many of the next."""

    parts: tuple[tuple[int, int], ...]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Size and number of tiles, part by part."""
        return iter(self.parts)

    @property
    def count(self) -> int:
        return sum(count for _, count in self.parts)


def even_size(extent: int, limit: int) -> int:
    """The largest size of the fewest tiles of at most `limit` positions, as equal as possible."""
    return -(-extent // -(-extent // limit))


def even_sizes(extent: int, limit: int) -> Sizes:
    """Sizes of the fewest tiles of at most `limit` positions, as equal as possible, the larger ones first."""
    count = -(-extent // limit)
    least, larger = divmod(extent, count)
    return Sizes(tuple(part for part in ((least + 1, larger), (least, count - larger)) if part[1]))


def full_sizes(extent: int, size: int) -> Sizes:
    """Tiles of one size, the last one shorter if need be."""
    whole, rest = divmod(extent, size)
    return Sizes(tuple(part for part in ((size, whole), (rest, int(rest > 0))) if part[1]))


def runs_of(
    axis: Axis, sizes: Sizes, *, walked: bool = False, counted: tuple[int, int] | None = None
) -> tuple[Run, ...]:
    """Tiles of the given sizes, in order, neighbours that can share code taken together.

    With `walked` the code itself finds out which taps read padding, and all positions count as valid. counted: the
    range of indices whose elements count in a mean, if tiles share code only where their windows count as many.
    """

    def kind(start: int, size: int) -> tuple[int, tuple[Positions, ...], tuple[int, ...]]:
        valid = (tuple(range(size)),) * axis.kernel if walked else _valid(axis, start, size)
        counts = () if counted is None else tuple(axis.taps_in(*counted, start + place) for place in range(size))
        return size, valid, counts

    ranges = [bounds for bounds in (None if walked else (0, axis.input), counted) if bounds is not None]
    changes = {position for bounds in ranges for position in axis.changes(*bounds)}
    return tuple(
        Run(first, count, start, size, valid)
        for (size, valid, _), first, count, start in grouped(sizes, kind, sorted(changes))
    )


def grouped(
    sizes: Sizes, kind: Callable[[int, int], Kind], changes: Sequence[int]
) -> Iterator[tuple[Kind, int, int, int]]:
    """Neighbouring tiles of one kind: the kind, the first tile, how many there are, and the first position.

    kind: what a tile is like, by its first position and its size. changes: the only positions, in order, that may
    differ from the one before, so that it does not matter how many tiles lie between two of them.
    """
    for key, group in groupby(_spans(sizes, changes), key=lambda span: kind(span[2], span[3])):
        members = list(group)
        yield key, members[0][0], sum(count for _, count, _, _ in members), members[0][2]


def _spans(sizes: Sizes, changes: Sequence[int]) -> Iterator[tuple[int, int, int, int]]:
    """Tiles that are alike for sure: the first one, how many, the first position, their size."""
    first = start = 0
    for size, count in sizes:
        edges = {0, count}
        for change in changes:
            number = (change - start) // size
            edges |= {edge for edge in (number, number + 1) if 0 < edge < count}
        for begin, end in pairwise(sorted(edges)):
            yield first + begin, end - begin, start + begin * size, size
        first, start = first + count, start + count * size


def _valid(axis: Axis, start: int, size: int) -> tuple[Positions, ...]:
    return tuple(
        tuple(position for position in range(size) if axis.reads(start + position, tap)) for tap in range(axis.kernel)
    )


def tile_count(runs: tuple[Run, ...]) -> int:
    return sum(run.count for run in runs)


def tile_start(runs: Sequence[Run], number: int) -> int:
    """The first position of a tile by its number; of the number behind the last, the position behind all."""
    run = next((run for run in runs if number < run.first + run.count), runs[-1])
    return run.start + (number - run.first) * run.size
