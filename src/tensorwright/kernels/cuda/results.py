"""Where the results of products and convolutions lie, and what is read to finish them."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.cuda.nest import GroupEmitter, named_index
from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.codegen.scalar import Lane
from tensorwright.codegen.values import Register
from tensorwright.graph.expression import Variable
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.problem import GROUP, Problem
from tensorwright.kernels.tactic import AnyConfig
from tensorwright.tensor.dim import Dim, expression


def row_position(emitter: GroupEmitter, problem: Problem, row: Register, number: int = 0) -> list[Dim]:
    """The index along each axis of a row (i64), in variables that the emitter knows then.

    number: tells apart rows that are wanted together.
    """
    return named_index(emitter, f"row{number}.", [axis.extent for axis in problem.row_axes], row)


def result_position(
    emitter: GroupEmitter,
    problem: Problem,
    row: Sequence[Dim],
    group: Register,
    inside: Register,
    lanes: int,
    number: int = 0,
) -> tuple[tuple[Dim, ...], Lane]:
    """The index along each physical axis of neighbouring results, in variables that the emitter knows then.

    group: of columns, inside: the first column in it, i64; number: tells apart results that are wanted together.
    """
    if problem.layout.is_plain:
        column = Variable(f"column{number}", problem.columns)
        emitter.values[column] = emitter.builder.add(emitter.builder.scaled(group, GROUP), inside)
        return (*row, expression(column)), Lane(column, lanes)
    block, column = Variable(f"block{number}", problem.groups), Variable(f"column{number}", GROUP)
    emitter.values[block], emitter.values[column] = group, inside
    blocks = 0 if problem.groups == 1 else expression(block)
    return (row[0], blocks, *row[1:], expression(column)), Lane(column, lanes)


def reads_variables(region: Region, config: AnyConfig) -> bool:
    """Whether finishing results reads what is no constant."""
    epilogue = epilogue_of(region, config.inputs, config.output)
    read = epilogue.reads([0] * len(epilogue.variables))
    return not all(is_constant(region.inputs[operand]) for operand, _ in read)


def request(
    emitter: GroupEmitter,
    region: Region,
    config: AnyConfig,
    problem: Problem,
    row: Register,
    group: Register,
    inside: Register,
    lanes: int,
    *,
    constants: bool,
) -> None:
    """Have the constants brought near that finishing results reads, or all that are none, before the sums are there.

    The results have to exist; row: i64, others as for `result_position`.
    """
    builder = emitter.builder
    with emitter.scope():
        position, _ = result_position(emitter, problem, row_position(emitter, problem, row), group, inside, lanes)
        if constants and problem.bias is not None:
            column = builder.add(builder.scaled(group, GROUP), inside)
            dtype = region.inputs[problem.bias].type.dtype
            builder.prefetch(builder.offset(emitter.operands[problem.bias], column, dtype))
        for operand, address in epilogue_of(region, config.inputs, config.output).reads(position):
            value = region.inputs[operand]
            if is_constant(value) == constants:
                place = builder.offset(emitter.operands[operand], emitter.integer(address), value.type.dtype)
                builder.prefetch(place)
