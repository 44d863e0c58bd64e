"""Pooling: the largest, the mean or the p-norm of the elements under a sliding window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from tensorwright.graph.expression import Computation, Load, Scalar, all_of, variables_for
from tensorwright.graph.op import Array, Kind, Op, expect, expect_inputs
from tensorwright.ops.checks import expect_extent, expect_float, expect_rank, show
from tensorwright.ops.mathematics import (
    accumulator,
    call,
    constant,
    convert,
    lowest,
    positions,
    reciprocal,
    reduce_over,
)
from tensorwright.ops.windows import Ints, expect_per_axis, sliding_windows, span, window_count, window_guard
from tensorwright.tensor.dim import Dim, ceil_divide, is_static, maximum, minimum, upper_bound
from tensorwright.tensor.dtype import BOOL, DType, dtype_of
from tensorwright.tensor.type import TensorType

Mode = Literal["max", "average", "lp"]


@dataclass(frozen=True, eq=False)
class Pool(Op):
    """One element of the output for every position of a window over the spatial axes of x ``[N, C, *S]``.

    Modes: *max*; *average*, of the elements inside the input, or inside input and padding with `count_include_pad`;
    *lp*, ``(Σ |x|^p)^(1/p)``. With `ceil_mode` a last window may reach over the end (see `window_count`); elements
    beyond input and padding never count. All other attributes have one value per spatial axis.
    """

    mode: Mode
    window: Ints
    strides: Ints
    pads_begin: Ints
    pads_end: Ints
    dilations: Ints
    ceil_mode: bool = False
    count_include_pad: bool = False
    p: int = 2
    kind: ClassVar[Kind] = "reduction"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        (x,) = inputs
        expect_rank(self, x, 3, 5)
        expect(self.mode in ("max", "average", "lp"), self, f"mode: expected max, average or lp, found {self.mode}")
        if self.mode == "max":
            expect(x.dtype != BOOL, self, "input x: expected numbers, found bool; cast it")
        else:
            expect_float(self, x)
        spatial = x.rank - 2
        expect_per_axis(self, spatial, 1, window=self.window, strides=self.strides, dilations=self.dilations)
        expect_per_axis(self, spatial, 0, pads_begin=self.pads_begin, pads_end=self.pads_end)
        shape = tuple(self._count(axis, extent) for axis, extent in enumerate(x.shape[2:]))
        for axis, extent in enumerate(shape):
            expect_extent(self, extent, f"spatial axis {axis} of x {show(x.shape)}, window {self.window}")
        return TensorType(x.dtype, (*x.shape[:2], *shape))

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        if self.mode == "max":
            return np.asarray(self._windows(x, lowest(dtype_of(x.dtype))).max(axis=self._tail))
        if self.mode == "lp":
            powers = np.abs(x.astype(np.float64)) ** self.p
            return np.asarray(self._windows(powers, 0).astype(np.float64).sum(axis=self._tail) ** (1 / self.p))
        counted = np.ones(x.shape[2:])
        if self.count_include_pad:
            counted = np.pad(counted, list(zip(self.pads_begin, self.pads_end, strict=True)), constant_values=1)
            counts = self._windows(counted, 0, padded=True).astype(np.float64)
        else:
            counts = self._windows(counted, 0).astype(np.float64)
        sums = self._windows(x, 0).astype(np.float64).sum(axis=self._tail)
        return np.asarray(sums / counts.sum(axis=self._tail))

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        (x,) = inputs
        variables = variables_for(output.shape)
        reduced = variables_for(self.window, "r")
        n, c, *spatial = positions(variables)
        starts = [i * s - b for i, s, b in zip(spatial, self.strides, self.pads_begin, strict=True)]
        sources = [start + k * d for start, k, d in zip(starts, positions(reduced), self.dilations, strict=True)]
        guards: list[Scalar] = []
        for axis, source in enumerate(sources):
            guards += window_guard(source, x.shape[2 + axis], self.pads_begin[axis], self._reaches_beyond(axis))
        outside = lowest(x.dtype) if self.mode == "max" else 0
        element = Load(0, (n, c, *sources), x.dtype, all_of(guards), outside)
        if self.mode == "max":
            return Computation(variables, reduce_over("max", reduced, element))
        wide = accumulator(x.dtype)
        value = convert(element, wide)
        if self.mode == "lp":
            total = reduce_over("add", reduced, _power(call("abs", value), self.p))
            return Computation(variables, convert(_root(total, self.p), x.dtype))
        mean = reduce_over("add", reduced, value)
        for factor in self._reciprocal_counts(starts, x, wide):
            mean = call("mul", mean, factor)
        return Computation(variables, convert(mean, x.dtype))

    def _count(self, axis: int, extent: Dim) -> Dim:
        return window_count(
            extent,
            self.window[axis],
            self.strides[axis],
            self.pads_begin[axis],
            self.pads_end[axis],
            self.dilations[axis],
            self.ceil_mode,
        )

    def _reaches_beyond(self, axis: int) -> bool:
        return self.pads_end[axis] > 0 or self.ceil_mode

    def _reciprocal_counts(self, starts: Sequence[Dim], x: TensorType, dtype: DType) -> list[Scalar]:
        """One over the number of elements that count, per axis; the constant ones in one factor."""
        counts = [self._counted(axis, start, x.shape[2 + axis]) for axis, start in enumerate(starts)]
        fixed = 1
        for count in counts:
            fixed *= count if isinstance(count, int) else 1
        varying = [reciprocal(count, dtype) for count in counts if not is_static(count)]
        return varying + ([reciprocal(fixed, dtype)] if fixed != 1 else [])

    def _counted(self, axis: int, start: Dim, extent: Dim) -> Dim:
        """How many elements of the window that starts at `start` count: an interval of its taps."""
        dilation, window = self.dilations[axis], self.window[axis]
        before, after = self.pads_begin[axis], self.pads_end[axis]
        first: Dim = 0
        end: Dim = window
        if before > 0 and not self.count_include_pad:
            first = maximum(0, ceil_divide(0 - start, dilation))
        if self.count_include_pad and self.ceil_mode:
            end = minimum(window, ceil_divide(extent + after - start, dilation))
        elif not self.count_include_pad and self._reaches_beyond(axis):
            end = minimum(window, ceil_divide(extent - start, dilation))
        return end - first

    @property
    def _tail(self) -> Ints:
        return tuple(range(-len(self.window), 0))

    def _windows(self, x: Array, fill: float, padded: bool = False) -> Array:
        """Views of all windows; with `padded`, x holds the padding already."""
        spatial = len(self.window)
        before = (0,) * spatial if padded else self.pads_begin
        after, counts = [], []
        for axis, extent in enumerate(x.shape[-spatial:]):
            inner = extent - (self.pads_begin[axis] + self.pads_end[axis] if padded else 0)
            count = upper_bound(self._count(axis, inner))
            reach = (count - 1) * self.strides[axis] + upper_bound(span(self.window[axis], self.dilations[axis]))
            after.append(max(0 if padded else self.pads_end[axis], reach - extent - before[axis]))
            counts.append(slice(count))
        view = sliding_windows(x, self.window, self.strides, before, tuple(after), self.dilations, fill)
        return view[(*[slice(None)] * (x.ndim - spatial), *counts)]


def _power(scalar: Scalar, exponent: int) -> Scalar:
    if exponent == 1:
        return scalar
    return call("mul", scalar, scalar) if exponent == 2 else call("pow", scalar, constant(exponent, scalar.dtype))


def _root(scalar: Scalar, exponent: int) -> Scalar:
    if exponent == 1:
        return scalar
    if exponent == 2:
        return call("sqrt", scalar)
    return call("pow", scalar, constant(1 / exponent, scalar.dtype))
