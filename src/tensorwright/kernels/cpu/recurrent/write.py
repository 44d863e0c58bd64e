"""Writes the kernel of a recurrent layer: for every step and panel of hidden units the products, then the new states.

The state before a step is read from the output, where the step before it wrote it, or from the first states. Cells lie
in scratch memory. Sequences beyond the last one of a block are the last one once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.kernels.cpu.recurrent.addresses import Addresses, Scratch, Step
from tensorwright.kernels.cpu.recurrent.products import Matrix, Panel, products
from tensorwright.kernels.cpu.recurrent.tiling import Layer, Tiling
from tensorwright.kernels.cpu.recurrent.units import Units
from tensorwright.tensor.dtype import INT64


@dataclass(frozen=True)
class Writer:
    """operands: where the inputs start, by role. is_packed: whether R lies in panels."""

    emitter: ScalarEmitter
    tiling: Tiling
    operands: Mapping[str, Pointer]
    addresses: Addresses
    is_packed: bool

    @property
    def layer(self) -> Layer:
        return self.tiling.layer

    def write(self) -> None:
        """The body of the function."""
        emitter = self.emitter
        steps, blocks = emitter.integer(self.layer.steps), emitter.integer(self.tiling.blocks)
        emitter.integer(self.layer.batch)
        with emitter.loop(Register("%begin", INT64), Register("%end", INT64)) as task:
            if self.tiling.in_waves:
                self._wave(task.index, blocks)
            else:
                direction, block = self._divided(task.index, blocks)
                with emitter.loop(0, steps) as step:
                    self._all_panels(self.addresses.step(direction, block, step.index))

    def _wave(self, task: Register, blocks: Register) -> None:
        """A task that is one panel in one step."""
        b = self.emitter.builder
        rest, panel = b.divided(task, self.tiling.panels)
        rest, block = self._divided(rest, blocks)
        number, direction = b.divided(rest, self.layer.directions)
        step, whole = self.addresses.step(direction, block, number), i64(self._whole)
        if self._whole:
            with self.emitter.when(b.compare("ult", panel, whole)):
                self._panel(step, 0, self._whole_panel(panel))
        if self.tiling.has_short_panel:
            with self.emitter.when(b.compare("eq", panel, whole)):
                self._panel(step, 0, self._short_panel())

    def _all_panels(self, step: Step) -> None:
        for phase in range(len(self.layer.op.phases)):
            if self._whole:
                with self.emitter.loop(0, self._whole) as panel:
                    self._panel(step, phase, self._whole_panel(panel.index))
            if self.tiling.has_short_panel:
                self._panel(step, phase, self._short_panel())

    @property
    def _whole(self) -> int:
        """Panels without the one that differs."""
        return self.tiling.panels - self.tiling.has_short_panel

    def _whole_panel(self, number: Register) -> Panel:
        first = self.emitter.builder.scaled(number, self.tiling.most * self.layer.lanes)
        return Panel(first, self.tiling.most, 0)

    def _short_panel(self) -> Panel:
        first = i64((self.tiling.panels - 1) * self.tiling.most * self.layer.lanes)
        return Panel(first, self.tiling.last, self.layer.size % self.layer.lanes)

    def _panel(self, step: Step, phase: int, panel: Panel) -> None:
        layer, b = self.layer, self.emitter.builder
        phases, scratch = layer.op.phases, Scratch(self.tiling)
        elements = layer.size * layer.op.gates * (layer.padded if self.is_packed else layer.size)
        start = b.offset(self.operands["recurrence"], b.scaled(step.direction, elements), layer.dtype)
        rows = Matrix(layer, start, self.is_packed).rows(b, panel, phases[phase])
        gated, kept = scratch.gated(self.emitter), scratch.kept(self.emitter)
        states, dtype = ([row.before for row in step.rows], layer.dtype) if phase == 0 else (gated, layer.wide)
        sums = products(b, layer, rows, states, dtype)
        units = Units(self.emitter, layer, self.operands, panel, step)
        if phase + 1 < len(phases):
            units.gate(sums, gated, kept)
        else:
            units.finish(sums, kept)

    def _divided(self, number: Register, extent: Register) -> tuple[Register, Register]:
        """Quotient and remainder of an i64 that is not negative."""
        b = self.emitter.builder
        return b.binary("udiv", number, extent), b.binary("urem", number, extent)
