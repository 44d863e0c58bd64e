"""The new states of the hidden units of a panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.graph.expression import Load, Scalar
from tensorwright.kernels.cpu.recurrent.addresses import Row, Step
from tensorwright.kernels.cpu.recurrent.products import Panel
from tensorwright.kernels.cpu.recurrent.tiling import Layer
from tensorwright.ops.recurrent import Unit
from tensorwright.tensor.dtype import DType

Sums = Sequence[Sequence[Sequence[Register]]]
"""By sequence, gate and vector."""


@dataclass(frozen=True)
class Units:
    """Finishes the hidden units of a panel in one step. operands: where the inputs start, by role."""

    emitter: ScalarEmitter
    layer: Layer
    operands: Mapping[str, Pointer]
    panel: Panel
    step: Step

    def gate(self, sums: Sums, gated: Sequence[Pointer], kept: Sequence[Pointer]) -> None:
        """Store the states that the second phase multiplies, and what the first gate keeps, to scratch rows."""
        for number, row in enumerate(self.step.rows):
            for vector in range(self.panel.vectors):
                unit = self._unit(row, vector, [gate[vector] for gate in sums[number]])
                (value,) = self._computed([self.layer.op.gated_scalar(unit.scalars)], unit)
                self._store(value, gated[number], vector, self.layer.wide)
                self._store(sums[number][0][vector], kept[number], vector, self.layer.wide)

    def finish(self, sums: Sums, kept: Sequence[Pointer]) -> None:
        """Store the new states. kept: scratch rows of what the first gate keeps, if there were two phases."""
        found = []
        for number, row in enumerate(self.step.rows):
            for vector in range(self.panel.vectors):
                own = [gate[vector] for gate in sums[number]]
                if kept:
                    first = self._load(kept[number], vector, self.layer.wide)
                    own = [first, first, *own]
                unit = self._unit(row, vector, own)
                found.append((row, vector, unit, self._computed(self.layer.op.scalars(unit.scalars), unit)))
        for row, vector, unit, state in found:
            self._store_state(row, vector, unit, state)

    def _store_state(self, row: Row, vector: int, unit: _Loaded, state: Sequence[Register]) -> None:
        b, layer = self.emitter.builder, self.layer
        hidden, *cells = state
        if row.inside is not None:
            hidden = b.select(row.inside, hidden, literal(0.0, layer.wide, layer.lanes))
        self._store(hidden, row.after, vector, layer.dtype)
        for cell in cells:
            assert unit.cell is not None
            new = cell if row.inside is None else b.select(row.inside, cell, unit.cell)
            self._store(new, row.cell, vector, layer.wide)
            if layer.op.tail:
                with self.emitter.when(self.step.is_last):
                    self._store(new, row.final, vector, layer.dtype)

    def _unit(self, row: Row, vector: int, kept: Sequence[Register]) -> _Loaded:
        """The unit's numbers in registers."""
        layer, b = self.layer, self.emitter.builder
        gates = [b.offset(row.gates, gate * layer.size, layer.dtype) for gate in range(layer.op.gates)]
        seen = [self._load(gate, vector, layer.dtype) for gate in gates]
        hidden, cell = self._load(row.before, vector, layer.dtype), None
        if layer.has("cells"):
            cell = self._load(row.cell_before, vector, layer.wide)
        marked = cell
        if row.marker is not None:
            kept, hidden = [b.mul(row.marker, one) for one in kept], b.mul(row.marker, hidden)
            marked = None if cell is None else b.mul(row.marker, cell)
        bias = self._weights("bias", 1, vector)
        return _Loaded(layer.wide, seen, kept, hidden, marked, cell, bias, self._weights("peepholes", 3, vector))

    def _weights(self, role: str, count: int, vector: int) -> list[Register]:
        """Vectors of an input ``[D, count, H]``; none if there is no such input."""
        if not self.layer.has(role):
            return []
        b, layer = self.emitter.builder, self.layer
        start = b.offset(self.operands[role], b.scaled(self.step.direction, count * layer.size), layer.dtype)
        return [self._load(b.offset(start, n * layer.size, layer.dtype), vector, layer.dtype) for n in range(count)]

    def _computed(self, scalars: Sequence[Scalar], unit: _Loaded) -> list[Register]:
        emitter, lanes = self.emitter, self.layer.lanes
        emitter.given.update(enumerate(unit.registers))
        with emitter.scope():
            values = [emitter.builder.splat(emitter.scalar(scalar), lanes) for scalar in scalars]
        for number in range(len(unit.registers)):
            del emitter.given[number]
        return values

    def _place(self, start: Pointer, vector: int, dtype: DType) -> Pointer:
        b = self.emitter.builder
        return b.offset(b.offset(start, self.panel.first, dtype), vector * self.layer.lanes, dtype)

    def _load(self, start: Pointer, vector: int, dtype: DType) -> Register:
        b, lanes = self.emitter.builder, self.layer.lanes
        mask, place = self.panel.mask(vector, lanes), self._place(start, vector, dtype)
        if mask is None:
            return b.load(place, dtype, lanes)
        return b.masked_load(place, mask, literal(0.0, dtype, lanes), dtype)

    def _store(self, value: Register, start: Pointer, vector: int, dtype: DType) -> None:
        b, place = self.emitter.builder, self._place(start, vector, dtype)
        mask = self.panel.mask(vector, self.layer.lanes)
        if mask is None:
            b.store(value, place, dtype)
        else:
            b.masked_store(value, place, mask, dtype)


@dataclass(frozen=True)
class _Loaded:
    """The numbers of units, with the cell after and before a marker was applied."""

    dtype: DType
    seen: Sequence[Register]
    kept: Sequence[Register]
    hidden: Register
    marked: Register | None
    cell: Register | None
    bias: Sequence[Register]
    peepholes: Sequence[Register]

    @property
    def registers(self) -> list[Register]:
        cells = [] if self.marked is None else [self.marked]
        return [*self.seen, *self.kept, self.hidden, *cells, *self.bias, *self.peepholes]

    @property
    def scalars(self) -> Unit[Scalar]:
        """The unit with loads that stand for the registers, in their order."""
        names = iter(Load(number, (), self.dtype) for number in range(len(self.registers)))
        seen, kept = ([next(names) for _ in part] for part in (self.seen, self.kept))
        hidden = next(names)
        cell = None if self.marked is None else next(names)
        bias = next(names) if self.bias else None
        return Unit[Scalar](seen, kept, hidden, cell, bias, list(names))
