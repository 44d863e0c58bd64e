"""Makes the left factors of the seven products of quarters in workspace."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.codegen.scalar import ScalarEmitter, lane_mask
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import Variable
from tensorwright.kernels.cpu.matmul.quarters import Quarters
from tensorwright.tensor.dim import Dim, expression


@dataclass(frozen=True)
class Rows:
    """A block of rows: its first one, how many there are, and how many are in a half."""

    start: Dim
    size: Dim
    half: Dim

    @property
    def lower(self) -> Dim:
        """The first row of the lower half."""
        return self.start + self.size - self.half


@dataclass(frozen=True)
class LeftFactors:
    """Combinations of the quarters of `a`, row-major, written one after another to `destination`."""

    emitter: ScalarEmitter
    quarters: Quarters
    a: Pointer
    destination: Pointer

    def write(self, rows: Rows) -> None:
        """Make the left factors of all products for a block of rows."""
        emitter, builder, quarters = self.emitter, self.emitter.builder, self.quarters
        row = Variable("row", quarters.half_rows)
        with builder.loop(0, emitter.integer(rows.half)) as loop:
            emitter.values[row] = loop.index
            with emitter.scope():
                depth = quarters.depth
                upper = builder.offset(
                    self.a, emitter.integer((rows.start + expression(row)) * depth), quarters.numerics.left
                )
                lower = builder.offset(
                    self.a, emitter.integer((rows.lower + expression(row)) * depth), quarters.numerics.left
                )
                out = builder.offset(
                    self.destination, emitter.integer(expression(row) * quarters.row_step), quarters.total
                )
                left, lanes = quarters.half_depth, quarters.lanes
                whole = (depth - left) // lanes * lanes
                if whole:
                    with builder.loop(0, whole, lanes) as step:
                        self._vectors(upper, lower, out, step.index, lanes, lanes)
                if left > whole:
                    self._vectors(upper, lower, out, i64(whole), left - whole, depth - left - whole)

    def _vectors(self, upper: Pointer, lower: Pointer, out: Pointer, column: Register, left: int, right: int) -> None:
        """One vector of each factor; so many of its lanes are elements in the left and in the right quarters."""
        builder, half, total = self.emitter.builder, self.quarters.half_depth, self.quarters.total
        dtype = self.quarters.numerics.left
        (a11, a12), (a21, a22) = [
            (
                self._load(builder.offset(row, column, dtype), left),
                self._load(builder.offset(builder.offset(row, half, dtype), column, dtype), right),
            )
            for row in (upper, lower)
        ]
        s1 = builder.add(a21, a22)
        s2 = builder.sub(s1, a11)
        factors = (a11, a12, s2, builder.sub(a11, a21), s1, a22, builder.sub(a12, s2))
        place = builder.offset(out, column, total)
        for number, factor in enumerate(factors):
            builder.store(factor, builder.offset(place, number * self.quarters.factor_elements, total), total)

    def _load(self, place: Pointer, count: int) -> Register:
        builder, lanes, dtype = self.emitter.builder, self.quarters.lanes, self.quarters.numerics.left
        if count == lanes:
            return builder.load(place, dtype, lanes)
        zero = literal(0.0, self.quarters.total, lanes)
        return builder.masked_load(place, lane_mask(count, lanes), zero, dtype) if count else zero
