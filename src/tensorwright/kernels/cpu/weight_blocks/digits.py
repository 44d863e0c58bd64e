"""Products of a few rows with weights of a few bits by dot products of bytes, with the digits of float32.

In a block of the reduction, activations become multiples of 1/8355000 of the largest magnitude, about what float32
rounds the largest to; such an integer is three signed bytes, digits to the base 256. A dot product of bytes multiplies
four weights by four digits, so that three of them do what four multiply-adds do, and the weights need a shift and a
mask for 32 bits at a time. Sums are exact integers until the end of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

from tensorwright.codegen.term import Term, maximum
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import Variable
from tensorwright.kernels.cpu.arithmetic import IntegerDot
from tensorwright.kernels.cpu.weight_blocks.panels import Panel, PanelWriter, ceil_divide_int
from tensorwright.kernels.numerics import Numerics
from tensorwright.tensor.dim import Dim, expression, upper_bound
from tensorwright.tensor.dtype import FLOAT32, INT8, INT32, UINT8

DIGITS, BASE, LARGEST = 3, 256, 8_355_000
"""LARGEST: three digits from -128 to 127 hold it, also with what rounding may add."""
SMALLEST_RANGE = 1e-30
"""Blocks with smaller numbers have the steps of this range, so that the inverse of a step is finite."""
LANES, UNROLLED, AHEAD = 16, 8, 8192
"""LANES: activations that are split at once. UNROLLED: words of a block without a loop. AHEAD: bytes to prefetch."""
INFORMATION = DIGITS + 1
"""Of a block of activations: the sums of its digits, and its step."""

Step: TypeAlias = Callable[[Term, Register, list[Register]], list[Register]]
"""What is done with 16 activations, of the given number in a block, and carried values; gives the next values."""


@dataclass(frozen=True)
class DigitWriter(PanelWriter):
    """Every share of the tasks first splits all rows into digits, in its workspace."""

    @property
    def padded(self) -> int:
        """Activations of a row in workspace."""
        return ceil_divide_int(self.depth, LANES) * LANES

    @property
    def row_bytes(self) -> int:
        """Of a row in workspace: the planes of its digits, then what is kept of each block."""
        return DIGITS * self.padded + 4 * INFORMATION * self.blocks

    @property
    def workspace(self) -> int:
        return upper_bound(self.count) * self.row_bytes

    @property
    def dot(self) -> IntegerDot:
        return IntegerDot(Numerics(UINT8, INT8, INT32, FLOAT32), self.lanes)

    @property
    def groups(self) -> int:
        """Of four weights in a word, one of each byte."""
        return self.op.per_byte

    @property
    def _scales_ahead(self) -> int:
        """Bytes of scales that belong to the words that are prefetched."""
        return AHEAD // max(1, self.op.block // self.per_word)

    def prepare(self, first: Panel) -> None:
        """Split the rows, while the first weights are on their way."""
        first.prefetch_first(AHEAD, self._scales_ahead)
        row = Variable("row", self.count)
        with self.emitter.loop(0, self.emitter.integer(self.count)) as loop:
            self.emitter.values[row] = loop.index
            self._split_row(expression(row))

    def block_added(
        self, panel: Panel, rows: Sequence[Dim], number: Register, length: int, totals: Sequence[Register]
    ) -> list[Register]:
        panel.prefetch_scales(number, self._scales_ahead)
        information = [self._information(row, number) for row in rows]
        sums = self._sums(panel, [self._digits(row) for row in rows], information, number, length)
        found: list[Register] = []
        for row, place in enumerate(information):
            step = self._broadcast(self.builder.offset(place, DIGITS, FLOAT32))
            for vector in range(self.vectors):
                at = row * self.vectors + vector
                digits = [
                    self._without_zero(panel, number, vector, place, d, sums[at * DIGITS + d]) for d in range(DIGITS)
                ]
                scale = self.builder.mul(panel.scale(number, vector), step)
                found.append(self.builder.fma(_combined(digits).register, scale, totals[at]))
        return found

    # ---- activations

    def _digits(self, row: Dim) -> Pointer:
        return self.builder.offset(Pointer("%workspace"), self.emitter.integer(row * self.row_bytes), INT8)

    def _information(self, row: Dim, block: Register) -> Pointer:
        behind = self.builder.offset(self._digits(row), DIGITS * self.padded, INT8)
        return self.builder.offset(behind, self.builder.scaled(block, INFORMATION), INT32)

    def _split_row(self, row: Dim) -> None:
        whole, rest = divmod(self.depth, self.op.block)
        if whole:
            with self.emitter.loop(0, whole) as loop:
                self._split_block(row, loop.index, self.op.block)
        if rest:
            self._split_block(row, i64(whole), rest)

    def _split_block(self, row: Dim, block: Register, length: int) -> None:
        """Digits of a block, beside them their sums (times the zero point, if it is the same for all) and the step."""
        builder = self.builder
        first = builder.scaled(block, self.op.block)
        row_start = builder.offset(self.operands.activations, self.emitter.integer(row * self.depth), FLOAT32)
        source = builder.offset(row_start, first, FLOAT32)
        destination, information = builder.offset(self._digits(row), first, INT8), self._information(row, block)
        zeros = literal(0.0, FLOAT32, LANES)

        def larger(activations: Term, _: Register, carried: list[Register]) -> list[Register]:
            return [maximum(activations.magnitude(), Term(builder, carried[0])).register]

        (largest,) = self._over(source, length, [zeros], larger)
        range_ = maximum(self._folded(Term(builder, largest), maximum), Term(builder, literal(SMALLEST_RANGE, FLOAT32)))
        inverse = Term(builder, builder.splat((float(LARGEST) / range_).register, LANES))
        builder.store((range_ * (1.0 / LARGEST)).register, builder.offset(information, DIGITS, FLOAT32), FLOAT32)

        def split(activations: Term, start: Register, carried: list[Register]) -> list[Register]:
            whole = activations.exact_mul(inverse).intrinsic("rint")
            digits = _digits_of(whole.is_nan().choose(whole.constant(0.0), whole).converted("fptosi", INT32))
            for number, digit in enumerate(digits):
                place = builder.offset(builder.offset(destination, number * self.padded, INT8), start, INT8)
                bytes = builder.convert("trunc", digit.register, INT8)
                builder.store(builder.shuffle(bytes, bytes, self._order), place, INT8)
            return [builder.add(one, digit.register) for one, digit in zip(carried, digits, strict=True)]

        sums = self._over(source, length, [literal(0, INT32, LANES)] * DIGITS, split)
        for number, one in enumerate(sums):
            total = self._folded(Term(builder, one), lambda a, b: a + b)
            if self.operands.zeros is None:
                total = total * -self.op.middle
            builder.store(total.register, builder.offset(information, number, INT32), INT32)

    @property
    def _order(self) -> list[int]:
        """Which of 16 activations meet four bytes of weights: first those of the lowest bits of each byte."""
        words = range(0, LANES, self.per_word)
        return [
            word + byte * self.groups + group for word in words for group in range(self.groups) for byte in range(4)
        ]

    def _over(
        self,
        source: Pointer,
        length: int,
        carried: list[Register],
        step: Callable[[Term, Register, list[Register]], list[Register]],
    ) -> list[Register]:
        """What a step carries over the activations of a block, 16 at once, zeros behind the last."""
        builder = self.builder
        whole = length // LANES * LANES
        if whole:
            with builder.loop(0, whole, LANES, carried, at_least_once=True) as loop:
                place = builder.offset(source, loop.index, FLOAT32)
                loop.following = step(Term(builder, builder.load(place, FLOAT32, LANES)), loop.index, loop.carried)
            carried = loop.final
        if length > whole:
            mask = self.emitter.tail_mask(i64(length), i64(whole), LANES)
            place = builder.offset(source, whole, FLOAT32)
            rest = builder.masked_load(place, mask, literal(0.0, FLOAT32, LANES), FLOAT32)
            carried = step(Term(builder, rest), i64(whole), carried)
        return carried

    def _folded(self, vector: Term, combine: Callable[[Term, Term], Term]) -> Term:
        """All lanes combined."""
        builder = self.builder
        while (half := vector.lanes // 2) > 1:
            low, high = (builder.shuffle(vector.register, vector.register, range(at, at + half)) for at in (0, half))
            vector = combine(Term(builder, low), Term(builder, high))
        return combine(*(Term(builder, builder.extract(vector.register, lane)) for lane in range(2)))

    # ---- weights

    def _sums(
        self, panel: Panel, rows: Sequence[Pointer], information: Sequence[Pointer], number: Register, length: int
    ) -> list[Register]:
        """For all rows, vectors and digits the sums of digits times weights, less what the same zero point gives."""
        builder, words = self.builder, length // self.per_word
        sums = [
            literal(0, INT32, self.lanes) if self.operands.zeros is not None else self._broadcast_integer(place, digit)
            for place in information for _ in range(self.vectors) for digit in range(DIGITS)
        ]  # fmt: skip
        first = builder.scaled(number, self.op.block // self.per_word)
        if words <= UNROLLED:
            for word in range(words):
                sums = self._word(panel, rows, builder.add(first, i64(word)), sums)
            return sums
        with builder.loop(0, words, 1, sums, at_least_once=True) as loop:
            loop.following = self._word(panel, rows, builder.add(first, loop.index), loop.carried)
        return loop.final

    def _word(
        self, panel: Panel, rows: Sequence[Pointer], word: Register, carried: Sequence[Register]
    ) -> list[Register]:
        """What a word of every column adds."""
        builder, found = self.builder, list(carried)
        words = [Term(builder, one) for one in panel.load_words(word)]
        panel.prefetch(word, AHEAD)
        mask = ((1 << self.op.bits) - 1) * 0x01010101
        for group in range(self.groups):
            weights = [self._group(one, group, mask) for one in words]
            for row, start in enumerate(rows):
                place = builder.offset(start, builder.add(builder.scaled(word, self.per_word), i64(4 * group)), INT8)
                for digit in range(DIGITS):
                    four = self.dot.load_left(builder, builder.offset(place, digit * self.padded, INT8))
                    for vector, weight in enumerate(weights):
                        at = (row * self.vectors + vector) * DIGITS + digit
                        found[at] = self.dot.step(builder, four, weight, found[at])
        return found

    def _group(self, words: Term, group: int, mask: int) -> Register:
        """Four weights of a word as bytes."""
        if self.op.bits == 8:
            return words.register
        return ((words.logical_right(group * self.op.bits) if group else words) & mask).register

    def _without_zero(
        self, panel: Panel, number: Register, vector: int, information: Pointer, digit: int, total: Register
    ) -> Term:
        """The sum of a digit as float32, less the zero points' part."""
        builder = self.builder
        found = Term(builder, total).converted("sitofp", FLOAT32)
        if self.operands.zeros is None:
            return found
        sums = Term(builder, self._broadcast_integer(information, digit)).converted("sitofp", FLOAT32)
        return Term(
            builder, builder.fma((-Term(builder, panel.zero(number, vector))).register, sums.register, found.register)
        )

    def _broadcast(self, place: Pointer) -> Register:
        return self.builder.splat(self.builder.load(place, FLOAT32), self.lanes)

    def _broadcast_integer(self, place: Pointer, number: int) -> Register:
        return self.builder.splat(self.builder.load(self.builder.offset(place, number, INT32), INT32), self.lanes)


def _digits_of(whole: Term) -> list[Term]:
    """An integer as signed digits from -128 to 127, the lowest first."""
    found: list[Term] = []
    for _ in range(DIGITS - 1):
        rest = (whole + BASE // 2) >> 8
        found.append(whole - (rest << 8))
        whole = rest
    return [*found, whole]


def _combined(digits: Sequence[Term]) -> Term:
    """The number of some digits, the lowest first."""
    return reduce(lambda total, digit: total * float(BASE) + digit, reversed(digits))
