"""Key-value caches with room for more rows than they hold: new rows are written among those that are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tensorwright.graph.expression import (
    Computation,
    IndexValue,
    Load,
    Scalar,
    all_of,
    data_index,
    inside,
    variables_for,
)
from tensorwright.graph.op import Array, Kind, Op, expect, expect_equal, expect_inputs
from tensorwright.ops.checks import expect_axis, expect_factors, expect_index, expect_rank, expect_same_dtype, show
from tensorwright.ops.mathematics import call, convert, positions
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dim import Dim, bounds, maximum, minimum, remainder, tuning_value
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.type import TensorType


@dataclass(frozen=True, eq=False)
class CacheUpdate(Op):
    """The cache with new rows from `begin` on along `axis`, as far as it has room; all other rows stay.

    Inputs: the cache ``[*, C, *]``, the new rows ``[*, S, *]`` and, where sequences differ in length, integers for the
    indices of the first axis, which are added to `start`. `circular`: rows that the end leaves no room for go to the
    beginning; there are at most C. Where the result lies in the memory of the cache, only the new rows are written.
    """

    axis: int
    start: Dim
    circular: bool = False
    kind: ClassVar[Kind] = "opaque"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2, 3)
        cache, rows = inputs[:2]
        expect_axis(self, self.axis, cache.rank)
        expect_same_dtype(self, inputs[:2], ("cache", "rows"))
        wanted = f"rows: expected {show(cache.shape)} but for axis {self.axis}, found {show(rows.shape)}"
        expect(rows.rank == cache.rank, self, wanted)
        for axis, (wide, own) in enumerate(zip(cache.shape, rows.shape, strict=True)):
            if axis != self.axis:
                expect_equal(wide, own, self, wanted)
        if self.circular:
            room, count = cache.shape[self.axis], rows.shape[self.axis]
            expect(bounds(count)[0] <= bounds(room)[1], self, f"rows: expected at most {room}, found {count}")
        for offsets in inputs[2:]:
            expect_index(self, offsets)
            expect(self.axis > 0, self, "axis: expected one behind the first, which says whose rows go where, found 0")
            found = f"offsets: expected one for each index of the first axis of {show(cache.shape)}"
            expect(offsets.rank == 1, self, f"{found}, found {show(offsets.shape)}")
            expect_equal(offsets.shape[0], cache.shape[0], self, f"{found}, found {show(offsets.shape)}")
        return cache

    def valid_range(self, operand: int, inputs: Sequence[TensorType]) -> tuple[Dim, Dim] | None:
        if operand < 2:
            return None
        room, count = (type.shape[self.axis] for type in inputs[:2])
        return (0, room) if self.circular else (-self.start, maximum(room - count, 0) + 1 - self.start)

    def nonnegative(self, inputs: Sequence[TensorType]) -> tuple[Dim, ...]:
        return (inputs[0].shape[self.axis] - inputs[1].shape[self.axis],) if self.circular else ()

    def begin(self, inputs: Sequence[TensorType], first: Dim) -> Dim:
        """Where the new rows of an index of the first axis begin, from 0 to C."""
        room = inputs[0].shape[self.axis]
        if len(inputs) == 2:
            return remainder(self.start, maximum(room, 1)) if self.circular else _within(self.start, room)
        offset = convert(Load(2, (first,), inputs[2].dtype), INT64)
        place: Scalar = call("add", offset, IndexValue(self.start)) if self.start != 0 else offset
        if self.circular:
            place = call("floor_mod", place, IndexValue(maximum(room, 1)))
        return data_index(place, room + 1)

    def reference(self, *inputs: Array) -> Array:
        cache, rows = (np.moveaxis(array, self.axis, 0) for array in inputs[:2])
        result, start = cache.copy(), tuning_value(self.start)
        if len(inputs) == 2:
            self._put(result, rows, start)
        else:
            for first, offset in enumerate(inputs[2]):
                self._put(result[:, first], rows[:, first], start + int(offset))
        return np.moveaxis(result, 0, self.axis)

    def _put(self, cache: Array, rows: Array, begin: int) -> None:
        room = len(cache)
        if self.circular:
            cache[(begin + np.arange(len(rows))) % max(room, 1)] = rows
        else:
            begin = min(max(begin, 0), room)
            cache[begin : begin + len(rows)] = rows[: room - begin]

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        cache, rows = inputs[:2]
        variables = variables_for(output.shape)
        index = positions(variables)
        at = index[self.axis] - self.begin(inputs, index[0])
        if self.circular:
            at = remainder(at, maximum(cache.shape[self.axis], 1))
        guard = all_of(inside(at, rows.shape[self.axis]))
        new = Load(1, (*index[: self.axis], at, *index[self.axis + 1 :]), rows.dtype, guard)
        if guard is None:
            return Computation(variables, new)
        return Computation(variables, call("select", guard, new, Load(0, index, cache.dtype)))


def _within(place: Dim, room: Dim) -> Dim:
    """The nearest of 0 to `room`."""
    return minimum(maximum(place, 0), room)


@dataclass(frozen=True, eq=False)
class CachedMatMul(Op):
    """``y[..., m, n] = Σ a[..., m, k] b[..., k, n]`` of the first `rows` rows of b, as they lie, which may have more.

    Inputs: a ``[*B, M, K]``, b ``[*B, C, N]``, of which K = `rows` rows count, or with `transpose_b` ``[*B, C, K]``, of
    which N = `rows` rows count. Output: ``[*B, M, N]``.
    """

    rows: Dim
    transpose_b: bool = False
    kind: ClassVar[Kind] = "anchor"
    transpose_a: ClassVar[bool] = False

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2)
        a, b = inputs
        expect_rank(self, a, 2, 64, "a")
        expect_rank(self, b, a.rank, a.rank, "b")
        dtype = expect_factors(self, inputs, ("a", "b"))
        found = f"found a {show(a.shape)}, b {show(b.shape)}"
        for left, right in zip(a.shape[:-2], b.shape[:-2], strict=True):
            expect_equal(left, right, self, f"expected equal batch axes, {found}")
        room = bounds(b.shape[-2])[0]
        expect(bounds(self.rows)[1] <= room, self, f"expected at most {room} rows of b, found {self.rows}")
        inner, columns = (b.shape[-1], self.rows) if self.transpose_b else (self.rows, b.shape[-1])
        expect_equal(a.shape[-1], inner, self, f"expected equal inner extents, {found}: {a.shape[-1]} against {inner}")
        return TensorType(dtype, (*a.shape[:-1], columns))

    def reference(self, *inputs: Array) -> Array:
        a, b = inputs
        b = b[..., : tuning_value(self.rows), :]
        return np.asarray(np.matmul(a, np.swapaxes(b, -1, -2) if self.transpose_b else b))

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        return MatMul(transpose_b=self.transpose_b).define(inputs, output)
