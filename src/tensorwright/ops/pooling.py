"""Pooling: the largest, the mean or the p-norm of the elements under a sliding window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from tensorwright.graph.expression import Computation, Load, Scalar, all_of, compare, inside, variables_for
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
from tensorwright.tensor.dim import Dim, ceil_divide, is_static, maximum, minimum, remainder, upper_bound
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
        expect(self.p >= 1, self, f"p: expected at least 1, found {self.p}")
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

    @property
    def windows_meet_input(self) -> bool:
        """Whether every window certainly has an element of x, if x has any: none lies in the padding alone."""
        sizes = zip(self.window, self.strides, self.dilations, self.pads_begin, self.pads_end, strict=True)
        return all(
            (before == 0 or (before < size and dilation == 1))
            and after + (stride - 1) * self.ceil_mode <= (size - 1) * dilation
            for size, stride, dilation, before, after in sizes
        )

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        if self.mode == "max":
            return np.asarray(self._windows(x, lowest(dtype_of(x.dtype))).max(axis=self._tail))
        if self.mode == "lp":
            powers = np.abs(x.astype(np.float64)) ** self.p
            return np.asarray(self._windows(powers, 0).astype(np.float64).sum(axis=self._tail) ** (1 / self.p))
        sums = self._windows(x, 0).astype(np.float64).sum(axis=self._tail)
        with np.errstate(invalid="ignore"):
            return np.asarray(sums / self._counts(x.shape[2:]))

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        (x,) = inputs
        variables = variables_for(output.shape)
        n, c, *spatial = positions(variables)
        starts = [i * s - b for i, s, b in zip(spatial, self.strides, self.pads_begin, strict=True)]
        walks = [self._walk(axis, x.shape[2 + axis], output.shape[2 + axis]) for axis in range(len(spatial))]
        reduced = variables_for(tuple(walk.count for walk in walks), "r")
        sources, guards = list[Dim](), list[Scalar]()
        for walk, start, number in zip(walks, starts, positions(reduced), strict=True):
            source, conditions = walk.at(start, number)
            sources.append(source)
            guards += conditions
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

    def taps(self, axis: int, extent: Dim, count: Dim) -> range:
        """The taps along a spatial axis under which something counts at some of `count` positions; at least one.

        They are no more than the input of an extent and its padding are long, however large the window is.
        """
        before, dilation = self.pads_begin[axis], self.dilations[axis]
        low, high = (-before, self.pads_end[axis]) if self.count_include_pad else (0, 0)
        end = min(self.window[axis], -(-(upper_bound(extent) + high + before) // dilation))
        first = max(0, -(((upper_bound(count) - 1) * self.strides[axis] - before - low) // dilation))
        return range(min(first, end - 1), end) if end > 0 else range(1)

    def _walk(self, axis: int, extent: Dim, count: Dim) -> _Walk:
        """Over the taps along an axis, or over the input if it is shorter."""
        taps = self.taps(axis, extent, count)
        if isinstance(extent, int) and 0 < extent < len(taps):
            return _InputWalk(extent, self.window[axis], self.dilations[axis])
        before, beyond = self.pads_begin[axis], self._reaches_beyond(axis)
        return _TapWalk(taps, self.dilations[axis], extent, before, beyond)

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

    def _counts(self, extents: Sequence[int]) -> Array:
        """How many elements of every window count in a mean: the product of those along each axis."""
        counts = np.ones(())
        for axis, extent in enumerate(extents):
            before, after = self.pads_begin[axis], self.pads_end[axis]
            starts = np.arange(upper_bound(self._count(axis, extent))) * self.strides[axis] - before
            low, high = (-before, extent + after) if self.count_include_pad else (0, extent)
            first, end = (-((starts - edge) // self.dilations[axis]) for edge in (low, high))
            taps = np.clip(end, 0, self.window[axis]) - np.clip(first, 0, self.window[axis])
            counts = np.multiply.outer(counts, taps.astype(np.float64))
        return counts

    def _windows(self, x: Array, fill: float) -> Array:
        """Views of all windows, without the taps that read nothing anywhere."""
        spatial = len(self.window)
        window, before, after, counts = [], [], [], []
        for axis, extent in enumerate(x.shape[2:]):
            count = upper_bound(self._count(axis, extent))
            taps, dilation = self.taps(axis, extent, count), self.dilations[axis]
            skipped = taps.start * dilation - self.pads_begin[axis]
            x = np.moveaxis(np.moveaxis(x, 2 + axis, 0)[max(0, skipped) :], 0, 2 + axis)
            reach = (count - 1) * self.strides[axis] + upper_bound(span(len(taps), dilation))
            window.append(len(taps))
            before.append(max(0, -skipped))
            after.append(max(0, reach - x.shape[2 + axis] - before[-1]))
            counts.append(slice(count))
        view = sliding_windows(x, tuple(window), self.strides, tuple(before), tuple(after), self.dilations, fill)
        return view[(*[slice(None)] * (x.ndim - spatial), *counts)]


@dataclass(frozen=True)
class _TapWalk:
    """Taps of a window, one after the other; see `Pool.taps` and `window_guard`."""

    taps: range
    dilation: int
    extent: Dim
    before: int
    beyond: bool

    @property
    def count(self) -> int:
        return len(self.taps)

    def at(self, start: Dim, number: Dim) -> tuple[Dim, list[Scalar]]:
        """The index into the input of a tap of the window that begins at `start`, and when it counts."""
        source = start + (number + self.taps.start) * self.dilation
        return source, window_guard(source, self.extent, self.before, self.beyond)


@dataclass(frozen=True)
class _InputWalk:
    """All elements of the input along an axis, whether they are under a tap or not."""

    count: int
    window: int
    dilation: int

    def at(self, start: Dim, number: Dim) -> tuple[Dim, list[Scalar]]:
        """The index of an element, and when it is under a tap of the window that begins at `start`."""
        offset = number - start
        between = compare("equal", remainder(offset, self.dilation), 0)
        return number, inside(offset, self.window * self.dilation) + [between] * (self.dilation > 1)


_Walk = _TapWalk | _InputWalk


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
