"""Writes the product of a few rows with panels of weights of a few bits: what does not depend on the arithmetic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import Variable
from tensorwright.kernels.cpu.rows.epilogue import RowEpilogue
from tensorwright.kernels.cpu.weight_blocks.packing import WORD
from tensorwright.ops.blocks import BlockMatMul
from tensorwright.tensor.dim import Dim, expression, floor_divide
from tensorwright.tensor.dtype import FLOAT32, INT8, INT32, INT64, UINT8, DType

LINE = 64
"""Bytes of a cache line."""


@dataclass(frozen=True)
class Operands:
    """Where the operands start; `zeros` is None where the middle of the range is the zero point."""

    activations: Pointer
    words: Pointer
    scales: Pointer
    zeros: Pointer | None


@dataclass(frozen=True)
class PanelWriter(ABC):
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
    def blocks(self) -> int:
        """Of each column, the last one perhaps shorter."""
        return ceil_divide_int(self.depth, self.op.block)

    @property
    def workspace(self) -> int:
        """Bytes that a share of the tasks needs."""
        return 0

    @property
    def panels(self) -> int:
        return ceil_divide_int(self.columns, self.width)

    def write(self) -> None:
        """The kernel: its tasks are the panels."""
        panel = Variable("panel", self.panels)
        with self.emitter.scope():
            self.emitter.values[panel] = Register("%begin", INT64)
            self.prepare(Panel.at(self, expression(panel)))
        with self.builder.loop(Register("%begin", INT64), Register("%end", INT64)) as loop, self.emitter.scope():
            self.emitter.values[panel] = loop.index
            self._panel(expression(panel))

    def prepare(self, first: Panel) -> None:  # noqa: B027 (most have nothing to prepare)
        """What a share of the tasks does once, before its first panel."""

    @abstractmethod
    def block_added(
        self, panel: Panel, rows: Sequence[Dim], number: Register, length: int, totals: Sequence[Register]
    ) -> list[Register]:
        """Totals of some rows, all vectors of each side by side, with a block of the reduction of some length."""

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
                self._store(panel, vector, start, totals[vector :: self.vectors])

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

    def _totals(self, panel: Dim, rows: Sequence[Dim]) -> list[Register]:
        """The vectors of the sums of every row, side by side."""
        place = Panel.at(self, panel)
        totals = [self._zero_total] * (len(rows) * self.vectors)
        whole, rest = divmod(self.depth, self.op.block)
        if whole:
            with self.builder.loop(0, whole, 1, totals, at_least_once=True) as loop, self.emitter.scope():
                loop.following = self.block_added(place, rows, loop.index, self.op.block, loop.carried)
            totals = loop.final
        return self.block_added(place, rows, i64(whole), rest, totals) if rest else totals

    @property
    def _zero_total(self) -> Register:
        return literal(0.0, FLOAT32, self.lanes)


@dataclass(frozen=True)
class Panel:
    """Where a panel's words, scales and zero points lie."""

    writer: PanelWriter
    words: Pointer
    scales: Pointer
    zeros: Pointer | None

    @classmethod
    def at(cls, writer: PanelWriter, panel: Dim) -> Panel:
        """The panel of a number."""
        emitter, builder, operands = writer.emitter, writer.builder, writer.operands
        words = writer.depth // writer.per_word
        start = builder.offset(operands.words, emitter.integer(panel * (words * writer.width)), INT32)
        before = emitter.integer(panel * (writer.blocks * writer.width))
        scales = builder.offset(operands.scales, before, FLOAT32)
        return cls(writer, start, scales, operands.zeros and builder.offset(operands.zeros, before, UINT8))

    def load_words(self, number: Register) -> list[Register]:
        """The words of all columns at a number along the reduction, by vectors."""
        writer, builder = self.writer, self.writer.builder
        row = builder.offset(self.words, builder.scaled(number, writer.width), INT32)
        places = [builder.offset(row, vector * writer.lanes, INT32) for vector in range(writer.vectors)]
        return [builder.load(place, INT32, writer.lanes) for place in places]

    def prefetch(self, number: Register, ahead: int) -> None:
        """Ask for the words that lie so many bytes behind those at a number."""
        self._prefetch_row(self.words, number, ahead)

    def prefetch_scales(self, number: Register, ahead: int) -> None:
        """Ask for the scales that lie so many bytes behind those of a block."""
        self._prefetch_row(self.scales, number, ahead)

    def _prefetch_row(self, first: Pointer, number: Register, ahead: int) -> None:
        """Ask for the four bytes of all columns that lie so many bytes behind those of a row's number."""
        writer, builder = self.writer, self.writer.builder
        row = builder.offset(first, builder.scaled(number, writer.width), INT32)
        for start in range(0, 4 * writer.width, LINE):
            builder.prefetch(builder.offset(row, ahead + start, INT8), 3)

    def prefetch_first(self, words: int, scales: int) -> None:
        """Ask for so many bytes of words and of scales from the first on."""
        builder = self.writer.builder
        for start, size in ((self.words, words), (self.scales, scales)):
            with builder.loop(0, size, LINE) as loop:
                builder.prefetch(builder.offset(start, loop.index, INT8), 3)

    def scale(self, number: Register, vector: int) -> Register:
        """The scales of a block."""
        return self.writer.builder.load(
            self._of_block(self.scales, number, vector, FLOAT32), FLOAT32, self.writer.lanes
        )

    def zero(self, number: Register, vector: int) -> Register:
        """The zero points of a block, as float32."""
        writer, builder = self.writer, self.writer.builder
        if self.zeros is None:
            return literal(float(writer.op.middle), FLOAT32, writer.lanes)
        stored = builder.load(self._of_block(self.zeros, number, vector, UINT8), UINT8, writer.lanes)
        return builder.convert("uitofp", stored, FLOAT32)

    def _of_block(self, start: Pointer, number: Register, vector: int, dtype: DType) -> Pointer:
        builder, writer = self.writer.builder, self.writer
        row = builder.offset(start, builder.scaled(number, writer.width), dtype)
        return builder.offset(row, vector * writer.lanes, dtype)


def ceil_divide_int(number: int, divisor: int) -> int:
    return -(-number // divisor)
