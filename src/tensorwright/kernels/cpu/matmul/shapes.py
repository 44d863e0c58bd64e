"""Which register tiles and how many tasks are worth trying."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tensorwright.codegen.target import Target
from tensorwright.kernels.cpu.arithmetic import MOST_REGISTERS
from tensorwright.kernels.cpu.dealing import sharers

THREADS = (2, 4, 8)
"""Numbers of threads that the tasks are to keep equally busy, beside those of the target."""
MOST_GROUPS = 16
WELL_BALANCED = 0.95


def tile_shapes(target: Target, vectors: int, most: int = MOST_REGISTERS) -> Iterator[tuple[int, int]]:
    """Rows × vectors of the register tiles, the most promising first, for a product `vectors` vectors wide.

    Beside its accumulators, `most` of them at most, a tile needs a register for each of its vectors, one for an element
    of a, and, without fused multiplication and addition, one for the product.
    """
    spare = target.registers - 1 - (0 if target.has_fma else 1)
    widths = (4, 3, 2) if target.registers >= 32 else (2, 3)
    for width in dict.fromkeys(min(width, vectors) for width in widths):
        rows = min(spare - width, most) // width
        yield (rows if rows % 2 == 0 or rows < 8 else rows - 1), width


def task_groups(tiles: int, units: int, target: Target) -> int:
    """Into how many groups to deal the tiles of every one of `units` panels so that threads get equal work."""
    choices, counts = range(1, min(tiles, MOST_GROUPS) + 1), tuple(dict.fromkeys((*THREADS, sharers(target))))
    best = max(_balance(tiles, units, groups, counts) for groups in choices)
    return next(groups for groups in choices if _balance(tiles, units, groups, counts) >= WELL_BALANCED * best)


def _balance(tiles: int, units: int, groups: int, counts: Sequence[int]) -> float:
    """The mean load of a thread over the largest one, multiplied over all numbers of threads."""

    def before(group: int) -> int:
        """Tiles of all groups before one of them."""
        return group // groups * tiles + tiles * (group % groups) // groups

    product = 1.0
    for threads in counts:
        edges = [before(groups * units * thread // threads) for thread in range(threads + 1)]
        largest = max(b - a for a, b in pairwise(edges))
        product *= edges[-1] / threads / largest
    return product
