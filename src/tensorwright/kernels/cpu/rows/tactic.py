"""Softmax and layer normalisation along the last axis: elements have one exponential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.scalar import ScalarEmitter, lane_mask
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.expression import Variable
from tensorwright.graph.graph import Value
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.rows.epilogue import RowEpilogue, row_epilogue
from tensorwright.kernels.cpu.rows.normalise import (
    Finish,
    LongLayerNormalization,
    LongSoftmax,
    Row,
    layer_normalization,
    softmax,
)
from tensorwright.kernels.cpu.rows.vectors import RowVectors
from tensorwright.kernels.numerics import FLOAT_TOTAL, FLOATS
from tensorwright.kernels.slabs import slabs_along
from tensorwright.kernels.tactic import NO_OPTIONS, AnyConfig, Config, Kernel, Tactic, TacticOptions, plain_inputs
from tensorwright.ops.normalization import LayerNormalization, Softmax
from tensorwright.tensor.dim import Dim, expression, product, upper_bound
from tensorwright.tensor.dtype import INT64, DType
from tensorwright.tensor.layout import PLAIN

REGISTERS_FOR_ROWS = 0.75
"""Share of the vector registers that a row may take."""


@dataclass(frozen=True)
class _Problem:
    """`rows` rows of `extent` elements. inputs, types: numbers of x and of the parameters, and their types in memory.
    total: the type in which all is computed.
    """

    op: Softmax | LayerNormalization
    rows: Dim
    extent: int
    inputs: tuple[int, ...]
    types: tuple[DType, ...]
    total: DType

    def lanes(self, target: Target) -> int:
        return target.lanes(self.total)


class Rows(Tactic[Target, TacticOptions]):
    """A row at a time, in registers if it fits; long rows are read several times, those of a softmax from workspace."""

    name = "rows"

    def configs(self, region: Region, target: Target) -> Sequence[AnyConfig]:
        problem = _problem(region)
        if problem is None or problem.extent < problem.lanes(target):
            return []
        return [Config(plain_inputs(region), PLAIN, NO_OPTIONS)]

    def emit(self, region: Region, config: AnyConfig, target: Target) -> Kernel:
        problem = _problem(region)
        assert problem is not None
        symbols = region.symbols
        emitter = argument_emitter(len(region.inputs), symbols, target)
        builder, inputs = emitter.builder, emitter.operands
        _write(problem, emitter, row_epilogue(region, problem.lanes(target)))
        x, output = region.inputs[problem.inputs[0]], region.output.type
        in_place = problem.inputs[:1] if output.dtype.size == x.type.dtype.size else ()
        waits = _is_long(problem, target) and isinstance(problem.op, Softmax)
        return Kernel(
            text=builder.module(signature(len(inputs), len(symbols), in_place), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=problem.rows,
            packings=(None,) * len(inputs),
            symbols=symbols,
            workspace=_vectors(problem, target) * target.vector_bytes if waits else 0,
            in_place=in_place,
            writes=slabs_along((problem.rows, problem.extent), [(0, upper_bound(problem.rows))]),
        )


TACTICS = (Rows(),)


def _problem(region: Region) -> _Problem | None:
    anchor = region.anchor
    if (
        anchor is None
        or not isinstance(anchor.op, Softmax | LayerNormalization)
        or not region.is_elementwise_around_anchor
    ):
        return None
    shape = anchor.type.shape
    extent = shape[-1]
    if anchor.op.axis != len(shape) - 1 or not isinstance(extent, int) or anchor.type.dtype not in FLOATS:
        return None
    if any(operand not in region.inputs or operand.type.dtype not in FLOATS for operand in anchor.inputs):
        return None
    if not all(_is_row(operand, extent) for operand in anchor.inputs[1:]):
        return None
    numbers = tuple(region.input_number(operand) for operand in anchor.inputs)
    types = tuple(operand.type.dtype for operand in anchor.inputs)
    return _Problem(anchor.op, product(shape[:-1]), extent, numbers, types, FLOAT_TOTAL)


def _is_row(value: Value, extent: int) -> bool:
    return value.type.shape[-1:] == (extent,) and all(other == 1 for other in value.type.shape[:-1])


def _vectors(problem: _Problem, target: Target) -> int:
    return -(-problem.extent // problem.lanes(target))


def _is_long(problem: _Problem, target: Target) -> bool:
    return _vectors(problem, target) > REGISTERS_FOR_ROWS * target.registers


def _write(problem: _Problem, emitter: ScalarEmitter, epilogue: RowEpilogue) -> None:
    """Write the loop over the rows."""
    builder, target = emitter.builder, emitter.target
    lanes = problem.lanes(target)
    vectors = RowVectors(builder, problem.total, lanes, problem.extent % lanes)
    number = Variable("row", problem.rows)
    with builder.loop(Register("%begin", INT64), Register("%end", INT64)) as loop:
        emitter.values[number] = loop.index

        def finish(column: Register, found: Sequence[Register], ends: bool) -> None:
            with emitter.scope():
                emitter.values[epilogue.column] = column
                masks: list[Register | None] = [None] * len(found)
                if ends and vectors.masked:
                    masks[-1] = lane_mask(vectors.masked, lanes)
                epilogue.store(emitter, Pointer("%out"), found, expression(number), masks)

        with emitter.scope():
            operands = [emitter.operands[number] for number in problem.inputs]
            x, *parameters = map(Row, operands, problem.types)
            start = emitter.integer(expression(number) * problem.extent)
            row = replace(x, start=builder.offset(x.start, start, x.dtype))
            _normalise(problem, vectors, row, parameters, finish, target)


def _normalise(
    problem: _Problem, vectors: RowVectors, row: Row, parameters: Sequence[Row], finish: Finish, target: Target
) -> None:
    """Write the work on one row."""
    count, extent, long = _vectors(problem, target), problem.extent, _is_long(problem, target)
    if isinstance(problem.op, LayerNormalization):
        if long:
            LongLayerNormalization(vectors, row, extent, problem.op.epsilon, parameters).write(finish)
        else:
            layer_normalization(vectors, row, extent, problem.op.epsilon, parameters, finish)
    elif long:
        LongSoftmax(vectors, row, count, Pointer("%workspace")).write(finish)
    else:
        softmax(vectors, row, count, finish)
