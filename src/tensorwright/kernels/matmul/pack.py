"""Packs a panel of a right factor, at run time, into workspace: [depth][columns of the panel]."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.ir import FunctionBuilder, Pointer, Register, literal
from tensorwright.codegen.scalar import lane_mask
from tensorwright.codegen.transpose import transposed
from tensorwright.kernels.matmul.cut import Panel
from tensorwright.tensor.dtype import FLOAT32, INT64


@dataclass(frozen=True)
class PanelPacker:
    """Copies columns of a matrix with `depth` rows; what lies beyond the columns is left undefined.

    source: the panel's first element. step: elements from row to row, or from column to column of a transposed matrix.
    """

    builder: FunctionBuilder
    source: Pointer
    step: int
    depth: int
    panel: Panel
    lanes: int
    destination: Pointer

    @property
    def width(self) -> int:
        return self.panel.vectors * self.lanes

    def copy(self) -> None:
        """Pack a row-major matrix."""
        builder = self.builder
        loop = builder.begin_loop(literal(0, INT64), literal(self.depth, INT64))
        row = builder.offset(self.source, builder.mul(loop.index, literal(self.step, INT64)), FLOAT32)
        place = builder.offset(self.destination, builder.mul(loop.index, literal(self.width, INT64)), FLOAT32)
        for vector in range(self.panel.vectors):
            count = self.panel.masked if self.panel.masked and vector == self.panel.vectors - 1 else self.lanes
            value = self._load(builder.offset(row, vector * self.lanes, FLOAT32), count)
            builder.store(value, builder.offset(place, vector * self.lanes, FLOAT32), FLOAT32)
        builder.end_loop(loop)

    def transpose(self) -> None:
        """Pack a matrix whose columns lie side by side."""
        builder, whole = self.builder, self.panel.vectors - (1 if self.panel.masked else 0)
        if whole:
            loop = builder.begin_loop(literal(0, INT64), literal(whole, INT64))
            self._vector(loop.index, self.lanes)
            builder.end_loop(loop)
        if self.panel.masked:
            self._vector(literal(whole, INT64), self.panel.masked)

    def _vector(self, vector: Register, columns: int) -> None:
        """Pack `columns` neighbouring columns, the panel's vector number `vector`."""
        builder, lanes = self.builder, self.lanes
        first = builder.mul(vector, literal(lanes, INT64))
        source = builder.offset(self.source, builder.mul(first, literal(self.step, INT64)), FLOAT32)
        destination = builder.offset(self.destination, first, FLOAT32)
        if self.depth >= lanes:
            loop = builder.begin_loop(literal(0, INT64), literal(self.depth // lanes * lanes, INT64), lanes)
            self._block(source, destination, loop.index, columns, lanes)
            builder.end_loop(loop)
        if self.depth % lanes:
            start = literal(self.depth // lanes * lanes, INT64)
            self._block(source, destination, start, columns, self.depth % lanes)

    def _block(self, source: Pointer, destination: Pointer, start: Register, columns: int, rows: int) -> None:
        builder, lanes = self.builder, self.lanes
        place = builder.offset(source, start, FLOAT32)
        vectors = [self._load(builder.offset(place, c * self.step, FLOAT32), rows) for c in range(columns)]
        vectors += [literal(0.0, FLOAT32, lanes)] * (lanes - columns)
        out = builder.offset(destination, builder.mul(start, literal(self.width, INT64)), FLOAT32)
        for row, value in enumerate(transposed(builder, vectors)[:rows]):
            builder.store(value, builder.offset(out, row * self.width, FLOAT32), FLOAT32)

    def _load(self, place: Pointer, count: int) -> Register:
        if count == self.lanes:
            return self.builder.load(place, FLOAT32, self.lanes)
        zero = literal(0.0, FLOAT32, self.lanes)
        return self.builder.masked_load(place, lane_mask(count, self.lanes), zero, FLOAT32)
