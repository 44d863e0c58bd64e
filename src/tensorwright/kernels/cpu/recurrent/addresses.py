"""Where the elements of one step lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.graph.graph import Value
from tensorwright.kernels.cpu.recurrent.tiling import Layer, Tiling
from tensorwright.tensor.dtype import INT64, DType


@dataclass(frozen=True)
class Row:
    """One sequence in one step: its gates, its states before and after, and its cells.

    cell_before: where the cells are read; cell: where they are kept; final: where they go after the last step.
    inside: whether the sequence has this step; None if all have. marker: what the state before is multiplied with.
    """

    gates: Pointer
    before: Pointer
    after: Pointer
    cell_before: Pointer
    cell: Pointer
    final: Pointer
    inside: Register | None
    marker: Register | None


@dataclass(frozen=True)
class Step:
    """A step of a block of sequences in one direction."""

    direction: Register
    rows: Sequence[Row]
    is_last: Register


@dataclass(frozen=True)
class Scratch:
    """A thread's memory: rows of cells, of gated states, and of what the first gate keeps."""

    tiling: Tiling

    @property
    def bytes(self) -> int:
        layer = self.tiling.layer
        return (self._cells + 2 * self._gated) * layer.padded * layer.wide.size

    @property
    def _cells(self) -> int:
        return self.tiling.state_rows if self.tiling.layer.has("cells") else 0

    @property
    def _gated(self) -> int:
        """Rows of gated states."""
        return self.tiling.rows if len(self.tiling.layer.op.phases) > 1 else 0

    def gated(self, emitter: ScalarEmitter) -> list[Pointer]:
        """The rows of the states that the second phase multiplies."""
        return [self._row(emitter, self._cells + row) for row in range(self._gated)]

    def kept(self, emitter: ScalarEmitter) -> list[Pointer]:
        """The rows of what the first gate keeps until the second phase."""
        return [self._row(emitter, self._cells + self._gated + row) for row in range(self._gated)]

    def _row(self, emitter: ScalarEmitter, number: int) -> Pointer:
        layer = self.tiling.layer
        return emitter.builder.offset(Pointer("%workspace"), number * layer.padded, layer.wide)


@dataclass(frozen=True)
class Addresses:
    """Finds rows. operands: where the inputs start, by role; values: the inputs, by role."""

    emitter: ScalarEmitter
    tiling: Tiling
    operands: Mapping[str, Pointer]
    values: Mapping[str, Value]

    @property
    def layer(self) -> Layer:
        return self.tiling.layer

    def step(self, direction: Register, block: Register, number: Register) -> Step:
        """The step with a number, in the order in which a direction takes them, of a block of sequences."""
        b, steps = self.emitter.builder, self.emitter.integer(self.layer.steps)
        last = b.sub(steps, 1)
        time, before = number, b.sub(number, 1)
        if True in self.layer.op.directions:
            reverse = (b.sub(last, number), b.sub(steps, number))
            is_reverse = b.compare("eq", direction, self.layer.directions - 1)
            time, before = (b.select(is_reverse, r, f) for r, f in zip(reverse, (time, before), strict=True))
        rows = [self._row(direction, block, row, number, time, before) for row in range(self.tiling.rows)]
        return Step(direction, rows, b.compare("eq", number, last))

    def _row(
        self, direction: Register, block: Register, row: int, number: Register, time: Register, before: Register
    ) -> Row:
        b, layer = self.emitter.builder, self.layer
        own = b.add(b.scaled(block, self.tiling.rows), row)
        sequence = self._within(own)
        is_first = b.compare("eq", number, 0)
        inside, is_start = None, is_first
        if layer.has("lengths"):
            length = self._length(sequence)
            inside = b.compare("slt", time, length)
            is_start = b.binary("or", is_first, b.compare("sge", before, length))
        out, dtype = Pointer("%out"), layer.dtype
        first = self._first("hidden", dtype, direction, sequence)
        previous = b.offset(out, self._at(before, sequence, direction, layer.size), dtype)
        cell = cell_before = final = out
        if layer.has("cells"):
            cell = self._cell(direction, own, row)
            cell_before = self._chosen(is_first, self._first("cells", layer.wide, direction, sequence), cell)
            final = b.offset(out, self._at(self.emitter.integer(layer.steps), sequence, direction, layer.size), dtype)
        return Row(
            b.offset(self.operands["gates"], self._at(time, sequence, direction, layer.op.gates * layer.size), dtype),
            self._chosen(is_start, first, previous),
            b.offset(out, self._at(time, sequence, direction, layer.size), dtype),
            cell_before,
            cell,
            final,
            inside,
            self._marker(time, sequence) if layer.has("markers") else None,
        )

    def _within(self, sequence: Register) -> Register:
        """The sequence, or the last one."""
        b, layer, rows = self.emitter.builder, self.layer, self.tiling.rows
        if isinstance(layer.batch, int) and layer.batch % rows == 0:
            return sequence
        last = b.sub(self.emitter.integer(layer.batch), 1)
        return b.select(b.compare("slt", sequence, last), sequence, last)

    def _at(self, time: Register, sequence: Register, direction: Register, width: int) -> Register:
        """The element with which a row starts in ``[T, N, D, width]``."""
        b = self.emitter.builder
        row = b.add(b.mul(time, self.emitter.integer(self.layer.batch)), sequence)
        return b.scaled(b.add(b.scaled(row, self.layer.directions), direction), width)

    def _first(self, role: str, dtype: DType, direction: Register, sequence: Register) -> Pointer:
        """The states before the first step, ``[D, N or 1, H]``."""
        b, extent = self.emitter.builder, self.values[role].type.shape[1]
        row = direction
        if extent != 1:
            row = b.add(b.mul(direction, self.emitter.integer(extent)), sequence)
        return b.offset(self.operands[role], b.scaled(row, self.layer.size), dtype)

    def _cell(self, direction: Register, sequence: Register, row: int) -> Pointer:
        b, layer = self.emitter.builder, self.layer
        place: Register = i64(row)
        if self.tiling.in_waves:
            place = b.add(b.scaled(sequence, layer.directions), direction)
        return b.offset(Pointer("%workspace"), b.scaled(place, layer.padded), layer.wide)

    def _length(self, sequence: Register) -> Register:
        b, dtype = self.emitter.builder, self.values["lengths"].type.dtype
        length = b.load(b.offset(self.operands["lengths"], sequence, dtype), dtype)
        if dtype.size == INT64.size:
            return Register(length.text, INT64)
        return b.convert("sext" if dtype.kind == "signed" else "zext", length, INT64)

    def _marker(self, time: Register, sequence: Register) -> Register:
        b, layer = self.emitter.builder, self.layer
        place = b.add(b.mul(time, self.emitter.integer(layer.batch)), sequence)
        marker = b.load(b.offset(self.operands["markers"], place, layer.dtype), layer.dtype)
        return b.splat(marker, layer.lanes)

    def _chosen(self, condition: Register, then: Pointer, otherwise: Pointer) -> Pointer:
        b, name = self.emitter.builder, self.emitter.builder.fresh("p")
        b.emit(f"{name} = select {condition.typed}, ptr {then.text}, ptr {otherwise.text}")
        return Pointer(name)
