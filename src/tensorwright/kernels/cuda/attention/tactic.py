"""Attention in one kernel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from tensorwright.codegen.cuda.nest import GroupEmitter
from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget
from tensorwright.codegen.epilogue import Epilogue
from tensorwright.graph.expression import Load, depends, walk
from tensorwright.graph.region import Region
from tensorwright.kernels.attention.problem import Factor, KnownProblem, known, problem_of
from tensorwright.kernels.cuda.attention.heads import Heads, HeadsKernel
from tensorwright.kernels.cuda.attention.pieces import ACCESS_BYTES, ROWS, RUN, Pieces
from tensorwright.kernels.cuda.attention.write import AttentionKernel, result_epilogue, score_epilogue
from tensorwright.kernels.cuda.fragments.arithmetic import Arithmetic, Products, RoundedProducts, SplitProducts
from tensorwright.kernels.cuda.fragments.sums import SHARED_TEXT
from tensorwright.kernels.cuda.function import ATTRIBUTES, signature, thread_emitter
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.tactic import Config, Tactic, TacticOptions, plain_inputs
from tensorwright.tensor.dim import Dim, IntegerExpression, product, tuning_value
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType
from tensorwright.tensor.layout import PLAIN

MOST_BYTES = 256
"""The largest depth and width: more would not fit the registers."""
WARPS, FLOAT32_WARPS = (4, 2, 8, 1), (8, 4, 2, 1)
"""Of a block whose warps share columns: as many as there are columns for, in float32, which multiplies for longer."""
MOST_WARPS = 8
"""Of a block whose warps have rows of their own."""
TYPICAL = CUDA_TARGETS["sm_90"]
"""What is measured."""
SPLIT_SHARE = 0.8
"""How fast split factors are thought to be beside rounded ones: most of a small kernel's time is waiting."""


@dataclass(frozen=True)
class WarpOptions(TacticOptions):
    """warps: those of a block, which share its rows' columns, or have rows of their own."""

    warps: int


class _Attention(Tactic[CudaTarget, WarpOptions]):
    """What all have in common.

    oldest: types, and the capability from which on tensor cores multiply them so.
    """

    joins = True
    oldest: ClassVar[Mapping[DType, int]] = MappingProxyType({FLOAT16: 75, BFLOAT16: 80})

    def arithmetic(self, problem: KnownProblem, target: CudaTarget) -> Arithmetic:
        """What multiplies factors."""
        return Products(_dtype(problem), target)

    def problem(self, region: Region) -> KnownProblem | None:
        """The attention that a region is."""
        return _problem(region, tuple(self.oldest))

    @abstractmethod
    def sizes(self, problem: KnownProblem, target: CudaTarget) -> Sequence[Pieces | Heads]:
        """How the work may be dealt to warps, the most promising way first."""

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[WarpOptions]]:
        problem = self.problem(region)
        if problem is None or target.capability < self.oldest[_dtype(problem)]:
            return []
        fitting = [one for one in self.sizes(problem, target) if one.shared_bytes <= target.block_shared_bytes]
        return [Config(plain_inputs(region), PLAIN, WarpOptions(one.warps)) for one in fitting]


class Attention(_Attention):
    """Scores of 16 rows at a time, which stay in registers; see `kernels.cuda.attention`."""

    name = "attention"

    def sizes(self, problem: KnownProblem, target: CudaTarget) -> Sequence[Pieces]:
        splits = self.arithmetic(problem, target).splits
        counts = FLOAT32_WARPS if _dtype(problem) == FLOAT32 else WARPS
        pieces = [Pieces(problem, warps, splits) for warps in counts]
        return [one for one in pieces if one.columns >= one.warps]

    def emit(self, region: Region, config: Config[WarpOptions], target: CudaTarget) -> CudaKernel:
        problem = self.problem(region)
        assert problem is not None
        arithmetic = self.arithmetic(problem, target)
        pieces = Pieces(problem, config.options.warps, arithmetic.splits)
        emitter = thread_emitter(len(region.inputs), region.symbols, target)
        AttentionKernel(pieces, arithmetic, emitter).write()
        return _kernel(region, config, pieces, emitter, target)


