"""Attention: softmax of scores times values, the scores of a few rows at a time in the caches and never in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels.attention.problem import KnownProblem, Problem, known, problem_of
from tensorwright.kernels.cpu.attention.kernel import attention_kernel
from tensorwright.kernels.cpu.attention.pairs import PairAttentionWriter, PairTiling, pairs_fit
from tensorwright.kernels.cpu.attention.write import AttentionTiling, AttentionWriter
from tensorwright.kernels.cpu.function import argument_emitter
from tensorwright.kernels.cpu.matmul.grid import TALLEST_OF_UNKNOWN
from tensorwright.kernels.cpu.matmul.shapes import task_groups, tile_shapes
from tensorwright.kernels.cpu.matmul.tiling import Panels, RowTiles
from tensorwright.kernels.numerics import FLOAT_TOTAL
from tensorwright.kernels.tactic import TUNED, Config, Kernel, Tactic, TacticOptions, plain_inputs
from tensorwright.tensor.dim import bounds, is_static, tuning_value
from tensorwright.tensor.dtype import BFLOAT16
from tensorwright.tensor.layout import PLAIN

PAIR_RATE = 1.3
"""How many times faster pairs are taken to be where nobody measures: softmax takes as long."""
BLOCK_ROWS = 16
"""At most so many rows, but one tile at least, have their scores in workspace at a time."""


@dataclass(frozen=True)
class AttentionOptions(TacticOptions):
    """rows, vectors: the largest tile; block: tiles whose scores workspace holds; groups: tasks of each batch."""

    rows: int
    vectors: int
    block: int
    groups: int


class Attention(Tactic[Target, AttentionOptions]):
    """k and v are packed once for each batch; then, for a block of rows, scores, their softmax, and its product with v.

    Depth and width have to be known, and the most of k, v and the scores of a block have to fit the second-level cache.
    """

    name = "attention"
    joins = True

    def configs(self, region: Region, target: Target) -> Sequence[Config[AttentionOptions]]:
        problem = problem_of(region)
        if problem is None or not _packs(problem):
            return []
        vectors = -(-tuning_value(problem.columns) // target.lanes(FLOAT_TOTAL))
        configs = [_config(problem, region, *shape, target) for shape in sorted(tile_shapes(target, vectors))]
        return [config for config in configs if _tiling(problem, config.options, target).workspace <= target.l2_bytes]

    def emit(self, region: Region, config: Config[AttentionOptions], target: Target) -> Kernel:
        problem = problem_of(region)
        assert problem is not None
        tiling = _tiling(problem, config.options, target)
        emitter = argument_emitter(len(region.inputs), region.symbols, target)
        AttentionWriter(tiling, emitter).write()
        return attention_kernel(region, config, tiling, emitter)


class PairAttention(Tactic[Target, AttentionOptions]):
    """The same in bfloat16, with dot products of pairs; powers are rounded to bfloat16 before they meet v."""

    name = "attention_pairs"
    joins = True

    def configs(self, region: Region, target: Target) -> Sequence[Config[AttentionOptions]]:
        problem = known(problem_of(region, (BFLOAT16,))) if target.has_bfloat16_dot else None
        if problem is None or not pairs_fit(problem):
            return []
        vectors = -(-problem.columns // target.lanes(FLOAT_TOTAL))
        configs = [_config(problem, region, *shape, target) for shape in sorted(tile_shapes(target, vectors))]
        return [each for each in configs if _pair_tiling(problem, each.options, target).workspace <= target.l2_bytes]

    def efficiency(self, region: Region, config: Config[AttentionOptions]) -> float:
        return TUNED * PAIR_RATE

    def emit(self, region: Region, config: Config[AttentionOptions], target: Target) -> Kernel:
        problem = known(problem_of(region, (BFLOAT16,)))
        assert problem is not None
        tiling = _pair_tiling(problem, config.options, target)
        emitter = argument_emitter(len(region.inputs), region.symbols, target)
        emitter.builder.flushes = True
        PairAttentionWriter(tiling, emitter).write()
        return attention_kernel(region, config, tiling, emitter)


TACTICS = (Attention(), PairAttention())


def _packs(problem: Problem) -> bool:
    """Whether k and v can be packed: an unknown number of columns, at least one, if they are rows of v side by side."""
    return is_static(problem.columns) or (bounds(problem.columns)[0] > 0 and problem.v.column_step == 1)


def _config(problem: Problem, region: Region, rows: int, vectors: int, target: Target) -> Config[AttentionOptions]:
    rows = rows if is_static(problem.rows) else min(rows, TALLEST_OF_UNKNOWN)
    tiles = RowTiles(1, problem.rows, rows)
    groups = task_groups(max(1, tuning_value(tiles.count)), max(1, tuning_value(problem.batches)), target)
    options = AttentionOptions(rows, vectors, max(1, BLOCK_ROWS // rows), groups)
    return Config(plain_inputs(region), PLAIN, options)


def _pair_tiling(problem: KnownProblem, options: AttentionOptions, target: Target) -> PairTiling:
    plain = _tiling(problem, options, target)
    return PairTiling(problem, plain.lanes, plain.tiles, plain.block, plain.scores, plain.result, plain.groups)


def _tiling(problem: Problem, options: AttentionOptions, target: Target) -> AttentionTiling:
    lanes, most = target.lanes(FLOAT_TOTAL), options.vectors
    tiles = RowTiles(1, problem.rows, options.rows)
    scores, result = Panels(problem.columns, lanes, most), Panels(problem.width, lanes, most)
    return AttentionTiling(problem, lanes, tiles, options.block, scores, result, options.groups)
