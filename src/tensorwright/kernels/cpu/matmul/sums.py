"""The sums of seven products of quarters, and the epilogue over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import Variable
from tensorwright.kernels.cpu.matmul.left import Rows
from tensorwright.kernels.cpu.matmul.quarters import BOTTOM, CLEARED, TOP, Buffer, Quarters
from tensorwright.kernels.cpu.rows.epilogue import RowEpilogue
from tensorwright.tensor.dim import Dim, bounds, expression


@dataclass(frozen=True)
class Sums:
    """Buffers of sums for half a block of rows and a panel, from `start` on; see `quarters.Buffer`."""

    emitter: ScalarEmitter
    epilogue: RowEpilogue
    quarters: Quarters
    start: Pointer
    output: Pointer

    def _at(self, base: Pointer, elements: Register | int) -> Pointer:
        return self.emitter.builder.offset(base, elements, self.quarters.total)

    def buffer(self, number: Register | int) -> Pointer:
        builder, elements = self.emitter.builder, self.quarters.buffer_elements
        if isinstance(number, int):
            return self._at(self.start, number * elements)
        return self._at(self.start, builder.scaled(number, elements))

    def clear(self, rows: Rows, vectors: int) -> None:
        """Set to zero what products are added to before one is written to it."""
        for number in CLEARED:
            self._over_vectors(rows, vectors, self._clearing(self.buffer(number)))

    def _clearing(self, buffer: Pointer) -> Callable[[Register], None]:
        builder, zero = self.emitter.builder, literal(0.0, self.quarters.total, self.quarters.lanes)
        return lambda distance: builder.store(zero, self._at(buffer, distance), self.quarters.total)

    def spread(self, rows: Rows, vectors: int) -> None:
        """Add `D` to `X`, then `Y` to `D`."""
        self._over_vectors(rows, vectors, self._spread)

    def _over_vectors(self, rows: Rows, vectors: int, body: Callable[[Register], None]) -> None:
        """A loop over all vectors of a buffer in use; `body` gets the distance of one."""
        builder, lanes = self.emitter.builder, self.quarters.lanes
        with builder.loop(0, self.emitter.integer(rows.half * (vectors * lanes)), lanes) as loop:
            body(loop.index)

    def _spread(self, distance: Register) -> None:
        builder, lanes = self.emitter.builder, self.quarters.lanes
        x, y, d = (self._at(self.buffer(b), distance) for b in (Buffer.X, Buffer.Y, Buffer.D))
        product = builder.load(d, self.quarters.total, lanes)
        builder.store(builder.add(builder.load(x, self.quarters.total, lanes), product), x, self.quarters.total)
        builder.store(builder.add(builder.load(y, self.quarters.total, lanes), product), d, self.quarters.total)

    def finish(self, rows: Rows, first: Dim, vectors: int) -> None:
        """Run the epilogue over the sums of a panel. The middle row of an odd number belongs to the upper half."""
        self._finish_half(rows.start, 0, rows.half, TOP, first, vectors)
        self._finish_half(rows.lower, 2 * rows.half - rows.size, rows.half, BOTTOM, first, vectors)

    def _finish_half(
        self, start: Dim, begin: Dim, end: Dim, buffers: Sequence[Buffer], first: Dim, vectors: int
    ) -> None:
        builder, emitter, quarters = self.emitter.builder, self.emitter, self.quarters
        row = Variable("row", quarters.half_rows)
        with builder.loop(emitter.integer(begin), emitter.integer(end)) as loop:
            emitter.values[row] = loop.index
            with emitter.scope():
                distance = emitter.integer(expression(row) * (vectors * quarters.lanes))
                for buffer, column in zip(buffers, (first, first + quarters.half_columns), strict=True):
                    place = self._at(self.buffer(buffer), distance)
                    self._finish_vectors(place, start + expression(row), column, vectors)

    def _finish_vectors(self, place: Pointer, row: Dim, column: Dim, vectors: int) -> None:
        """Run the epilogue over a row of a panel, the last columns of the product perhaps ending within it."""
        emitter, builder, lanes = self.emitter, self.emitter.builder, self.quarters.lanes
        with emitter.scope():
            emitter.values[self.epilogue.column] = emitter.integer(column)
            places = [self._at(place, number * lanes) for number in range(vectors)]
            values = [builder.load(each, self.quarters.total, lanes) for each in places]
            self.epilogue.store(emitter, self.output, values, row, self._masks(column, vectors))

    def _masks(self, column: Dim, vectors: int) -> list[Register | None]:
        """The lanes that are columns: all of them, but where the right half ends."""
        emitter, quarters = self.emitter, self.quarters
        lanes, (_, most) = quarters.lanes, bounds(column)
        if most + vectors * lanes <= quarters.columns:
            return [None] * vectors
        end = i64(quarters.columns)
        return [emitter.tail_mask(end, emitter.integer(column + number * lanes), lanes) for number in range(vectors)]
