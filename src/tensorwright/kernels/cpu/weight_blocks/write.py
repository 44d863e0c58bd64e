"""Products of a few rows with weights of a few bits that become float32 in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.kernels.cpu.weight_blocks.panels import Panel, PanelWriter
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import FLOAT32


@dataclass(frozen=True)
class FloatWriter(PanelWriter):
    """One multiply-add for each weight and row."""

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

    def block_added(
        self, panel: Panel, rows: Sequence[Dim], number: Register, length: int, totals: Sequence[Register]
    ) -> list[Register]:
        builder, emitter = self.builder, self.emitter
        places = [builder.offset(self.operands.activations, emitter.integer(row * self.depth), FLOAT32) for row in rows]
        sums, activations = self._sums(panel, places, builder.scaled(number, self.op.block), length)
        scales = [panel.scale(number, vector) for vector in range(self.vectors)]
        found: list[Register] = []
        for row in range(len(rows)):
            offset = builder.splat(activations[row], self.lanes) if activations else None
            for vector in range(self.vectors):
                place = row * self.vectors + vector
                exact = sums[place]
                if offset is not None:
                    exact = builder.sub(exact, builder.mul(panel.zero(number, vector), offset))
                found.append(builder.fma(exact, scales[vector], totals[place]))
        return found

    def unpacked(self, words: Register, place: int) -> Register:
        """The weights at one place in all words, as float32."""
        term = Term(self.builder, words)
        shifted = term.logical_right(place * self.op.bits) if place else term
        if self.looks_up:
            return shifted.looked_up(self.table, FLOAT32).register
        if place + 1 < self.per_word:
            shifted = shifted & ((1 << self.op.bits) - 1)
        return shifted.converted("sitofp", FLOAT32).register

    def _sums(
        self, panel: Panel, rows: Sequence[Pointer], first: Register, length: int
    ) -> tuple[list[Register], list[Register]]:
        """For all rows and vectors the sums of activations times bits; of every row the sum of activations."""
        builder, count, per_word = self.builder, len(rows), self.per_word
        sums = [literal(0.0, FLOAT32, self.lanes)] * (count * self.vectors)
        plain = [literal(0.0, FLOAT32, per_word)] * (count if self.corrects else 0)
        with builder.loop(0, length, per_word, [*sums, *plain], at_least_once=True) as loop:
            k = builder.add(first, loop.index)
            loop.following = self._word(panel, rows, k, loop.carried)
        sums, plain = loop.final[: len(sums)], loop.final[len(sums) :]
        return sums, [_sum_of(builder, one) for one in plain]

    def _word(self, panel: Panel, rows: Sequence[Pointer], k: Register, carried: Sequence[Register]) -> list[Register]:
        """What a word of every column adds, whose weights belong to the activations from number k on."""
        builder, found = self.builder, list(carried)
        words = panel.load_words(builder.binary("udiv", k, self.per_word))
        starts = [builder.offset(start, k, FLOAT32) for start in rows]
        for place in range(self.per_word):
            weights = [self.unpacked(one, place) for one in words]
            for number, start in enumerate(starts):
                one = builder.splat(builder.load(builder.offset(start, place, FLOAT32), FLOAT32), self.lanes)
                for vector, weight in enumerate(weights):
                    at = number * self.vectors + vector
                    found[at] = builder.fma(weight, one, found[at])
        for number, start in enumerate(starts if self.corrects else ()):
            at = len(rows) * self.vectors + number
            found[at] = builder.add(found[at], builder.load(start, FLOAT32, self.per_word))
        return found


def _sum_of(builder: FunctionBuilder, vector: Register) -> Register:
    """The sum of all lanes."""
    while vector.lanes > 1:
        half = vector.lanes // 2
        if half == 1:
            return builder.add(builder.extract(vector, 0), builder.extract(vector, 1))
        halves = [builder.shuffle(vector, vector, range(start, start + half)) for start in (0, half)]
        vector = builder.add(*halves)
    return vector
