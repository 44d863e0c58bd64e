"""Convolution and its transpose, over one to three spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import ClassVar

import numpy as np

from tensorwright.graph.expression import Computation, Load, Scalar, Variable, all_of, compare, inside, variables_for
from tensorwright.graph.op import Array, Kind, Op, expect, expect_inputs
from tensorwright.ops.checks import expect_extent, expect_factors, expect_rank, expect_shape, show
from tensorwright.ops.mathematics import accumulator, call, convert, positions, reduce_over, widened
from tensorwright.ops.windows import Ints, expect_per_axis, sliding_windows, span, window_count, window_guard
from tensorwright.tensor.dim import Dim, floor_divide, is_static, remainder, upper_bound
from tensorwright.tensor.dtype import DType
from tensorwright.tensor.type import TensorType


@dataclass(frozen=True, eq=False)
class Convolution(Op):
    """``y[n, o, s] = Σ x[n, c, s · stride + k · dilation − pad] w[o, c, k] (+ bias[o])``, c in the group of o.

    Inputs: x ``[N, C, *S]``, weights ``[O, C/groups, *K]``, optionally bias ``[O]``. Output: ``[N, O, *T]``. All
    attributes but `groups` have one value per spatial axis. Integers of 8 bits, which may be signed on one side alone,
    give int32, as the bias is then.
    """

    strides: Ints
    pads_begin: Ints
    pads_end: Ints
    dilations: Ints
    groups: int = 1
    kind: ClassVar[Kind] = "anchor"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2, 3)
        x, weights = inputs[:2]
        dtype = _expect_operands(self, inputs, self.strides, self.dilations)
        expect_per_axis(self, x.rank - 2, 0, pads_begin=self.pads_begin, pads_end=self.pads_end)
        expect(self.groups >= 1, self, f"groups: expected at least 1, found {self.groups}")
        outputs, channels = weights.shape[:2]
        expect(
            x.shape[1] == channels * self.groups,
            self,
            f"input weights: expected [O, C/groups, ...] = [O, {x.shape[1]}/{self.groups}, ...] for x "
            f"{show(x.shape)}, found {show(weights.shape)}",
        )
        expect(
            outputs % self.groups == 0,
            self,
            f"input weights: expected a multiple of groups={self.groups} output channels, found {outputs}",
        )
        if len(inputs) == 3:
            expect_shape(self, inputs[2], (outputs,), "bias")
        extents = zip(
            x.shape[2:], weights.shape[2:], self.strides, self.pads_begin, self.pads_end, self.dilations, strict=True
        )
        shape = tuple(window_count(n, k, s, b, a, d) for n, k, s, b, a, d in extents)
        for axis, extent in enumerate(shape):
            expect_extent(self, extent, f"spatial axis {axis} of x {show(x.shape)}, weights {show(weights.shape)}")
        return TensorType(dtype, (x.shape[0], outputs, *shape))

    def reference(self, *inputs: Array) -> Array:
        x, weights = map(widened, inputs[:2])
        groups, kernel = self.groups, weights.shape[2:]
        if 0 in (empty := self._empty_shape(x, weights)):
            return np.zeros(empty, x.dtype)
        outputs = weights.shape[0] // groups
        matrices = weights.reshape(groups, outputs, prod(weights.shape[1:]))
        images = []
        for image in x:
            view = sliding_windows(image, kernel, self.strides, self.pads_begin, self.pads_end, self.dilations, 0)
            spatial = view.shape[1 : 1 + len(kernel)]
            columns = np.moveaxis(view, range(1, 1 + len(kernel)), range(-len(kernel), 0))
            columns = columns.reshape(groups, matrices.shape[2], prod(spatial))
            images.append(np.matmul(matrices, columns).reshape(groups * outputs, *spatial))
        return _with_bias(np.stack(images), inputs)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        x, weights = inputs[:2]
        per_group = floor_divide(weights.shape[0], self.groups)
        variables = variables_for(output.shape)
        reduced = variables_for(weights.shape[1:], "r")
        n, o, *spatial = positions(variables)
        channel, *taps = positions(reduced)
        sources = [
            i * s + k * d - b
            for i, k, s, d, b in zip(spatial, taps, self.strides, self.dilations, self.pads_begin, strict=True)
        ]
        guards: list[Scalar] = []
        for source, extent, before, after in zip(sources, x.shape[2:], self.pads_begin, self.pads_end, strict=True):
            guards += window_guard(source, extent, before, after > 0)
        group = floor_divide(o, per_group) if self.groups > 1 else 0
        pixel = Load(0, (n, group * weights.shape[1] + channel, *sources), x.dtype, all_of(guards))
        weight = Load(1, (o, channel, *taps), weights.dtype)
        return Computation(variables, _product_sum(reduced, pixel, weight, o, inputs, output.dtype))

    def _empty_shape(self, x: Array, weights: Array) -> Ints:
        extents = zip(
            x.shape[2:], weights.shape[2:], self.strides, self.pads_begin, self.pads_end, self.dilations, strict=True
        )
        return (x.shape[0], weights.shape[0], *(upper_bound(window_count(*extent)) for extent in extents))


@dataclass(frozen=True, eq=False)
class Deconvolution(Op):
    """The transpose of a convolution: every input element adds its multiple of the kernel to the output.

    Inputs: x ``[N, C, *S]``, weights ``[C, O/groups, *K]``, optionally bias ``[O]``. Output: ``[N, O, *T]`` with
    ``T = (S - 1) stride + (K - 1) dilation + 1 + output_padding - pads``. A negative `pads_end` widens the output.
    """

    strides: Ints
    pads_begin: Ints
    pads_end: Ints
    dilations: Ints
    groups: int
    output_padding: Ints
    kind: ClassVar[Kind] = "anchor"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2, 3)
        x, weights = inputs[:2]
        dtype = _expect_operands(self, inputs, self.strides, self.dilations)
        spatial = x.rank - 2
        expect_per_axis(self, spatial, 0, pads_begin=self.pads_begin, output_padding=self.output_padding)
        found = f"pads_end: expected {spatial} values, one per spatial axis, found {self.pads_end}"
        expect(len(self.pads_end) == spatial, self, found)
        expect(self.groups >= 1, self, f"groups: expected at least 1, found {self.groups}")
        channels, outputs = weights.shape[:2]
        expect(
            x.shape[1] == channels and channels % self.groups == 0,
            self,
            f"input weights: expected [C, O/groups, ...] with C = {x.shape[1]}, a multiple of groups={self.groups}, "
            f"as in x {show(x.shape)}, found {show(weights.shape)}",
        )
        if len(inputs) == 3:
            expect_shape(self, inputs[2], (outputs * self.groups,), "bias")
        shape = tuple(self._extent(axis, x.shape[2 + axis], weights.shape[2 + axis]) for axis in range(spatial))
        for axis, extent in enumerate(shape):
            expect_extent(self, extent, f"spatial axis {axis} of x {show(x.shape)}, weights {show(weights.shape)}")
        return TensorType(dtype, (x.shape[0], outputs * self.groups, *shape))

    def reference(self, *inputs: Array) -> Array:
        x, weights = inputs[:2]
        groups, spatial = self.groups, x.ndim - 2
        per_group, outputs = x.shape[1] // groups, weights.shape[1]
        grouped = x.reshape(x.shape[0], groups, per_group, prod(x.shape[2:]))
        kernels = np.swapaxes(weights.reshape(groups, per_group, outputs, prod(weights.shape[2:])), 1, 2)
        full = [
            (n - 1) * s + (k - 1) * d + 1
            for n, k, s, d in zip(x.shape[2:], weights.shape[2:], self.strides, self.dilations, strict=True)
        ]
        kept = [upper_bound(self._extent(axis, x.shape[2 + axis], weights.shape[2 + axis])) for axis in range(spatial)]
        room = [max(f, b + n) for f, b, n in zip(full, self.pads_begin, kept, strict=True)]
        canvas = np.zeros((x.shape[0], groups, outputs, *room), np.result_type(x, weights))
        for number, tap in enumerate(product(*map(range, weights.shape[2:])) if x.size else ()):
            part = np.matmul(kernels[..., number], grouped).reshape(x.shape[0], groups, outputs, *x.shape[2:])
            touched = [
                slice(k * d, k * d + (n - 1) * s + 1, s)
                for k, d, s, n in zip(tap, self.dilations, self.strides, x.shape[2:], strict=True)
            ]
            canvas[(slice(None), slice(None), slice(None), *touched)] += part
        crop = [slice(b, b + n) for b, n in zip(self.pads_begin, kept, strict=True)]
        result = canvas[(slice(None), slice(None), slice(None), *crop)].reshape(x.shape[0], groups * outputs, *kept)
        return _with_bias(result, inputs)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        x, weights = inputs[:2]
        variables = variables_for(output.shape)
        channels, outputs = floor_divide(x.shape[1], self.groups), weights.shape[1]
        axes = [self._axis(axis, weights.shape[2 + axis]) for axis in range(x.rank - 2)]
        reduced = (Variable("r0", channels), *(Variable(f"r{1 + axis}", count) for axis, count in enumerate(axes)))
        n, o, *spatial = positions(variables)
        channel, *steps = positions(reduced)
        group = floor_divide(o, outputs) if self.groups > 1 else 0
        sources: list[Dim] = []
        taps: list[Dim] = []
        guards: list[Scalar] = []
        for axis, (at, step) in enumerate(zip(spatial, steps, strict=True)):
            source, tap, conditions = self._meeting(axis, at, step, x.shape[2 + axis], weights.shape[2 + axis])
            sources.append(source)
            taps.append(tap)
            guards += conditions
        guard = all_of(guards)
        pixel = Load(0, (n, group * channels + channel, *sources), x.dtype, guard)
        weight = Load(1, (group * channels + channel, remainder(o, outputs), *taps), weights.dtype, guard)
        return Computation(variables, _product_sum(reduced, pixel, weight, o, inputs, output.dtype))

    def _extent(self, axis: int, extent: Dim, window: Dim) -> Dim:
        pads = self.pads_begin[axis] + self.pads_end[axis]
        reach = span(window, self.dilations[axis]) + self.output_padding[axis]
        return (extent - 1) * self.strides[axis] + reach - pads

    def _axis(self, axis: int, window: Dim) -> Dim:
        """How many kernel elements may meet one output element: with dilation 1 every stride-th."""
        stride = self.strides[axis]
        return window if self.dilations[axis] > 1 else floor_divide(window + (stride - 1), stride)

    def _meeting(self, axis: int, at: Dim, step: Dim, extent: Dim, window: Dim) -> tuple[Dim, Dim, list[Scalar]]:
        """Input index and kernel index that meet at an output index, and the conditions under which they do."""
        stride, dilation = self.strides[axis], self.dilations[axis]
        at = at + self.pads_begin[axis]
        if dilation > 1:
            scaled = at - step * dilation
            conditions = [] if stride == 1 else [compare("equal", remainder(scaled, stride), 0)]
            source = floor_divide(scaled, stride)
            return source, step, conditions + inside(source, extent)
        tap = remainder(at, stride) + step * stride
        whole = is_static(window) and remainder(window, stride) == 0
        source = floor_divide(at, stride) - step
        return source, tap, ([] if whole else [compare("less", tap, window)]) + inside(source, extent)


def _expect_operands(op: Op, inputs: Sequence[TensorType], strides: Ints, dilations: Ints) -> DType:
    x, weights = inputs[:2]
    expect_rank(op, x, 3, 5)
    expect_rank(op, weights, x.rank, input="weights")
    expect_per_axis(op, x.rank - 2, 1, strides=strides, dilations=dilations)
    return expect_factors(op, inputs, ("x", "weights", "bias"))


def _product_sum(
    variables: tuple[Variable, ...],
    pixel: Load,
    weight: Load,
    output_channel: Dim,
    inputs: Sequence[TensorType],
    dtype: DType,
) -> Scalar:
    wide = accumulator(dtype)
    total = reduce_over("add", variables, call("mul", convert(pixel, wide), convert(weight, wide)))
    if len(inputs) == 3:
        total = call("add", total, convert(Load(2, (output_channel,), dtype), wide))
    return convert(total, dtype)


def _with_bias(result: Array, inputs: tuple[Array, ...]) -> Array:
    if len(inputs) < 3:
        return result
    return np.add(result, inputs[2].reshape(-1, *[1] * (result.ndim - 2)))
