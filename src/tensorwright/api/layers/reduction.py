"""Layers that look along axes: softmax, normalisation, reductions, the k best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tensorwright.api.checks import Ints, anything, integer, member, number, optional_integer, truth
from tensorwright.api.enums import LayerType, ReduceOperation, TopKOperation
from tensorwright.api.layer import Layer, Network, Setting
from tensorwright.api.layers.axes import channel_axis, value_axes
from tensorwright.api.layers.pooling import scalar_constant
from tensorwright.api.tensor import Tensor
from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import Value
from tensorwright.ops.checks import show
from tensorwright.ops.elementwise import Binary, Cast, Select, Unary
from tensorwright.ops.indexing import GatherElements, TopKIndices
from tensorwright.ops.normalization import GroupNormalization, LayerNormalization, Softmax
from tensorwright.ops.reduction import Function, Reduction
from tensorwright.ops.shape import Reshape
from tensorwright.tensor.dim import product
from tensorwright.tensor.dtype import INT32
from tensorwright.tensor.weights import weights_of

REDUCTIONS: Mapping[ReduceOperation, Function] = {
    ReduceOperation.SUM: "add",
    ReduceOperation.PROD: "mul",
    ReduceOperation.MAX: "max",
    ReduceOperation.MIN: "min",
    ReduceOperation.AVG: "mean",
}


class SoftMaxLayer(Layer):
    """``exp(x) / Σ exp(x)`` along one axis: that of the channels until `axes` is set, to ``1 << axis``."""

    type = LayerType.SOFTMAX
    call = "add_softmax"

    axes = Setting(optional_integer(1))

    def __init__(self, network: Network, name: str | None, input: Tensor) -> None:
        super().__init__(network, name, [input])
        self.axes = None

    def lower(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        axes = value_axes(self, x, 1 << channel_axis(self, x) if self.axes is None else self.axes)
        if len(axes) > 1:
            raise NetworkError(f"axes: expected 1 << axis for one axis, found {self.axes}")
        return (self.node(Softmax(axes[0]), x),)


class RaggedSoftMaxLayer(Layer):
    """Softmax of the first elements of rows, as many as `bounds` says for each; the others become 0.

    x ``[..., Z, S]``, bounds int32 ``[..., Z, 1]``.
    """

    type = LayerType.RAGGED_SOFTMAX
    call = "add_ragged_softmax"

    def __init__(self, network: Network, name: str | None, input: Tensor, bounds: Tensor) -> None:
        super().__init__(network, name, [input, bounds])

    def lower(self, *inputs: Value) -> Sequence[Value]:
        x, bounds = inputs
        *lead, extent = x.type.shape
        if not isinstance(extent, int) or x.type.rank < 1 + self.batch_axes:
            raise NetworkError(f"input: expected a known last dimension, found {show(x.type.shape)}")
        if bounds.type.dtype != INT32 or bounds.type.shape != (*lead, 1):
            raise NetworkError(f"bounds: expected int32 {show((*lead, 1))}, found {bounds.type}")
        shape = (1,) * len(lead) + (extent,)
        places = self.constant(weights_of(np.arange(extent, dtype=np.int32).reshape(shape)))
        inside = self.node(Binary("less"), places, bounds)
        nothing, zero = (self._scalar(x, number) for number in (-np.inf, 0.0))
        scores = self.node(Softmax(x.type.rank - 1), self.node(Select(), inside, x, nothing))
        return (self.node(Select(), inside, scores, zero),)

    def _scalar(self, x: Value, number: float) -> Value:
        return self.constant(weights_of(np.full((1,) * x.type.rank, number, x.type.dtype.numpy)))


class ReduceLayer(Layer):
    """One element for all elements along axes."""

    type = LayerType.REDUCE
    call = "add_reduce"

    op = Setting(member(ReduceOperation))
    axes = Setting(anything)
    keep_dims = Setting(truth)

    def __init__(
        self, network: Network, name: str | None, input: Tensor, op: ReduceOperation, axes: object, keep_dims: bool
    ) -> None:
        super().__init__(network, name, [input])
        self.op = op
        self.axes = axes
        self.keep_dims = keep_dims

    def lower(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        return (self.node(Reduction(REDUCTIONS[self.op], value_axes(self, x, self.axes), self.keep_dims), x),)


class TopKLayer(Layer):
    """The k best elements along an axis, best first (output 0), and their positions, int32 (output 1)."""

    type = LayerType.TOPK
    call = "add_topk"

    op = Setting(member(TopKOperation))
    k = Setting(integer(1))
    axes = Setting(anything)

    def __init__(
        self, network: Network, name: str | None, input: Tensor, op: TopKOperation, k: int, axes: object
    ) -> None:
        super().__init__(network, name, [input], num_outputs=2)
        self.op = op
        self.k = k
        self.axes = axes

    def lower(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        axes = value_axes(self, x, self.axes)
        if len(axes) > 1:
            raise NetworkError(f"axes: expected 1 << axis for one axis, found {self.axes!r}")
        positions = self.node(TopKIndices(self.k, axes[0], self.op is TopKOperation.MAX), x)
        return self.node(GatherElements(axes[0]), x, positions), self.node(Cast(INT32), positions)


class NormalizationLayer(Layer):
    """``(x - mean) / √(variance + epsilon) · scale + bias`` with the statistics over `axes`.

    Scale and bias broadcast to x. With `num_groups` > 1 the statistics are over groups of channels and all axes after
    them, and scale and bias have one value per channel.
    """

    type = LayerType.NORMALIZATION
    call = "add_normalization"
    settled = False

    axes = Setting(anything)
    epsilon = Setting(number)
    num_groups = Setting(integer(1))

    def __init__(
        self, network: Network, name: str | None, input: Tensor, scale: Tensor, bias: Tensor, axes: object
    ) -> None:
        super().__init__(network, name, [input, scale, bias])
        self.axes = axes
        self.epsilon = 1e-5
        self.num_groups = 1

    def lower(self, *inputs: Value) -> Sequence[Value]:
        x, scale, bias = inputs
        axes = value_axes(self, x, self.axes)
        if self.num_groups > 1:
            parameters = [self._per_channel(x, name, value) for name, value in (("scale", scale), ("bias", bias))]
            return (self.node(GroupNormalization(self.num_groups, self.epsilon), x, *parameters),)
        if axes == tuple(range(axes[0], x.type.rank)):
            return (self.node(LayerNormalization(axes[0], self.epsilon), x, scale, bias),)
        normal = self._standardised(x, axes)
        return (self.node(Binary("add"), self.node(Binary("mul"), normal, scale), bias),)

    def _standardised(self, x: Value, axes: Ints) -> Value:
        mean = Reduction("mean", axes, keep_dims=True)
        centred = self.node(Binary("sub"), x, self.node(mean, x))
        variance = self.node(mean, self.node(Binary("mul"), centred, centred))
        epsilon = scalar_constant(self, self.epsilon, x.type.dtype, x.type.rank)
        spread = self.node(Unary("sqrt"), self.node(Binary("add"), variance, epsilon))
        return self.node(Binary("div"), centred, spread)

    def _per_channel(self, x: Value, name: str, value: Value) -> Value:
        channels = x.type.shape[1]
        if product(value.type.shape) != channels:
            raise NetworkError(
                f"{name}: expected {channels} values, one per channel of {show(x.type.shape)}, found "
                f"{show(value.type.shape)}"
            )
        return self.node(Reshape((channels,)), value)
