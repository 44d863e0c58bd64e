"""Writes the product of a few rows with a panel of weights of a few bits, which are unpacked in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import Variable
from tensorwright.kernels.cpu.rows.epilogue import RowEpilogue
from tensorwright.kernels.cpu.weight_blocks.packing import WORD
from tensorwright.ops.blocks import BlockMatMul
from tensorwright.tensor.dim import Dim, expression, floor_divide
from tensorwright.tensor.dtype import FLOAT32, INT32, INT64, UINT8, DType


@dataclass(frozen=True)
class Operands:
    """Where the operands start; `zeros` is None where the middle of the range is the zero point."""

    activations: Pointer
    words: Pointer
    scales: Pointer
    zeros: Pointer | None


@dataclass(frozen=True)
class Writer:
    """``y[row, n] = Σ over blocks of scale · (Σ a · q − zero · Σ a)``, block after block in the order of the reduction.

    vectors: in a panel of columns. rows: that share unpacked weights.
    """

    op: BlockMatMul
    depth: int
    columns: int
    count: Dim
    vectors: int
    rows: int
    emitter: ScalarEmitter
    operands: Operands
    epilogue: RowEpilogue

    @property
    def builder(self) -> FunctionBuilder:
        return self.emitter.builder

    @property
    def target(self) -> Target:
        return self.emitter.target

    @property
    def lanes(self) -> int:
        return self.epilogue.lanes

    @property
    def width(self) -> int:
        """Columns of a panel."""
        return self.vectors * self.lanes

    @property
    def per_word(self) -> int:
        """Weights in a word."""
        return WORD // self.op.bits

    @property
    def looks_up(self) -> bool:
        """Whether one instruction gives the number that four bits stand for."""
        return self.op.bits == 4 and self.target.has_lookup and self.lanes == 16

    @cached_property
    def table(self) -> list[float]:
        """What four bits stand for: less the zero point, if it is the same for all."""
        middle = 0 if self.operands.zeros is not None else self.op.middle
        return [float(bits - middle) for bits in range(16)]

    @property
    def corrects(self) -> bool:
        """Whether zero points are taken off sums rather than off weights."""
        return self.operands.zeros is not None or not self.looks_up

    @property
    def panels(self) -> int:
        return ceil_divide_int(self.columns, self.width)

    def write(self) -> None:
        """The kernel: its tasks are the panels."""
        panel = Variable("panel", self.panels)
        with self.builder.loop(Register("%begin", INT64), Register("%end", INT64)) as loop, self.emitter.scope():
            self.emitter.values[panel] = loop.index
            self._panel(expression(panel))

    def _panel(self, panel: Dim) -> None:
        """All rows, as many at once as there are to be, then one by one."""
        whole = floor_divide(self.count, self.rows)
        self._rows(panel, 0, whole, self.rows)
        if self.rows > 1:
            self._rows(panel, whole * self.rows, self.count - whole * self.rows, 1)

    def _rows(self, panel: Dim, first: Dim, tiles: Dim, rows: int) -> None:
        if tiles == 0:
            return
        tile = Variable(f"tile of {rows}", tiles)
        with self.emitter.loop(0, self.emitter.integer(tiles)) as loop:
            self.emitter.values[tile] = loop.index
            start = first + expression(tile) * rows
            totals = self._totals(panel, [start + number for number in range(rows)])
            for vector in range(self.vectors):
                self._store(panel, vector, start, [row[vector] for row in totals])

    def _store(self, panel: Dim, vector: int, first: Dim, totals: Sequence[Register]) -> None:
        emitter, column = self.emitter, panel * self.width + vector * self.lanes
        start = emitter.integer(column)
        inside = None
        if self.columns % self.width:
            inside = self.builder.compare("slt", start, self.columns)
        with emitter.when(inside):
            emitter.values[self.epilogue.column] = start
            mask = None
            if self.columns % self.lanes:
                mask = emitter.tail_mask(i64(self.columns), start, self.lanes)
            for number, total in enumerate(totals):
                self.epilogue.store(emitter, Pointer("%out"), [total], first + number, [mask])

    def _totals(self, panel: Dim, rows: Sequence[Dim]) -> list[list[Register]]:
        """For every row the vectors of its sums."""
        emitter, builder = self.emitter, self.builder
        places = [builder.offset(self.operands.activations, emitter.integer(row * self.depth), FLOAT32) for row in rows]
        words, blocks = self.depth // self.per_word, ceil_divide_int(self.depth, self.op.block)
        start = builder.offset(self.operands.words, emitter.integer(panel * (words * self.width)), INT32)
        before = panel * (blocks * self.width)
        scales = builder.offset(self.operands.scales, emitter.integer(before), FLOAT32)
        zeros = self.operands.zeros and builder.offset(self.operands.zeros, emitter.integer(before), UINT8)
        block = _Block(self, places, start, scales, zeros)
        totals = [literal(0.0, FLOAT32, self.lanes)] * (len(rows) * self.vectors)
        whole, rest = divmod(self.depth, self.op.block)
        if whole:
            with builder.loop(0, whole, 1, totals, at_least_once=True) as loop:
                loop.following = block.added(loop.index, self.op.block, loop.carried)
            totals = loop.final
        if rest:
            totals = block.added(i64(whole), rest, totals)
        return [totals[number * self.vectors : (number + 1) * self.vectors] for number in range(len(rows))]

    def unpacked(self, words: Register, place: int) -> Register:
        """The weights at one place in all words, as float32."""
        term = Term(self.builder, words)
        shifted = term.logical_right(place * self.op.bits) if place else term
        if self.looks_up:
            return shifted.looked_up(self.table, FLOAT32).register
        if place + 1 < self.per_word:
            shifted = shifted & ((1 << self.op.bits) - 1)
        return shifted.converted("sitofp", FLOAT32).register


@dataclass(frozen=True)
class _Block:
    """One block of the reduction for some rows: where their activations start, and the panel's words and scales."""

    writer: Writer
    rows: Sequence[Pointer]
    words: Pointer
    scales: Pointer
    zeros: Pointer | None

    def added(self, number: Register, length: int, totals: Sequence[Register]) -> list[Register]:
        """Totals of all rows and vectors with a block of some length."""
        writer, builder = self.writer, self.writer.builder
        first = builder.scaled(number, writer.op.block)
        sums, activations = self._sums(first, length)
        scales = [self._scale(number, vector) for vector in range(writer.vectors)]
        found: list[Register] = []
        for row in range(len(self.rows)):
            offset = builder.splat(activations[row], writer.lanes) if activations else None
            for vector in range(writer.vectors):
                place = row * writer.vectors + vector
                exact = sums[place]
                if offset is not None:
                    exact = builder.sub(exact, builder.mul(self._zero(number, vector), offset))
                found.append(builder.fma(exact, scales[vector], totals[place]))
        return found

    def _sums(self, first: Register, length: int) -> tuple[list[Register], list[Register]]:
        """For all rows and vectors the sums of activations times bits; of every row the sum of activations."""
        writer, builder, count = self.writer, self.writer.builder, len(self.rows)
        per_word = writer.per_word
        sums = [literal(0.0, FLOAT32, writer.lanes)] * (count * writer.vectors)
        plain = [literal(0.0, FLOAT32, per_word)] * (count if writer.corrects else 0)
        with builder.loop(0, length, per_word, [*sums, *plain], at_least_once=True) as loop:
            k = builder.add(first, loop.index)
            loop.following = self._word(k, loop.carried)
        sums, plain = loop.final[: len(sums)], loop.final[len(sums) :]
        return sums, [_sum_of(builder, one) for one in plain]

    def _word(self, k: Register, carried: Sequence[Register]) -> list[Register]:
        """What a word of every column adds, whose weights belong to the activations from number k on."""
        writer, builder, vectors = self.writer, self.writer.builder, self.writer.vectors
        found = list(carried)
        row = builder.scaled(builder.binary("udiv", k, writer.per_word), writer.width)
        words = [
            builder.load(
                builder.offset(builder.offset(self.words, row, INT32), vector * writer.lanes, INT32),
                INT32, writer.lanes,
            )
            for vector in range(vectors)
        ]  # fmt: skip
        starts = [builder.offset(start, k, FLOAT32) for start in self.rows]
        for place in range(writer.per_word):
            weights = [writer.unpacked(one, place) for one in words]
            for number, start in enumerate(starts):
                one = builder.splat(builder.load(builder.offset(start, place, FLOAT32), FLOAT32), writer.lanes)
                for vector, weight in enumerate(weights):
                    at = number * vectors + vector
                    found[at] = builder.fma(weight, one, found[at])
        for number, start in enumerate(starts if writer.corrects else ()):
            at = len(self.rows) * vectors + number
            found[at] = builder.add(found[at], builder.load(start, FLOAT32, writer.per_word))
        return found

    def _scale(self, number: Register, vector: int) -> Register:
        return self.writer.builder.load(
            self._of_block(self.scales, number, vector, FLOAT32), FLOAT32, self.writer.lanes
        )

    def _zero(self, number: Register, vector: int) -> Register:
        writer, builder = self.writer, self.writer.builder
        if self.zeros is None:
            return literal(float(writer.op.middle), FLOAT32, writer.lanes)
        stored = builder.load(self._of_block(self.zeros, number, vector, UINT8), UINT8, writer.lanes)
        return builder.convert("uitofp", stored, FLOAT32)

    def _of_block(self, start: Pointer, number: Register, vector: int, dtype: DType) -> Pointer:
        builder, writer = self.writer.builder, self.writer
        return builder.offset(
            builder.offset(start, builder.scaled(number, writer.width), dtype), vector * writer.lanes, dtype
        )


def ceil_divide_int(number: int, divisor: int) -> int:
    return -(-number // divisor)


def _sum_of(builder: FunctionBuilder, vector: Register) -> Register:
    """The sum of all lanes."""
    while vector.lanes > 1:
        half = vector.lanes // 2
        if half == 1:
            return builder.add(builder.extract(vector, 0), builder.extract(vector, 1))
        halves = [builder.shuffle(vector, vector, range(start, start + half)) for start in (0, half)]
        vector = builder.add(*halves)
    return vector
