"""Attention in float16 and bfloat16 in one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget
from tensorwright.codegen.epilogue import Epilogue
from tensorwright.graph.expression import Load, depends, walk
from tensorwright.graph.region import Region
from tensorwright.kernels.attention.problem import Factor, KnownProblem, known, problem_of
from tensorwright.kernels.cuda.attention.heads import Heads, HeadsKernel
from tensorwright.kernels.cuda.attention.pieces import ACCESS, ROWS, Pieces
from tensorwright.kernels.cuda.attention.write import AttentionKernel, result_epilogue, score_epilogue
from tensorwright.kernels.cuda.fragments.sums import SHARED_TEXT
from tensorwright.kernels.cuda.function import ATTRIBUTES, signature, thread_emitter
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.tactic import Config, Tactic, TacticOptions, plain_inputs
from tensorwright.tensor.dim import Dim, IntegerExpression, product, tuning_value
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, DType
from tensorwright.tensor.layout import PLAIN

MOST = 128
"""The largest depth and width: more would not fit the registers."""
WARPS = (4, 2, 8, 1)
MOST_WARPS = 8
"""Of a block whose warps have rows of their own."""
TYPICAL = CUDA_TARGETS["sm_90"]
"""What is measured."""


@dataclass(frozen=True)
class WarpOptions(TacticOptions):
    """warps: those of a block, which share its rows' columns, or have rows of their own."""

    warps: int


class Attention(Tactic[CudaTarget, WarpOptions]):
    """Scores of 16 rows at a time, which stay in registers; see `kernels.cuda.attention`."""

    name = "attention"
    joins = True

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[WarpOptions]]:
        problem = _problem(region, target)
        if problem is None:
            return []
        pieces = [Pieces(problem, warps) for warps in WARPS]
        fitting = [one for one in pieces if one.columns >= one.warps and one.shared_bytes <= target.block_shared_bytes]
        return [Config(plain_inputs(region), PLAIN, WarpOptions(one.warps)) for one in fitting]

    def emit(self, region: Region, config: Config[WarpOptions], target: CudaTarget) -> CudaKernel:
        problem = _problem(region, target)
        assert problem is not None
        pieces = Pieces(problem, config.options.warps)
        emitter = thread_emitter(len(region.inputs), region.symbols, target)
        AttentionKernel(region, pieces, _dtype(problem), target, emitter).write()
        return _kernel(region, config, pieces, emitter, target)


class AttentionOfHeads(Tactic[CudaTarget, WarpOptions]):
    """For every warp of a block 16 rows of its own, for all of them keys and values in shared memory."""

    name = "attention of heads"
    joins = True

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[WarpOptions]]:
        problem = _problem(region, target)
        if problem is None or not target.has_async_copies:
            return []
        tiles = -(-problem.rows // ROWS)
        fewest = -(-tiles // MOST_WARPS)
        counts = dict.fromkeys(-(-tiles // (times * fewest)) for times in (1, 2, 4))
        fitting = [warps for warps in counts if Heads(problem, warps).shared_bytes <= target.block_shared_bytes]
        return [Config(plain_inputs(region), PLAIN, WarpOptions(warps)) for warps in fitting]

    def efficiency(self, region: Region, config: Config[WarpOptions]) -> float:
        """More than where each block reads all keys for 16 rows, if there are blocks enough for the GPU."""
        problem = _problem(region, TYPICAL)
        assert problem is not None
        blocks = tuning_value(product(Heads(problem, config.options.warps).grid))
        return 1.0 if blocks >= TYPICAL.multiprocessors else 0.5

    def emit(self, region: Region, config: Config[WarpOptions], target: CudaTarget) -> CudaKernel:
        problem = _problem(region, target)
        assert problem is not None
        heads = Heads(problem, config.options.warps)
        emitter = thread_emitter(len(region.inputs), region.symbols, target)
        HeadsKernel(heads, _dtype(problem), target, emitter).write()
        return _kernel(region, config, heads, emitter, target)


def _kernel(
    region: Region, config: Config[WarpOptions], sizes: Pieces | Heads, emitter: GroupEmitter, target: CudaTarget
) -> CudaKernel:
    function = emitter.builder.module(signature(region, sizes.threads, sizes.registers), ATTRIBUTES)
    return CudaKernel(
        text=f"{SHARED_TEXT}\n{function}",
        inputs=config.inputs,
        output=config.output,
        tasks=product(sizes.grid),
        packings=(None,) * len(region.inputs),
        symbols=region.symbols,
        grid=sizes.grid,
        block=sizes.threads,
        shared_bytes=sizes.shared_bytes,
        waits=target.has_dependent_launch,
    )


TACTICS = (Attention(), AttentionOfHeads())


def _problem(region: Region, target: CudaTarget) -> KnownProblem | None:
    problem = known(problem_of(region, (FLOAT16,) if target.capability < 80 else (FLOAT16, BFLOAT16)))
    if problem is None or problem.replaces_nan or max(problem.depth, problem.width) > MOST:
        return None
    types = {region.inputs[factor.number].type.dtype for factor in (problem.q, problem.k, problem.v)}
    rows = (problem.q, -1), (problem.k, -2), (problem.v, -1)
    even = all(factor.steps[axis] == 1 and _lies_evenly(factor, axis) for factor, axis in rows)
    if types != {region.output.type.dtype} or not even or problem.depth % ACCESS or problem.width % ACCESS:
        return None
    scores = score_epilogue(problem)
    if problem.columns % 2 and _reads_columns(scores):
        return None
    result = result_epilogue(problem)
    aligned = _is_aligned(scores, 2) and _is_aligned(result, ACCESS)
    return problem if aligned and _lies_in_vectors(result.flat.address, result, ACCESS) else None


def _dtype(problem: KnownProblem) -> DType:
    return problem.result.output.type.dtype


def _lies_evenly(factor: Factor, axis: int) -> bool:
    """Whether every row starts at a multiple of what a thread reads at once."""
    others = [step for number, step in enumerate(factor.steps) if number != len(factor.steps) + axis]
    extents = [extent for number, extent in enumerate(factor.shape) if number != len(factor.shape) + axis]
    even = all(extent == 1 or _is_multiple(step, ACCESS) for step, extent in zip(others, extents, strict=True))
    return even and _is_multiple(factor.start, ACCESS)


def _is_multiple(value: Dim, number: int) -> bool:
    if not isinstance(value, IntegerExpression):
        return value % number == 0
    return all(coefficient % number == 0 for _, coefficient in value.terms)


def _reads_columns(epilogue: Epilogue) -> bool:
    """Whether an epilogue reads something that differs from column to column, of which a thread wants pairs."""
    loads = [node for node in walk(epilogue.flat.body) if isinstance(node, Load) and node.operand != epilogue.anchor]
    return any(depends(index, epilogue.variables[-1]) for load in loads for index in load.index)


def _is_aligned(epilogue: Epilogue, lanes: int) -> bool:
    """Whether neighbouring columns are whole vectors in everything that an epilogue reads."""
    loads = [node for node in walk(epilogue.flat.body) if isinstance(node, Load) and node.operand != epilogue.anchor]
    return all(_lies_in_vectors(index, epilogue, lanes) for load in loads for index in load.index)


def _lies_in_vectors(address: Dim, epilogue: Epilogue, lanes: int) -> bool:
    """Whether neighbouring columns are whole vectors at an address, or the same element."""
    lane = epilogue.variables[-1]
    if not isinstance(address, IntegerExpression) or not depends(address, lane):
        return True
    return all(coefficient % lanes == 0 or monomial == (lane,) for monomial, coefficient in address.terms)
