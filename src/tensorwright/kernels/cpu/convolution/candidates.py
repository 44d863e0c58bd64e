"""Which tilings of a direct convolution are worth timing, and which of them look best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from math import isqrt, prod

from tensorwright.codegen.target import Target
from tensorwright.kernels.convolution.problem import Problem
from tensorwright.kernels.cpu.arithmetic import MOST_REGISTERS
from tensorwright.kernels.cpu.convolution.ahead import LINE_BYTES
from tensorwright.kernels.cpu.dealing import many_tasks, sharers
from tensorwright.kernels.cpu.spatial.runs import even_size, even_sizes
from tensorwright.kernels.cpu.spatial.tiling import Tiling, TilingOptions

STREAMED_WEIGHTS, STREAMED_POSITIONS = 1 << 16, 64
"""From so many weights on, for at most so many positions, it may pay to prefetch them."""

FEWEST_PARTS = 4
"""Channels are summed in parts if there are so many, or more, of those whose weights fit into the first-level cache."""

DEEP_TILES = 2
"""The tiles for which that is tried, with few and many tasks: each task brings all weights into that cache."""

DEPTH_STEP, SHALLOWEST = 32, 64
"""Channels in a part are a multiple, and at least so many: sums are stored and loaded again for each part."""

MOST_ROWS = 4
MOST_CANDIDATES = 16
UNROLL = 4
LATENCY = 4
"""Cycles that a multiply-add takes until the next one can use its result."""

LINE_COST = 4
"""Multiply-adds in the time that a line of the cache takes from the second level to the first."""

TapTile = tuple[int, int, int, bool]
"""Rows, columns, blocks, and whether the taps of the last axis are inside the loop over channels."""

Cost = Callable[[Problem, Target, TapTile], float]


def options_for(
    problem: Problem, target: Target, sums: Sequence[int] = (MOST_REGISTERS,), cost: Cost | None = None
) -> list[TilingOptions]:
    """The most promising first: every register tile in the order of its cost, then with other orders.

    sums: how many a tile may have at most; tiles for each of these numbers take turns. cost: of a tile, in cycles for
    all pixels and outputs; that of direct convolution if there is none.
    """
    turns = zip_longest(*(_options_with(problem, target, most, cost or _cost) for most in sums))
    return list(dict.fromkeys(options for turn in turns for options in turn if options is not None))[:MOST_CANDIDATES]


def _options_with(problem: Problem, target: Target, most: int, cost: Cost) -> list[TilingOptions]:
    tiles = sorted(_tiles(problem, target, most), key=lambda tile: cost(problem, target, tile))
    orders = [list(_orders(problem, target, tile)) for tile in tiles]
    rounds = [options for candidates in zip_longest(*orders) for options in candidates if options is not None]
    known = [tile for tile in tiles if not tile[-1] or problem.axes[-1].kernel == 1][:DEEP_TILES]
    counts = (sharers(target), many_tasks(target))
    deep = (options for tasks in counts for tile in known for options in _deep(problem, target, tile, tasks))
    rounds = [options for pair in zip_longest(deep, rounds) for options in pair if options is not None]
    if _streams_weights(problem):
        asking = [replace(options, prefetch=True) for options in rounds]
        rounds = [asking[0], rounds[0], *asking[1:]]
    return rounds


def _streams_weights(problem: Problem) -> bool:
    """Whether weights are many and serve few positions: their way from memory then takes a good part of the time."""
    positions = prod(axis.output for axis in problem.axes)
    weights = problem.all_outputs * problem.channels * problem.taps
    return weights >= STREAMED_WEIGHTS and positions <= STREAMED_POSITIONS


def _tiles(problem: Problem, target: Target, most: int) -> Iterator[TapTile]:
    """Register tiles: accumulators, weights and a broadcast pixel fit into the registers."""
    count = -(-problem.outputs // target.lanes(problem.numerics.total))
    height, width, taps = problem.axes[-2].output, problem.axes[-1].output, problem.axes[-1].kernel
    spare = 2 if target.has_fma else 3
    most_sums = min(most, 28 if target.registers >= 32 else 12)
    for blocks in (1, 2, 3, 4, 6, 8):
        if blocks > count or (
            problem.groups > 1 and blocks > 1 and problem.outputs % (blocks * target.lanes(problem.numerics.total))
        ):
            continue
        for inside in (True, False) if taps > 1 else (True,):
            weights = taps * blocks if inside else blocks
            limit = min(target.registers - spare - weights, most_sums) // blocks
            limit = limit if blocks > 1 or target.registers >= 32 else limit - 2
            if limit < 1 or (blocks > 4 and height * width > LATENCY):
                continue
            columns = even_size(width, limit)
            tallest = min(MOST_ROWS, height, limit // columns) if blocks > 1 and not inside else 1
            for rows in {1, even_size(height, max(1, tallest))}:
                yield rows, columns, blocks, inside


def _cost(problem: Problem, target: Target, tile: TapTile) -> float:
    """Cycles, more or less, for one channel and one tap of all pixels and outputs."""
    rows, columns, blocks, inside = tile
    options = TilingOptions(rows, columns, blocks, 1, inside, 1, 1, pixels_first=False, prefetch=False)
    total = 0.0
    for run in Tiling(problem, options, target.lanes(problem.numerics.total)).output_runs:
        for height, times in even_sizes(problem.axes[-2].output, rows):
            for width, tiles in even_sizes(problem.axes[-1].output, columns):
                vectors = sum(run.lanes) / target.lanes(problem.numerics.total)
                total += times * tiles * run.count * step_cost(problem, height * width, vectors)
    preferred = not inside if problem.all_channels >= target.lanes(problem.numerics.total) else inside
    return total * (1.0 if preferred or problem.axes[-1].kernel == 1 else 1.05)


def step_cost(problem: Problem, pixels: int, vectors: float) -> float:
    """Cycles, more or less, for one channel and one tap of a tile."""
    read = pixels * problem.numerics.left.size / LINE_BYTES * LINE_COST
    return max(pixels * vectors + 0.5, pixels + vectors, LATENCY) + read


def _orders(problem: Problem, target: Target, tile: TapTile) -> Iterator[TilingOptions]:
    """Orders of the tiles: weights stay while pixels pass, or a chunk of pixels stays while weights pass."""
    rows, columns, blocks, inside = tile
    unroll = max(1, UNROLL // problem.axes[-1].kernel) if inside else UNROLL
    options = TilingOptions(rows, columns, blocks, unroll, inside, 1, 1, pixels_first=False, prefetch=False)
    tiling = Tiling(problem, options, target.lanes(problem.numerics.total))
    units, groups = tiling.units, tiling.group_count
    chunks = max(1, min(units, -(-many_tasks(target) // (groups * tiling.outer_positions))))
    yield replace(options, pixels=_largest_divisor(units, -(-units // chunks)))
    pixels = rows * problem.axes[-1].output if tiling.rows_are_units else columns
    size = pixels * prod(axis.stride for axis in problem.axes) * problem.all_channels * 4
    for cache in (target.l2_bytes // 4, target.l1_bytes // 2):
        most = max(1, min(units, cache // size))
        chunk = -(-units // -(-units // most))
        parts = max(1, min(groups, -(-many_tasks(target) // (-(-units // chunk) * tiling.outer_positions))))
        yield replace(options, pixels=chunk, outputs=-(-groups // parts), pixels_first=True)


def _deep(problem: Problem, target: Target, tile: TapTile, tasks: int) -> Iterator[TilingOptions]:
    """Some channels at a time, whose weights for a group of outputs leave room for others in the first-level cache, for
    as many pixels as leave so many tasks; nothing if there are hardly more channels.
    """
    rows, columns, blocks, inside = tile
    size = problem.taps * blocks * target.lanes(problem.numerics.total) * problem.numerics.right.size
    depth = max(target.l1_bytes * 3 // 4 // size // DEPTH_STEP * DEPTH_STEP, SHALLOWEST)
    if problem.groups > 1 or problem.channels % UNROLL or problem.channels < FEWEST_PARTS * depth:
        return
    options = TilingOptions(
        rows, columns, blocks, UNROLL, inside, 1, 1, pixels_first=False, prefetch=False, depth=depth
    )
    tiling = Tiling(problem, options, target.lanes(problem.numerics.total))
    chunks = -(-tasks // (tiling.group_count * tiling.outer_positions))
    yield replace(options, pixels=-(-tiling.units // min(tiling.units, chunks)))


def _largest_divisor(number: int, limit: int) -> int:
    """The largest divisor up to a limit: tasks of equal size."""
    pairs = ((divisor, number // divisor) for divisor in range(1, isqrt(number) + 1) if number % divisor == 0)
    return max(divisor for pair in pairs for divisor in pair if divisor <= limit)