class AttentionOfHeads(_Attention):
    """For every warp of a block 16 rows of its own, for all of them keys and values in shared memory."""

    name = "attention of heads"

    def sizes(self, problem: KnownProblem, target: CudaTarget) -> Sequence[Heads]:
        if not target.has_async_copies:
            return []
        tiles = -(-problem.rows // ROWS)
        fewest = -(-tiles // MOST_WARPS)
        counts = dict.fromkeys(-(-tiles // (times * fewest)) for times in (1, 2, 4))
        splits = self.arithmetic(problem, target).splits
        return [Heads(problem, warps, splits) for warps in counts]

    def efficiency(self, region: Region, config: Config[WarpOptions]) -> float:
        """More than where each block reads all keys for 16 rows, if there are blocks enough for the GPU."""
        problem = self.problem(region)
        assert problem is not None
        blocks = tuning_value(product(Heads(problem, config.options.warps).grid))
        return 1.0 if blocks >= TYPICAL.multiprocessors else 0.5

    def emit(self, region: Region, config: Config[WarpOptions], target: CudaTarget) -> CudaKernel:
        problem = self.problem(region)
        assert problem is not None
        arithmetic = self.arithmetic(problem, target)
        heads = Heads(problem, config.options.warps, arithmetic.splits)
        emitter = thread_emitter(len(region.inputs), region.symbols, target)
        HeadsKernel(heads, arithmetic, emitter).write()
        return _kernel(region, config, heads, emitter, target)


class _Split(_Attention):
    """In float32, each factor split into two. Infinities give NaN where the definition gives infinities."""

    oldest = MappingProxyType({FLOAT32: 80})
    exact = False
    spreads = True

    def arithmetic(self, problem: KnownProblem, target: CudaTarget) -> Arithmetic:
        return SplitProducts(target)

    def efficiency(self, region: Region, config: Config[WarpOptions]) -> float:
        return SPLIT_SHARE * super().efficiency(region, config)


class _Tf32(_Attention):
    """In float32, factors rounded to 10 bits of a mantissa."""

    oldest = MappingProxyType({FLOAT32: 80})
    rounding = 2**-11

    def arithmetic(self, problem: KnownProblem, target: CudaTarget) -> Arithmetic:
        return RoundedProducts(target, packed=False)


class SplitAttention(_Split, Attention):
    name = "split attention"


class Tf32Attention(_Tf32, Attention):
    name = "tf32 attention"


class SplitAttentionOfHeads(_Split, AttentionOfHeads):
    name = "split attention of heads"


class Tf32AttentionOfHeads(_Tf32, AttentionOfHeads):
    name = "tf32 attention of heads"


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


TACTICS = (
    Attention(),
    AttentionOfHeads(),
    SplitAttention(),
    SplitAttentionOfHeads(),
    Tf32Attention(),
    Tf32AttentionOfHeads(),
)


def _problem(region: Region, dtypes: Sequence[DType]) -> KnownProblem | None:
    problem = known(problem_of(region, dtypes))
    if problem is None or problem.replaces_nan:
        return None
    dtype = _dtype(problem)
    if max(problem.depth, problem.width) * dtype.size > MOST_BYTES:
        return None
    types = {region.inputs[factor.number].type.dtype for factor in (problem.q, problem.k, problem.v)}
    access = ACCESS_BYTES // dtype.size
    rows = (problem.q, -1), (problem.k, -2), (problem.v, -1)
    even = all(factor.steps[axis] == 1 and _lies_evenly(factor, axis, access) for factor, axis in rows)
    if types != {region.output.type.dtype} or not even or problem.depth % access or problem.width % RUN:
        return None
    scores = score_epilogue(problem)
    if problem.columns % 2 and _reads_columns(scores):
        return None
    result = result_epilogue(problem)
    aligned = _is_aligned(scores, 2) and _is_aligned(result, RUN)
    return problem if aligned and _lies_in_vectors(result.flat.address, result, RUN) else None


def _dtype(problem: KnownProblem) -> DType:
    return problem.result.output.type.dtype


def _lies_evenly(factor: Factor, axis: int, access: int) -> bool:
    """Whether every row starts at a multiple of what a thread reads at once."""
    others = [step for number, step in enumerate(factor.steps) if number != len(factor.steps) + axis]
    extents = [extent for number, extent in enumerate(factor.shape) if number != len(factor.shape) + axis]
    even = all(extent == 1 or _is_multiple(step, access) for step, extent in zip(others, extents, strict=True))
    return even and _is_multiple(factor.start, access)


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
