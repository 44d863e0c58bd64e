"""An attention region in normal form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from tensorwright.graph.graph import Value
from tensorwright.graph.region import Region
from tensorwright.kernels.numerics import FLOATS
from tensorwright.ops.cache import CachedMatMul
from tensorwright.ops.elementwise import ReplaceNan
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Slice, Transpose
from tensorwright.tensor.dim import Dim, product
from tensorwright.tensor.dtype import DType
from tensorwright.tensor.type import Shape


@dataclass(frozen=True)
class Factor:
    """An operand of a product: which input of the region holds it, and its type; its axes as the product sees them, and
    the steps, in elements of the input, along each of them. start: elements of the input before the first one. Of k and
    v there may be more columns and rows than are read.
    """

    number: int
    dtype: DType
    shape: Shape
    steps: tuple[Dim, ...]
    start: Dim = 0

    @property
    def row_step(self) -> Dim:
        return self.steps[-2]

    @property
    def column_step(self) -> Dim:
        return self.steps[-1]

    def offset(self, batch: Sequence[Dim]) -> Dim:
        """Elements before the matrix at an index of the product's batch axes."""
        own = batch[len(batch) - len(self.shape) + 2 :]
        total = self.start
        for extent, step, index in zip(self.shape[:-2], self.steps[:-2], own, strict=True):
            total = total if extent == 1 else total + index * step
        return total


@dataclass(frozen=True)
class Problem:
    """``y[*batch, rows, width] = f₂(softmax(f₁(q · k)) · v)``, the softmax over the columns of ``q · k``.

    q: ``[*batch, rows, depth]``; k: ``[*batch, depth, columns]``; v: ``[*batch, columns, width]``; f₁, f₂: the
    epilogues of the stages `scores` and `result`. replaces_nan: rows of the softmax that are NaN are zeros instead.
    output_steps: elements of the output between neighbours along each axis of y.
    """

    q: Factor
    k: Factor
    v: Factor
    scores: Region
    result: Region
    batch: Shape
    rows: Dim
    depth: int
    columns: Dim
    width: int
    replaces_nan: bool
    output_steps: tuple[Dim, ...]

    @property
    def batches(self) -> Dim:
        return product(self.batch)


@dataclass(frozen=True)
class KnownProblem(Problem):
    """An attention of as many rows and columns for all values of the symbols."""

    rows: int
    columns: int


def known(problem: Problem | None) -> KnownProblem | None:
    """The same problem if its rows and columns are known."""
    if problem is None or not (isinstance(problem.rows, int) and isinstance(problem.columns, int)):
        return None
    return KnownProblem(**{field.name: getattr(problem, field.name) for field in fields(problem)})


def problem_of(region: Region, dtypes: Sequence[DType] = FLOATS) -> Problem | None:
    """The attention in one of some types that a joined region computes, or None if it computes something else."""
    stages = [stage for stage in region.stages if stage.anchor is not None]
    if len(stages) != 3 or not all(_is_move(s) for s in region.stages if s.anchor is None):
        return None
    scores, softmax, result = stages
    first, last = _product(scores, dtypes), _product(result, dtypes)
    if first is None or last is None or not _is_softmax_of(softmax, scores) or not _fits(softmax, result):
        return None
    (queries, keys), (powers, values) = first.inputs, last.inputs
    used = {value for stage in (scores, result) for value in stage.inputs}
    if not used <= {*region.inputs, queries, keys, powers, values}:
        return None
    q, k = _factor(region, queries, _op(first).transpose_a), _factor(region, keys, _op(first).transpose_b)
    v, steps = _factor(region, values, _op(last).transpose_b), _output_steps(region.output, result.output)
    if q is None or k is None or v is None or steps is None or steps[-1] != 1 or not (_packable(k) and _packable(v)):
        return None
    *batch, rows, columns = scores.output.type.shape
    depth, width = q.shape[-1], v.shape[-1]
    if not (isinstance(depth, int) and isinstance(width, int)) or width == 1 or columns == 1:
        return None
    before, after = (Region(stage.values, region.inputs, stage.anchor) for stage in (scores, result))
    replaces_nan = len(softmax.values) > 1
    return Problem(q, k, v, before, after, tuple(batch), rows, depth, columns, width, replaces_nan, steps)


def _is_move(stage: Region) -> bool:
    return all(isinstance(value.op, Transpose | Slice) for value in stage.values)


def _product(stage: Region, dtypes: Sequence[DType]) -> Value | None:
    """The product that a stage is built around, if its epilogue is elementwise."""
    anchor, output = stage.anchor, stage.output
    if anchor is None or not isinstance(anchor.op, MatMul | CachedMatMul) or not stage.is_elementwise_around_anchor:
        return None
    return anchor if anchor.type.dtype in dtypes and output.type.dtype == anchor.type.dtype else None


def _op(product: Value) -> MatMul | CachedMatMul:
    assert isinstance(product.op, MatMul | CachedMatMul)
    return product.op


def _fits(softmax: Region, result: Region) -> bool:
    """Whether the softmax is the left factor of the result, batch by batch."""
    assert result.anchor is not None
    same = softmax.output.type.shape[:-2] == result.output.type.shape[:-2]
    return same and result.anchor.inputs[0] is softmax.output and not _op(result.anchor).transpose_a


def _is_softmax_of(stage: Region, scores: Region) -> bool:
    first, *others = stage.values
    if not isinstance(first.op, Softmax) or stage.inputs != (scores.output,):
        return False
    guards = [isinstance(value.op, ReplaceNan) and value.op.number == 0 for value in others]
    return first.op.axis == stage.output.type.rank - 1 and guards in ([], [True])


def _packable(factor: Factor) -> bool:
    return 1 in (factor.row_step, factor.column_step)


def _factor(region: Region, value: Value, transposed: bool) -> Factor | None:
    found = _seen(region, value)
    if found is None or not transposed:
        return found
    *batch, rows, columns = range(len(found.shape))
    return _permuted(found, (*batch, columns, rows))


def _seen(region: Region, value: Value) -> Factor | None:
    """A value that is an input of the region, or a transposition or part of one."""
    if value in region.inputs:
        return Factor(region.input_number(value), value.type.dtype, value.type.shape, _row_major(value.type.shape))
    source = _seen(region, value.inputs[0]) if isinstance(value.op, Transpose | Slice) else None
    if source is None:
        return None
    if isinstance(value.op, Transpose):
        return _permuted(source, value.op.permutation)
    assert isinstance(value.op, Slice)
    start = source.start
    for first, step in zip(value.op.starts, source.steps, strict=True):
        start = start + first * step
    steps = tuple(step * own for step, own in zip(source.steps, value.op.steps, strict=True))
    return replace(source, shape=value.op.extents, steps=steps, start=start)


def _permuted(factor: Factor, permutation: Sequence[int]) -> Factor:
    shape, steps = ([sequence[axis] for axis in permutation] for sequence in (factor.shape, factor.steps))
    return replace(factor, shape=tuple(shape), steps=tuple(steps))


def _output_steps(output: Value, result: Value) -> tuple[Dim, ...] | None:
    """Along the axes of `result`, of which `output` is a transposition, the steps in the memory of `output`."""
    if output is result:
        return _row_major(output.type.shape)
    if not isinstance(output.op, Transpose):
        return None
    (source,), permutation = output.inputs, output.op.permutation
    outer = _row_major(output.type.shape)
    if source is not result:
        return None
    return tuple(outer[permutation.index(axis)] for axis in range(len(outer)))


def _row_major(shape: Shape) -> tuple[Dim, ...]:
    return tuple(product(shape[axis + 1 :]) for axis in range(len(shape)))
