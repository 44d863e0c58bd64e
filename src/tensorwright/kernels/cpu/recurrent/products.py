"""The product of R and the states: what every gate keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.scalar import lane_mask
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.kernels.cpu.recurrent.tiling import Layer
from tensorwright.tensor.dtype import DType

UNROLL = 4
CHAINS = 8
"""Sums that have to be on their way at once to hide the latency of a multiply-add."""


@dataclass(frozen=True)
class Panel:
    """Hidden units from unit `first` on: so many whole vectors, the last one perhaps of `masked` units only."""

    first: Register
    vectors: int
    masked: int

    def mask(self, vector: int, lanes: int) -> Register | None:
        """The lanes of a vector that are units; None for all."""
        return lane_mask(self.masked, lanes) if self.masked and vector == self.vectors - 1 else None


@dataclass(frozen=True)
class Matrix:
    """R of one direction, in panels or as it is given, row by row ``[H, G·H]``."""

    layer: Layer
    start: Pointer
    is_packed: bool

    def rows(self, builder: FunctionBuilder, panel: Panel, phase: Sequence[int]) -> Rows:
        """The columns of some gates and of the units of a panel."""
        layer, lanes = self.layer, self.layer.lanes
        if not self.is_packed:
            start = builder.offset(self.start, panel.first, layer.dtype)
            places = [[gate * layer.size + v * lanes for v in range(panel.vectors)] for gate in phase]
            masks = [panel.mask(v, lanes) for v in range(panel.vectors)]
            return Rows(start, layer.op.gates * layer.size, places, masks)
        width, before = panel.vectors * lanes, phase[0]
        start = builder.offset(self.start, builder.scaled(panel.first, layer.size * layer.op.gates), layer.dtype)
        start = builder.offset(start, before * layer.size * width, layer.dtype)
        places = [[gate * width + v * lanes for v in range(panel.vectors)] for gate in range(len(phase))]
        return Rows(start, len(phase) * width, places, [None] * panel.vectors)


@dataclass(frozen=True)
class Rows:
    """Where the rows of a matrix start, the elements from row to row, and by gate and vector the place in a row."""

    start: Pointer
    step: int
    places: Sequence[Sequence[int]]
    masks: Sequence[Register | None]


def products(
    builder: FunctionBuilder, layer: Layer, rows: Rows, states: Sequence[Pointer], dtype: DType
) -> list[list[list[Register]]]:
    """By sequence, gate and vector the products of the states, elements of `dtype`, with the columns of R."""
    return _Products(builder, layer, rows, states, dtype).sums()


@dataclass(frozen=True)
class _Products:
    builder: FunctionBuilder
    layer: Layer
    rows: Rows
    states: Sequence[Pointer]
    dtype: DType

    @property
    def tile(self) -> int:
        return len(self.states) * sum(map(len, self.rows.places))

    @property
    def splits(self) -> int:
        """Sets of sums that take turns."""
        return next(splits for splits in (1, 2, UNROLL) if splits * self.tile >= CHAINS or splits == UNROLL)

    def sums(self) -> list[list[list[Register]]]:
        size, builder = self.layer.size, self.builder
        carried = [literal(0.0, self.layer.wide, self.layer.lanes)] * (self.tile * self.splits)
        if size >= UNROLL:
            with builder.loop(0, size // UNROLL * UNROLL, UNROLL, carried, at_least_once=True) as loop:
                loop.following = self._steps(loop.index, loop.carried, UNROLL)
            carried = loop.final
        return self._shaped(self._steps(i64(size // UNROLL * UNROLL), carried, size % UNROLL))

    def _steps(self, first: Register, carried: Sequence[Register], count: int) -> list[Register]:
        sums, builder = list(carried), self.builder
        if not count:
            return sums
        row = builder.offset(self.rows.start, builder.scaled(first, self.rows.step), self.layer.dtype)
        states = [builder.offset(state, first, self.dtype) for state in self.states]
        for step in range(count):
            self._step(row, states, step, sums)
        return sums

    def _step(self, row: Pointer, states: Sequence[Pointer], step: int, sums: list[Register]) -> None:
        builder, lanes = self.builder, self.layer.lanes
        columns = [
            self._vector(row, step * self.rows.step + place, mask)
            for gate in self.rows.places
            for place, mask in zip(gate, self.rows.masks, strict=True)
        ]
        base = step % self.splits * self.tile
        for number, state in enumerate(states):
            unit = builder.splat(builder.load(builder.offset(state, step, self.dtype), self.dtype), lanes)
            for column, vector in enumerate(columns):
                place = base + number * len(columns) + column
                sums[place] = builder.fma(vector, unit, sums[place])

    def _vector(self, row: Pointer, place: int, mask: Register | None) -> Register:
        builder, dtype, lanes = self.builder, self.layer.dtype, self.layer.lanes
        start = builder.offset(row, place, dtype)
        if mask is None:
            return builder.load(start, dtype, lanes)
        return builder.masked_load(start, mask, literal(0.0, dtype, lanes), dtype)

    def _shaped(self, sums: Sequence[Register]) -> list[list[list[Register]]]:
        parts = [list(sums[start : start + self.tile]) for start in range(0, len(sums), self.tile)]
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [
                [self.builder.add(a, b) for a, b in zip(one, other, strict=True)]
                for one, other in zip(parts[:half], parts[half:], strict=True)
            ]
        flat = iter(parts[0])
        return [[[next(flat) for _ in gate] for gate in self.rows.places] for _ in self.states]
