"""Packs a panel of a right factor, at run time, into workspace: [depth][columns of the panel]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import lane_mask
from tensorwright.codegen.term import Term
from tensorwright.codegen.transpose import transposed
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.kernels.cpu.matmul.tiling import Panel
from tensorwright.tensor.dtype import DType


@dataclass(frozen=True)
class PanelPacker:
    """Copies columns of a matrix with `depth` rows; what lies beyond the columns is left undefined.

    dtype: of the matrix. total: of what is packed. depth: known, unless the matrix is row-major. source: the panel's
    first element. step: elements from row to row, or from column to column of a transposed matrix. masks: for every
    vector the lanes that are columns. columns: how many there are from the panel's first one on, if the panel is open.
    """

    builder: FunctionBuilder
    dtype: DType
    total: DType
    source: Pointer
    step: Register
    depth: int | Register
    panel: Panel
    lanes: int
    destination: Pointer
    masks: Sequence[Register | None]
    columns: Register | None = None

    @property
    def width(self) -> int:
        return self.panel.vectors * self.lanes

    def copy(self) -> None:
        """Pack a row-major matrix."""
        builder = self.builder
        with builder.loop(0, self.depth) as loop:
            row = builder.offset(self.source, builder.mul(loop.index, self.step), self.dtype)
            place = builder.offset(self.destination, builder.scaled(loop.index, self.width), self.total)
            for vector in range(self.panel.vectors):
                value = self._load(builder.offset(row, vector * self.lanes, self.dtype), self.masks[vector])
                builder.store(value, builder.offset(place, vector * self.lanes, self.total), self.total)

    def transpose(self) -> None:
        """Pack a matrix whose columns lie side by side; its depth has to be known."""
        builder, whole = self.builder, self.panel.vectors - (1 if self.panel.masked else 0)
        if whole:
            with builder.loop(0, whole) as loop:
                self._vector(loop.index, self.lanes)
        if self.panel.masked:
            self._vector(i64(whole), self.panel.masked)

    def _vector(self, vector: Register, columns: int) -> None:
        """Pack `columns` neighbouring columns, the panel's vector number `vector`."""
        builder, lanes = self.builder, self.lanes
        assert isinstance(self.depth, int)
        first = builder.scaled(vector, lanes)
        sources = [self._column(first, number) for number in range(columns)]
        destination = builder.offset(self.destination, first, self.total)
        if self.depth >= lanes:
            with builder.loop(0, self.depth // lanes * lanes, lanes) as loop:
                self._block(sources, destination, loop.index, lanes)
        if self.depth % lanes:
            start = i64(self.depth // lanes * lanes)
            self._block(sources, destination, start, self.depth % lanes)

    def _column(self, first: Register, number: int) -> Pointer:
        """Where a column starts; of an open panel the last one stands for those behind it."""
        column = Term(self.builder, first) + number
        if self.columns is not None:
            last = Term(self.builder, self.columns) - 1
            column = column.less(last).choose(column, last)
        return self.builder.offset(self.source, (column * Term(self.builder, self.step)).register, self.dtype)

    def _block(self, sources: Sequence[Pointer], destination: Pointer, start: Register, rows: int) -> None:
        builder, lanes = self.builder, self.lanes
        mask = None if rows == lanes else lane_mask(rows, lanes)
        vectors = [self._load(builder.offset(source, start, self.dtype), mask) for source in sources]
        vectors += [literal(0.0, self.total, lanes)] * (lanes - len(sources))
        out = builder.offset(destination, builder.scaled(start, self.width), self.total)
        for row, value in enumerate(transposed(builder, vectors)[:rows]):
            builder.store(value, builder.offset(out, row * self.width, self.total), self.total)

    def _load(self, place: Pointer, mask: Register | None) -> Register:
        if mask is None:
            return self.builder.load(place, self.dtype, self.lanes)
        zero = literal(0.0, self.total, self.lanes)
        return self.builder.masked_load(place, mask, zero, self.dtype)
