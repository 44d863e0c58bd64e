"""New rows in a cache: where the result lies in the memory of the cache, only they are copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.expression import Variable
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.copying import copy
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.tactic import NO_OPTIONS, AnyConfig, Config, Kernel, Tactic, TacticOptions, plain_inputs
from tensorwright.ops.cache import CacheUpdate
from tensorwright.tensor.dim import Dim, expression, floor_divide, minimum, product
from tensorwright.tensor.dtype import BOOL, INT64, WORDS, DType
from tensorwright.tensor.layout import PLAIN


class Caching(Tactic[Target, TacticOptions]):
    """One task for each index of the axes before that of the rows: the cache, unless it is there already; then rows."""

    name = "caching"

    def configs(self, region: Region, target: Target) -> Sequence[AnyConfig]:
        only = len(region.values) == 1 and isinstance(region.output.op, CacheUpdate)
        return [Config(plain_inputs(region), PLAIN, NO_OPTIONS)] if only else []

    def emit(self, region: Region, config: AnyConfig, target: Target) -> Kernel:
        op = region.output.op
        assert isinstance(op, CacheUpdate)
        shape, given = region.output.type.shape, region.output.inputs
        cache, *_ = numbers = [region.input_number(value) for value in given]
        emitter = argument_emitter(len(region.inputs), region.symbols, target)
        emitter.operands = [emitter.operands[number] for number in numbers]
        task = Variable("task", product(shape[: op.axis]))
        sequence = floor_divide(expression(task), product(shape[1 : op.axis]))
        _Writer(
            emitter,
            WORDS[region.output.type.dtype.size],
            product(shape[op.axis + 1 :]),
            shape[op.axis],
            given[1].type.shape[op.axis],
            op.begin([value.type for value in given], sequence),
            op.circular,
        ).write(task)
        text = emitter.builder.module(signature(len(region.inputs), len(region.symbols), (cache,)), FUNCTION_ATTRIBUTES)
        return Kernel(
            text=text,
            inputs=config.inputs,
            output=config.output,
            tasks=product(shape[: op.axis]),
            packings=(None,) * len(region.inputs),
            symbols=region.symbols,
            in_place=(cache,),
        )


TACTICS = (Caching(),)


@dataclass(frozen=True)
class _Writer:
    """width: elements of a row; room: rows of the cache; count: new rows; begin: where the first of them goes.

    The operands of the emitter are those of the operator.
    """

    emitter: ScalarEmitter
    word: DType
    width: Dim
    room: Dim
    count: Dim
    begin: Dim
    circular: bool

    def write(self, task: Variable) -> None:
        emitter, builder = self.emitter, self.emitter.builder
        output, (cache, *_) = Pointer("%out"), emitter.operands
        elsewhere = Register(builder.fresh(), BOOL)
        builder.emit(f"{elsewhere.text} = icmp ne ptr {output.text}, {cache.text}")
        with builder.loop(Register("%begin", INT64), Register("%end", INT64)) as loop:
            emitter.values[task] = loop.index
            with emitter.scope():
                matrix = expression(task) * self.room * self.width
                with emitter.when(elsewhere):
                    self._copy(matrix, cache, matrix, self.room * self.width)
                fitting = minimum(self.count, self.room - self.begin)
                self._copy_rows(expression(task), self.begin, 0, fitting)
                if self.circular:
                    self._copy_rows(expression(task), 0, fitting, self.count - fitting)

    def _copy_rows(self, task: Dim, place: Dim, first: Dim, count: Dim) -> None:
        """Copy so many new rows, from the first of them on, to a place in the cache."""
        source = (task * self.count + first) * self.width
        self._copy((task * self.room + place) * self.width, self.emitter.operands[1], source, count * self.width)

    def _copy(self, place: Dim, source: Pointer, first: Dim, count: Dim) -> None:
        """Copy so many elements to a place in the output."""
        emitter, builder, word = self.emitter, self.emitter.builder, self.word
        target, origin = (
            builder.offset(base, emitter.integer(at), word) for base, at in ((Pointer("%out"), place), (source, first))
        )
        copy(builder, emitter.target, word, target, origin, emitter.integer(count))
