"""Pooling and normalisation across neighbours."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.api.checks import Ints, integer, integers, member, number, truth
from tensorwright.api.enums import LayerType, PaddingMode, PoolingType
from tensorwright.api.layer import Layer, Network, Setting
from tensorwright.api.layers.windows import ROUND_UP, SpatialSetting, WindowLayer
from tensorwright.api.tensor import Tensor
from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import Value
from tensorwright.ops.checks import show
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.normalization import LocalResponseNormalization
from tensorwright.ops.pooling import Mode, Pool
from tensorwright.tensor.dtype import DType
from tensorwright.tensor.weights import weights_of


class PoolingLayer(WindowLayer):
    """One element of the output for every window of x ``[N, C, *S]``; the stride is 1 until it is set."""

    type = LayerType.POOLING
    call = "add_pooling"

    pooling_type = Setting(member(PoolingType))
    window_size = SpatialSetting(1)
    window_size_nd = window_size
    blend_factor = Setting(number)
    average_count_excludes_padding = Setting(truth)

    def __init__(
        self, network: Network, name: str | None, input: Tensor, type: PoolingType, window_size: Sequence[int] | int
    ) -> None:
        super().__init__(network, name, [input])
        self.pooling_type = type
        try:
            window = integers(1)("window_size", (window_size,) * 2 if isinstance(window_size, int) else window_size)
        except NetworkError as error:
            raise self.error(str(error)) from None
        self.set_defaults(len(window))
        self.window_size = window
        self.blend_factor = 0.0
        self.average_count_excludes_padding = True

    def lower(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        if x.type.rank != 2 + self.spatial_axes:
            raise NetworkError(
                f"a window of shape {self.window_size} needs an input with {2 + self.spatial_axes} dimensions (batch, "
                f"channels, {self.spatial_axes} spatial), found {show(x.type.shape)}"
            )
        match self.pooling_type:
            case PoolingType.MAX:
                return (self._pool("max", x),)
            case PoolingType.AVERAGE:
                return (self._pool("average", x),)
            case PoolingType.MAX_AVERAGE_BLEND:
                largest = self._scaled(self._pool("max", x), 1 - self.blend_factor)
                return (self.node(Binary("add"), largest, self._scaled(self._pool("average", x), self.blend_factor)),)

    def _pool(self, mode: Mode, x: Value) -> Value:
        extents, ones = x.type.shape[2:], (1,) * self.spatial_axes
        begin, end = self.pads(extents, self.window_size)
        with_padding = mode == "average" and not self.average_count_excludes_padding
        ceil_mode = self.padding_mode is PaddingMode.CAFFE_ROUND_UP
        by_formula = self.formula_end(extents, self.window_size, begin, end)
        if by_formula is not None:
            ceil_mode, end = False, by_formula
        elif self.padding_mode in ROUND_UP and not ceil_mode:
            end = self.rounded_up(extents, self.window_size, begin, end)
        return self.node(Pool(mode, self.window_size, self.stride, begin, end, ones, ceil_mode, with_padding), x)

    def _scaled(self, x: Value, factor: float) -> Value:
        return self.node(Binary("mul"), x, scalar_constant(self, factor, x.type.dtype, x.type.rank))


class LRNLayer(Layer):
    """``x / (k + alpha / window_size · Σ x²)^beta``, the sum over `window_size` channels around each one."""

    type = LayerType.LRN
    call = "add_lrn"

    window_size = Setting(integer(1))
    alpha = Setting(number)
    beta = Setting(number)
    k = Setting(number)

    def __init__(
        self, network: Network, name: str | None, input: Tensor, window: int, alpha: float, beta: float, k: float
    ) -> None:
        super().__init__(network, name, [input])
        self.window_size = window
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def lower(self, *inputs: Value) -> Sequence[Value]:
        return (self.node(LocalResponseNormalization(self.window_size, self.alpha, self.beta, self.k), *inputs),)


def scalar_constant(layer: Layer, value: float, dtype: DType, rank: int = 0) -> Value:
    """One number as a tensor of extents 1."""
    shape: Ints = (1,) * rank
    return layer.constant(weights_of(dtype.numpy.type(value).reshape(shape)))
