"""Key-value caches with room for more rows than they hold: new rows are written among those that are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tensorwright.graph.expression import Computation, Load, all_of, inside, variables_for
from tensorwright.graph.op import Array, Kind, Op, expect, expect_equal, expect_inputs
from tensorwright.ops.checks import expect_axis, expect_factors, expect_rank, expect_same_dtype, show
from tensorwright.ops.mathematics import call, positions
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dim import Dim, bounds, tuning_value
from tensorwright.tensor.type import TensorType


@dataclass(frozen=True, eq=False)
class CacheUpdate(Op):
    """The cache with new rows from `start` on along `axis`, as far as it has room; all other rows stay.

    Inputs: the cache ``[*, C, *]``, the new rows ``[*, S, *]``. Where the result lies in the memory of the cache, only
    the new rows are written.
    """

    axis: int
    start: Dim
    kind: ClassVar[Kind] = "opaque"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2)
        cache, rows = inputs
        expect_axis(self, self.axis, cache.rank)
        expect_same_dtype(self, inputs, ("cache", "rows"))
        wanted = f"rows: expected {show(cache.shape)} but for axis {self.axis}, found {show(rows.shape)}"
        expect(rows.rank == cache.rank, self, wanted)
        for axis, (wide, own) in enumerate(zip(cache.shape, rows.shape, strict=True)):
            if axis != self.axis:
                expect_equal(wide, own, self, wanted)
        return cache

    def reference(self, *inputs: Array) -> Array:
        cache, rows = (np.moveaxis(array, self.axis, 0) for array in inputs)
        start, result = tuning_value(self.start), cache.copy()
        first, last = max(start, 0), min(start + len(rows), len(cache))
        if first < last:
            result[first:last] = rows[first - start : last - start]
        return np.moveaxis(result, 0, self.axis)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        cache, rows = inputs
        variables = variables_for(output.shape)
        index = positions(variables)
        at = index[self.axis] - self.start
        guard = all_of(inside(at, rows.shape[self.axis]))
        new = Load(1, (*index[: self.axis], at, *index[self.axis + 1 :]), rows.dtype, guard)
        if guard is None:
            return Computation(variables, new)
        return Computation(variables, call("select", guard, new, Load(0, index, cache.dtype)))


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
