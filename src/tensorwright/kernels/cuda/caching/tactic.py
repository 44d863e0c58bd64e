"""New rows in a cache: where the result lies in the memory of the cache, nothing else is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tensorwright.codegen.cuda.nest import BLOCK, GroupEmitter
from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.expression import Scalar, Variable, all_of, inside
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.function import ThreadWriter, kernel_in_a_row, thread_emitter
from tensorwright.kernels.cuda.kernel import ALIGNMENT, CudaKernel
from tensorwright.kernels.tactic import NO_OPTIONS, AnyConfig, Config, Tactic, TacticOptions, plain_inputs
from tensorwright.ops.cache import CacheUpdate
from tensorwright.tensor.dim import Dim, expression, floor_divide, maximum, minimum, product, remainder
from tensorwright.tensor.dtype import BOOL, INT32, WORDS, DType
from tensorwright.tensor.layout import PLAIN
from tensorwright.tensor.type import TensorType

MOST_BLOCKS = 256
"""Enough to keep the memory of a GPU busy; in place, most of them have nothing to do."""


class Caching(Tactic[CudaTarget, TacticOptions]):
    """Threads share out the new rows or, where the result lies elsewhere, all rows."""

    name = "caching"

    def configs(self, region: Region, target: CudaTarget) -> Sequence[AnyConfig]:
        only = len(region.values) == 1 and isinstance(region.output.op, CacheUpdate)
        return [Config(plain_inputs(region), PLAIN, NO_OPTIONS)] if only else []

    def emit(self, region: Region, config: AnyConfig, target: CudaTarget) -> CudaKernel:
        emitter = thread_emitter(len(region.inputs), region.symbols, target)
        numbers = [region.input_number(value) for value in region.output.inputs]
        emitter.operands = [emitter.operands[number] for number in numbers]
        writer = _Writer.of(region, emitter)
        writer.write()
        return kernel_in_a_row(region, config, emitter, target, writer.blocks, BLOCK, in_place=(numbers[0],))


TACTICS = (Caching(),)


@dataclass(frozen=True)
class _Writer(ThreadWriter):
    """word, lanes: what a thread copies at once; width: of these in a row. matrices: indices of the axes before that of
    the rows; heads: of them for one index of the first axis.
    """

    emitter: GroupEmitter
    op: CacheUpdate
    types: Sequence[TensorType]
    word: DType
    lanes: int
    width: Dim
    matrices: Dim
    heads: Dim

    @classmethod
    def of(cls, region: Region, emitter: GroupEmitter) -> _Writer:
        op, type = region.output.op, region.output.type
        assert isinstance(op, CacheUpdate)
        before, after = type.shape[: op.axis], product(type.shape[op.axis + 1 :])
        word, lanes = WORDS[type.dtype.size], 1
        if isinstance(after, int) and after * type.dtype.size % ALIGNMENT == 0:
            after, word, lanes = after * type.dtype.size // ALIGNMENT, INT32, ALIGNMENT // INT32.size
        types = [value.type for value in region.output.inputs]
        return cls(emitter, op, types, word, lanes, after, product(before), product(before[1:]))

    @property
    def room(self) -> Dim:
        return self.types[0].shape[self.op.axis]

    @property
    def count(self) -> Dim:
        return self.types[1].shape[self.op.axis]

    @property
    def blocks(self) -> Dim:
        parts = self.matrices * self.room * self.width
        return minimum(floor_divide(parts + (BLOCK - 1), BLOCK), MOST_BLOCKS)

    def write(self) -> None:
        builder = self.builder
        builder.wait_for_previous()
        builder.launch_next()
        cache, *_ = self.emitter.operands
        elsewhere, here = (Register(builder.fresh(), BOOL) for _ in range(2))
        for found, predicate in ((elsewhere, "ne"), (here, "eq")):
            builder.emit(f"{found.text} = icmp {predicate} ptr %out, {cache.text}")
        with self.emitter.when(elsewhere):
            self._write_all()
        with self.emitter.when(here):
            self._write_rows()

    def _write_all(self) -> None:
        with self._parts("part", self.room) as (matrix, row, column):
            at = self._around(row - self._begin(matrix))
            old, new = self._place(0, matrix, row, column), self._place(1, matrix, at, column)
            condition = all_of(inside(at, self.count))
            self._copy(new if condition is None else self._either(condition, new, old), matrix, row, column)

    def _write_rows(self) -> None:
        with self._parts("new part", self.count) as (matrix, number, column):
            row = self._around(self._begin(matrix) + number)
            condition = all_of(inside(row, self.room))
            with self.emitter.when(None if condition is None else self.emitter.scalar(condition)):
                self._copy(self._place(1, matrix, number, column), matrix, row, column)

    def _begin(self, matrix: Dim) -> Dim:
        return self.op.begin(self.types, floor_divide(matrix, self.heads))

    def _around(self, row: Dim) -> Dim:
        return remainder(row, maximum(self.room, 1)) if self.op.circular else row

    @contextmanager
    def _parts(self, name: str, rows: Dim) -> Iterator[tuple[Dim, Dim, Dim]]:
        """What the thread does with each of its parts of matrices with so many rows: matrix, row and column of it."""
        emitter, builder, count = self.emitter, self.builder, self.matrices * rows * self.width
        part = Variable(name, count)
        own = wide(builder, builder.add(builder.mul(builder.block_index(), BLOCK), builder.thread()))
        rounds = floor_divide(count + self.blocks * BLOCK - 1, maximum(self.blocks, 1) * BLOCK)
        with emitter.loop(0, emitter.integer(rounds)) as loop:
            before = builder.mul(loop.index, emitter.integer(self.blocks * BLOCK))
            number = builder.add(before, own)
            with emitter.when(builder.compare("slt", number, emitter.integer(count))):
                emitter.values[part] = number
                whole = floor_divide(expression(part), self.width)
                yield floor_divide(whole, rows), remainder(whole, rows), remainder(expression(part), self.width)

    def _place(self, operand: int, matrix: Dim, row: Dim, column: Dim) -> Pointer:
        rows = (self.room, self.count)[operand]
        return self._at(self.emitter.operands[operand], matrix * rows + row, column)

    def _at(self, base: Pointer, row: Dim, column: Dim) -> Pointer:
        element = self.emitter.integer((row * self.width + column) * self.lanes)
        return self.builder.offset(base, element, self.word)

    def _either(self, condition: Scalar, then: Pointer, otherwise: Pointer) -> Pointer:
        return self.builder.choose(self.emitter.scalar(condition), then, otherwise)

    def _copy(self, source: Pointer, matrix: Dim, row: Dim, column: Dim) -> None:
        part = self.builder.load(source, self.word, self.lanes)
        self.builder.store(part, self._at(Pointer("%out"), matrix * self.room + row, column), self.word)
