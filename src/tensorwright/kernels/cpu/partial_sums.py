"""Sums in float32 of products that are added up in float16 for a while.

A partial sum of `PRODUCTS` products begins at zero, so that what float16 rounds stays small; up to `PARTS` of them are
added up in float16, and what comes of that is added to the sum in float32. With u = 2^-11, what float16 rounds at
most, a result is off by no more than (`PRODUCTS` + `PARTS` + 1) · u times the sum of the magnitudes of all products, to
first order, and by 2^-25 for every rounding of a number below the normal ones. Errors of both signs mostly cancel: of
random factors results were usually off by 2 u of the largest one, their own rounding included.

Partial sums beyond the range of float16 are infinite, and so is then what becomes of them, or it is no number: such
sums are computed once more, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Register, literal
from tensorwright.kernels.cpu.arithmetic import HalfPairs
from tensorwright.tensor.dtype import INT32, INT64

PRODUCTS = 16
"""With twice as many, results are off by 1.9 u instead of 1.6 (the root of the mean of squares, relative to theirs)."""
PARTS = 8
"""With so many, what is not a product takes a tenth of the time; with half as many, results are off by 1.5 u."""

AddSteps = Callable[[Register, Sequence[Register], int], Sequence[Register]]
"""Appends steps of the reduction, from a place on, added to sums, so many."""


@dataclass(frozen=True)
class PartialSums:
    """Writes a reduction that is counted in units, such as channels, of one step or several.

    unroll: units in a round of the innermost loop. steps: steps of a round. sets: sums that take turns.
    add: appends a round or a part of it, with `sets` times as many sums as there are in the end.
    """

    builder: FunctionBuilder
    arithmetic: HalfPairs
    unroll: int
    steps: int
    sets: int
    add: AddSteps

    @property
    def units(self) -> int:
        """Units in a partial sum: whole rounds."""
        return max(1, PRODUCTS // self.steps) * self.unroll

    def added(self, totals: Sequence[Register], first: Register, count: int) -> list[Register]:
        """The sums in float32 with so many units added to them."""
        lanes = [total.lanes for total in totals]

        def fold(place: Register, totals: Sequence[Register], count: int) -> list[Register]:
            pairs = self._parts(lanes, place, count)
            return [self.arithmetic.fold(self.builder, *both) for both in zip(pairs, totals, strict=True)]

        return self._each(fold, first, count, self.units * PARTS, totals)

    def _parts(self, lanes: Sequence[int], first: Register, count: int) -> list[Register]:
        """Several partial sums, added up in float16."""
        if count <= self.units:
            return self._part(lanes, first, count)

        def add(place: Register, sums: Sequence[Register], count: int) -> list[Register]:
            return self._both(sums, self._part(lanes, place, count))

        return self._each(add, first, count, self.units, _zeros(lanes))

    def _part(self, lanes: Sequence[int], first: Register, count: int) -> list[Register]:
        sums = self._each(self.add, first, count, self.unroll, _zeros(lanes) * self.sets)
        return reduce(self._both, (sums[start : start + len(lanes)] for start in range(0, len(sums), len(lanes))))

    def _each(
        self, body: AddSteps, first: Register, count: int, step: int, carried: Sequence[Register]
    ) -> list[Register]:
        """A loop over units, `step` at a time, and the rest behind it."""
        whole = count - count % step
        if whole:
            stop = self.builder.add(first, whole)
            with self.builder.loop(first, stop, step, carried, at_least_once=True) as loop:
                loop.following = body(loop.index, loop.carried, step)
            carried, first = loop.final, stop
        return list(body(first, carried, count - whole) if count > whole else carried)

    def _both(self, left: Sequence[Register], right: Sequence[Register]) -> list[Register]:
        return [self.arithmetic.add(self.builder, a, b) for a, b in zip(left, right, strict=True)]


def _zeros(lanes: Sequence[int]) -> list[Register]:
    return [literal(0, INT32, each) for each in lanes]


def once_more_unless_finite(
    builder: FunctionBuilder, totals: Sequence[Register], again: Callable[[], Sequence[Register]]
) -> list[Register]:
    """The sums if all of them are finite; else what `again` gives."""
    guards: dict[int, Register] = {}
    for total in totals:
        zero = literal(0.0, total.dtype, total.lanes)
        guards[total.lanes] = builder.fma(total, zero, guards.get(total.lanes, zero))
    found = [builder.any(builder.compare("uno", guard, guard)) for guard in guards.values()]
    is_odd = reduce(partial(builder.binary, "or"), found)
    with builder.loop(0, builder.convert("zext", is_odd, INT64), 1, totals) as loop:
        loop.following = again()
    return loop.final
