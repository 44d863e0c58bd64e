"""Normalisations: each element is shifted and scaled by statistics of the elements around it.

Definitions multiply by a reciprocal, which needs computing once for all elements that share the statistics. Two-byte
floats are computed in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tensorwright.graph.expression import Computation, Load, Scalar, Variable, all_of, inside, variables_for
from tensorwright.graph.op import Array, Kind, Op, expect, expect_inputs
from tensorwright.ops.broadcast import load_broadcast
from tensorwright.ops.checks import (
    expect_axis,
    expect_broadcast_to,
    expect_float,
    expect_rank,
    expect_same_dtype,
    expect_shape,
)
from tensorwright.ops.elementwise import Elementwise
from tensorwright.ops.mathematics import (
    accumulator,
    call,
    constant,
    convert,
    position,
    positions,
    reduce_over,
    square,
)
from tensorwright.ops.reduction import mean_of
from tensorwright.tensor.dim import Dim, floor_divide, product, upper_bound
from tensorwright.tensor.dtype import DType
from tensorwright.tensor.type import TensorType

Index = tuple[Dim, ...]
Source = Callable[[Index], Index]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _OverAxis(Op):
    """Base of the normalisations of x along one axis, without parameters."""

    axis: int
    kind: ClassVar[Kind] = "reduction"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        expect_float(self, inputs[0])
        expect_axis(self, self.axis, inputs[0].rank)
        return inputs[0]

    def _element(self, x: TensorType, index: Sequence[Dim], at: Dim) -> Scalar:
        source = (*index[: self.axis], at, *index[self.axis + 1 :])
        return convert(Load(0, source, x.dtype), accumulator(x.dtype))

    def _shifted_sum(self, x: TensorType, index: Sequence[Dim]) -> tuple[Scalar, Scalar]:
        """The element minus the largest along the axis, and the sum of the exponentials of all such differences."""
        extent = x.shape[self.axis]
        first, second = Variable("r0", extent), Variable("r1", extent)
        largest = reduce_over("max", (first,), self._element(x, index, position(first)))
        other = call("exp", call("sub", self._element(x, index, position(second)), largest))
        own = call("sub", self._element(x, index, index[self.axis]), largest)
        return own, reduce_over("add", (second,), other)


@dataclass(frozen=True, eq=False)
class Softmax(_OverAxis):
    """``exp(x - max) / Σ exp(x - max)`` along an axis."""

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        e = np.exp(x - x.max(axis=self.axis, keepdims=True, initial=-np.inf))
        return np.asarray(e / e.sum(axis=self.axis, keepdims=True))

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        variables = variables_for(output.shape)
        own, total = self._shifted_sum(inputs[0], positions(variables))
        result = call("mul", call("exp", own), call("div", constant(1, total.dtype), total))
        return Computation(variables, convert(result, output.dtype))


@dataclass(frozen=True, eq=False)
class LogSoftmax(_OverAxis):
    """``x - max - log Σ exp(x - max)`` along an axis."""

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        shifted = x - x.max(axis=self.axis, keepdims=True, initial=-np.inf)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=self.axis, keepdims=True)))

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        variables = variables_for(output.shape)
        own, total = self._shifted_sum(inputs[0], positions(variables))
        return Computation(variables, convert(call("sub", own, call("log", total)), output.dtype))


@dataclass(frozen=True, eq=False)
class LpNormalization(_OverAxis):
    """``x / ‖x‖_p`` along an axis, p 1 or 2; 0 where the norm is 0."""

    p: int = 2

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect(self.p in (1, 2), self, f"p: expected 1 or 2, found {self.p}")
        return super().infer(inputs)

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        norm = np.linalg.norm(x, ord=self.p, axis=self.axis, keepdims=True)
        return np.where(norm == 0, 0, x / np.where(norm == 0, 1, norm))

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        (x,) = inputs
        variables = variables_for(output.shape)
        index = positions(variables)
        running = Variable("r0", x.shape[self.axis])
        other = self._element(x, index, position(running))
        total = reduce_over("add", (running,), square(other) if self.p == 2 else call("abs", other))
        norm = call("sqrt", total) if self.p == 2 else total
        zero, one = constant(0, norm.dtype), constant(1, norm.dtype)
        factor = call("select", call("equal", norm, zero), zero, call("div", one, norm))
        own = self._element(x, index, index[self.axis])
        return Computation(variables, convert(call("mul", own, factor), output.dtype))


@dataclass(frozen=True, eq=False)
class LayerNormalization(Op):
    """``(x - mean) / √(variance + epsilon) · scale (+ bias)`` with statistics over the axes from `axis` on.

    Inputs: x, scale, optionally bias; scale and bias broadcast to the normalised axes.
    """

    axis: int
    epsilon: float = 1e-5
    kind: ClassVar[Kind] = "reduction"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2, 3)
        return _infer_trailing(self, inputs, self.axis)

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        axes = tuple(range(self.axis, x.ndim))
        return _affine(_standardised(x, axes, self.epsilon), inputs)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        variables = variables_for(output.shape)
        index = positions(variables)
        tail = inputs[0].shape[self.axis :]
        own, inverse = _statistics(inputs[0], index, tail, lambda inner: (*index[: self.axis], *inner), self.epsilon)
        parameters = [load_broadcast(number, type, index) for number, type in enumerate(inputs) if number]
        return Computation(variables, _scaled(call("mul", own, inverse), parameters, output.dtype))


@dataclass(frozen=True, eq=False)
class RmsNormalization(Op):
    """``x / √(mean(x²) + epsilon) · scale`` over the axes from `axis` on.

    Inputs: x, scale, which broadcasts to the normalised axes.
    """

    axis: int
    epsilon: float = 1e-5
    kind: ClassVar[Kind] = "reduction"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 2)
        return _infer_trailing(self, inputs, self.axis)

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        mean = np.mean(x * x, axis=tuple(range(self.axis, x.ndim)), keepdims=True)
        return _affine(x / np.sqrt(mean + self.epsilon), inputs)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        x, scale = inputs
        variables = variables_for(output.shape)
        index = positions(variables)
        wide = accumulator(x.dtype)
        reduced = variables_for(x.shape[self.axis :], "r")
        other = convert(Load(0, (*index[: self.axis], *positions(reduced)), x.dtype), wide)
        mean = mean_of(reduce_over("add", reduced, square(other)), product(x.shape[self.axis :]))
        own = convert(Load(0, index, x.dtype), wide)
        normal = call("mul", own, _inverse_root(mean, self.epsilon))
        return Computation(variables, _scaled(normal, [load_broadcast(1, scale, index)], output.dtype))


@dataclass(frozen=True, eq=False)
class InstanceNormalization(Op):
    """``(x - mean) / √(variance + epsilon) · scale[c] + bias[c]``, statistics of one channel of one image.

    Inputs: x ``[N, C, *S]``, scale ``[C]``, bias ``[C]``.
    """

    epsilon: float = 1e-5
    kind: ClassVar[Kind] = "reduction"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 3)
        return _infer_channelwise(self, inputs, ("x", "scale", "bias"), 3)

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        return _affine(_standardised(x, tuple(range(2, x.ndim)), self.epsilon), _per_channel(inputs))

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        variables = variables_for(output.shape)
        index = positions(variables)
        own, inverse = _statistics(
            inputs[0], index, inputs[0].shape[2:], lambda inner: (*index[:2], *inner), self.epsilon
        )
        return Computation(variables, _scaled(call("mul", own, inverse), _channel_loads(inputs, index), output.dtype))


@dataclass(frozen=True, eq=False)
class GroupNormalization(Op):
    """``(x - mean) / √(variance + epsilon) · scale[c] + bias[c]``, statistics of C/groups channels of one image.

    Inputs: x ``[N, C, *S]``, scale ``[C]``, bias ``[C]``.
    """

    groups: int
    epsilon: float = 1e-5
    kind: ClassVar[Kind] = "reduction"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 3)
        result = _infer_channelwise(self, inputs, ("x", "scale", "bias"), 2)
        channels = inputs[0].shape[1]
        expect(
            self.groups >= 1 and channels % self.groups == 0,
            self,
            f"groups: expected a divisor of the {channels} channels, found {self.groups}",
        )
        return result

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        grouped = x.reshape(x.shape[0], self.groups, prod(x.shape[1:]) // self.groups)
        normal = _standardised(grouped, (2,), self.epsilon).reshape(x.shape)
        return _affine(normal, _per_channel(inputs))

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        (x, _, _) = inputs
        variables = variables_for(output.shape)
        index = positions(variables)
        size = floor_divide(x.shape[1], self.groups)
        first = floor_divide(index[1], size) * size
        own, inverse = _statistics(
            x, index, (size, *x.shape[2:]), lambda inner: (index[0], first + inner[0], *inner[1:]), self.epsilon
        )
        return Computation(variables, _scaled(call("mul", own, inverse), _channel_loads(inputs, index), output.dtype))


@dataclass(frozen=True, eq=False)
class BatchNormalization(Elementwise):
    """``(x - mean[c]) · scale[c] / √(variance[c] + epsilon) + bias[c]`` for channels along axis 1.

    Inputs: x ``[N, C, *S]``, scale, bias, mean, variance, each ``[C]``.
    """

    epsilon: float = 1e-5

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 5)
        return _infer_channelwise(self, inputs, ("x", "scale", "bias", "mean", "variance"), 2)

    def reference(self, *inputs: Array) -> Array:
        x, scale, bias, mean, variance = (a.astype(np.float64) for a in _per_channel(inputs))
        return np.asarray((x - mean) / np.sqrt(variance + self.epsilon) * scale + bias)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        variables = variables_for(output.shape)
        index = positions(variables)
        loads = [Load(0, index, output.dtype), *_channel_loads(inputs, index)]
        return Computation(variables, self.scalar(loads, output))

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        wide = accumulator(output.dtype)
        x, scale, bias, mean, variance = (convert(operand, wide) for operand in operands)
        factor = call("mul", scale, _inverse_root(variance, self.epsilon))
        return convert(call("add", call("mul", call("sub", x, mean), factor), bias), output.dtype)


@dataclass(frozen=True, eq=False)
class LocalResponseNormalization(Op):
    """``x / (bias + alpha / size · Σ x²)^beta``, the sum over `size` channels around each one.

    The window has ``(size - 1) // 2`` channels before the element and ``size // 2`` after it.
    """

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    bias: float = 1.0
    kind: ClassVar[Kind] = "reduction"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        expect_float(self, inputs[0])
        expect_rank(self, inputs[0], 2, 64)
        expect(self.size >= 1, self, f"size: expected at least 1, found {self.size}")
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        x = inputs[0].astype(np.float64)
        before, after = self._reach(x.shape[1])
        squares = np.pad(x * x, [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)])
        window = sum(squares[:, tap : tap + x.shape[1]] for tap in range(before + 1 + after))
        return np.asarray(x / (self.bias + self.alpha / self.size * window) ** self.beta)

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        (x,) = inputs
        variables = variables_for(output.shape)
        index = positions(variables)
        wide = accumulator(x.dtype)
        before, after = self._reach(x.shape[1])
        tap = Variable("r0", before + 1 + after)
        channel = index[1] + position(tap) - before
        source = (index[0], channel, *index[2:])
        other = convert(Load(0, source, x.dtype, all_of(inside(channel, x.shape[1]))), wide)
        total = reduce_over("add", (tap,), square(other))
        base = call("add", constant(self.bias, wide), call("mul", constant(self.alpha / self.size, wide), total))
        own = convert(Load(0, index, x.dtype), wide)
        return Computation(variables, convert(call("div", own, _power(base, self.beta)), output.dtype))

    def _reach(self, channels: Dim) -> tuple[int, int]:
        """How many channels before and after an element its window has, of so many that there are."""
        most = max(upper_bound(channels) - 1, 0)
        return min((self.size - 1) // 2, most), min(self.size // 2, most)


def _infer_trailing(op: Op, inputs: Sequence[TensorType], axis: int) -> TensorType:
    x = inputs[0]
    expect_float(op, x)
    expect_same_dtype(op, inputs, ("x", "scale", "bias"))
    expect_axis(op, axis, x.rank)
    for name, type in zip(("scale", "bias"), inputs[1:], strict=False):
        expect_broadcast_to(op, type, x.shape, name)
    return x


def _infer_channelwise(op: Op, inputs: Sequence[TensorType], names: Sequence[str], rank: int) -> TensorType:
    x = inputs[0]
    expect_float(op, x)
    expect_same_dtype(op, inputs, names)
    expect_rank(op, x, rank, 64)
    for name, type in zip(names[1:], inputs[1:], strict=True):
        expect_shape(op, type, (x.shape[1],), name)
    return x


def _statistics(x: TensorType, index: Index, extents: Index, source: Source, epsilon: float) -> tuple[Scalar, Scalar]:
    """The element minus the mean, and one over the standard deviation.

    Both are taken over the elements at ``source(i)`` for all i below `extents`.
    """
    wide = accumulator(x.dtype)
    count = product(extents)
    first, second = variables_for(extents, "r"), variables_for(extents, "s")

    def element(at: Index) -> Scalar:
        return convert(Load(0, at, x.dtype), wide)

    mean = mean_of(reduce_over("add", first, element(source(positions(first)))), count)
    spread = square(call("sub", element(source(positions(second))), mean))
    variance = mean_of(reduce_over("add", second, spread), count)
    return call("sub", element(index), mean), _inverse_root(variance, epsilon)


def _inverse_root(scalar: Scalar, epsilon: float) -> Scalar:
    dtype = scalar.dtype
    return call("div", constant(1, dtype), call("sqrt", call("add", scalar, constant(epsilon, dtype))))


def _scaled(normal: Scalar, parameters: Sequence[Scalar], dtype: DType) -> Scalar:
    result = call("mul", normal, convert(parameters[0], normal.dtype))
    if len(parameters) == 2:
        result = call("add", result, convert(parameters[1], normal.dtype))
    return convert(result, dtype)


def _channel_loads(inputs: Sequence[TensorType], index: Sequence[Dim]) -> list[Scalar]:
    return [Load(number, (index[1],), type.dtype) for number, type in enumerate(inputs) if number]


def _power(base: Scalar, exponent: float) -> Scalar:
    """A positive base to a power; the usual ones by square roots."""
    if exponent == 1:
        return base
    if exponent == 0.5:
        return call("sqrt", base)
    if exponent == 0.75:
        root = call("sqrt", base)
        return call("mul", root, call("sqrt", root))
    return call("pow", base, constant(exponent, base.dtype))


def _standardised(x: Floats, axes: tuple[int, ...], epsilon: float) -> Floats:
    centred = x - x.mean(axis=axes, keepdims=True)
    return np.asarray(centred / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + epsilon))


def _affine(normal: Array, inputs: Sequence[Array]) -> Array:
    result = np.multiply(normal, inputs[1])
    return np.asarray(np.add(result, inputs[2]) if len(inputs) == 3 else result)


def _per_channel(inputs: Sequence[Array]) -> list[Array]:
    x = inputs[0]
    return [x, *(parameter.reshape(-1, *[1] * (x.ndim - 2)) for parameter in inputs[1:])]
