"""Layers with trained weights over channels: convolution, its transpose, fully connected."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tensorwright.api.checks import Ints, integer, integers
from tensorwright.api.enums import LayerType
from tensorwright.api.layer import Layer, Network, Setting
from tensorwright.api.layers.windows import SpatialSetting, WindowLayer
from tensorwright.api.tensor import Tensor
from tensorwright.api.weights import copied, count, is_empty, shaped
from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import Value
from tensorwright.ops.checks import show
from tensorwright.ops.convolution import Convolution, Deconvolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.shape import Reshape
from tensorwright.tensor.dim import Dim, product
from tensorwright.tensor.weights import Weights


def trained(name: str, value: object) -> Weights:
    """Weights, copied.

    Raises:
        NetworkError: there are none.
    """
    try:
        found = copied(value)
    except NetworkError as error:
        raise NetworkError(f"{name}: {error}") from None
    if is_empty(found):
        raise NetworkError(f"{name}: expected weights, found none")
    return found


def optional_trained(name: str, value: object) -> Weights | None:
    """Weights, copied, or None for no weights."""
    return None if is_empty(value) else trained(name, value)


class _WeightedWindows(WindowLayer):
    """Base of convolution and deconvolution."""

    num_output_maps = Setting(integer(1))
    num_groups = Setting(integer(1))
    dilation = SpatialSetting(1)
    dilation_nd = dilation
    kernel = Setting(trained)
    bias = Setting(optional_trained)

    def __init__(
        self,
        network: Network,
        name: str | None,
        input: Tensor,
        num_output_maps: int,
        kernel_shape: Sequence[int] | int,
        kernel: object,
        bias: object,
    ) -> None:
        super().__init__(network, name, [input])
        self.num_output_maps = num_output_maps
        self._kernel_shape = _kernel_shape(self, kernel_shape)
        self.set_defaults(len(self._kernel_shape))
        self.num_groups = 1
        self.dilation = 1
        self.kernel = kernel
        self.bias = bias
        self._check_counts(input)

    @property
    def kernel_size(self) -> Ints:
        """The extents of the kernel."""
        return self._kernel_shape

    @kernel_size.setter
    def kernel_size(self, value: object) -> None:
        self._kernel_shape = _kernel_shape(self, value)
        self.changed()

    kernel_size_nd = kernel_size

    def weights_shape(self, channels: int) -> Ints:
        """The shape of the kernel for so many input channels."""
        raise NotImplementedError

    def _check_counts(self, input: Tensor) -> None:
        channels = _channels(self, input.type.shape)
        found = count(self.kernel)
        bias = self.bias
        if bias is not None and count(bias) != self.num_output_maps:
            raise self.error(f"bias has {count(bias)} values, {self.num_output_maps} needed, one per output map")
        whole = prod(self.weights_shape(channels))
        divisors = (g for g in range(1, channels + 1) if channels % g == 0 and self.num_output_maps % g == 0)
        if not any(found * g == whole for g in divisors):
            raise self.error(self._count_message(channels, found))

    def _count_message(self, channels: int, found: int) -> str:
        shape = self.weights_shape(channels)
        whole = prod(shape) * self.num_groups
        divisors = [g for g in range(1, channels + 1) if channels % g == 0 and self.num_output_maps % g == 0]
        fitting = [g for g in divisors if found * g == whole]
        advice = f"for num_groups = {fitting[0]} they would fit" if fitting else f"the input has {channels} channels"
        return (
            f"weights have {found} values, {'×'.join(map(str, shape))} = {prod(shape)} needed "
            f"({self.shape_words}); {advice}"
        )

    shape_words = ""

    def weights(self, x: Value) -> list[Value]:
        """Kernel and bias as constants of the right shape."""
        channels = _channels(self, x.type.shape)
        if x.type.rank != 2 + self.spatial_axes:
            raise NetworkError(
                f"a kernel of shape {self.kernel_size} needs an input with {2 + self.spatial_axes} dimensions "
                f"(batch, channels, {self.spatial_axes} spatial), found {show(x.type.shape)}"
            )
        if channels % self.num_groups or self.num_output_maps % self.num_groups:
            raise NetworkError(
                f"num_groups: expected a divisor of the {channels} input channels and of the {self.num_output_maps} "
                f"output maps, found {self.num_groups}"
            )
        shape = self.weights_shape(channels)
        if count(self.kernel) != prod(shape):
            raise NetworkError(self._count_message(channels, count(self.kernel)))
        constants = [self.constant(shaped(self.kernel, shape, x.type.dtype))]
        if self.bias is not None:
            if count(self.bias) != self.num_output_maps:
                raise NetworkError(f"bias has {count(self.bias)} values, {self.num_output_maps} needed")
            constants.append(self.constant(shaped(self.bias, (self.num_output_maps,), x.type.dtype)))
        return constants

    @property
    def spans(self) -> Ints:
        """What the kernel reaches over, dilation included."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True))


class ConvolutionLayer(_WeightedWindows):
    """Convolution of x ``[N, C, *S]`` with a kernel ``[num_output_maps, C / num_groups, *kernel_size]``."""

    type = LayerType.CONVOLUTION
    call = "add_convolution"
    shape_words = "output maps × input channels / num_groups × kernel"

    def weights_shape(self, channels: int) -> Ints:
        return (self.num_output_maps, channels // self.num_groups, *self.kernel_size)

    def lower(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        weights = self.weights(x)
        begin, end = self.pads(x.type.shape[2:], self.spans)
        by_formula = self.formula_end(x.type.shape[2:], self.spans, begin, end)
        end = self.rounded_up(x.type.shape[2:], self.spans, begin, end) if by_formula is None else by_formula
        op = Convolution(self.stride, begin, end, self.dilation, self.num_groups)
        return (self.node(op, x, *weights),)


class DeconvolutionLayer(_WeightedWindows):
    """Transposed convolution of x ``[N, C, *S]``, kernel ``[C, num_output_maps / num_groups, *kernel_size]``.

    Padding is cut off the output: ``T = (S - 1) stride + (K - 1) dilation + 1 - pre_padding - post_padding``; with the
    same modes ``T = S stride``.
    """

    type = LayerType.DECONVOLUTION
    call = "add_deconvolution"
    shape_words = "input channels × output maps / num_groups × kernel"

    def weights_shape(self, channels: int) -> Ints:
        return (channels, self.num_output_maps // self.num_groups, *self.kernel_size)

    def lower(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        weights = self.weights(x)
        begin, end = self.pads(x.type.shape[2:], self.spans)
        none = (0,) * self.spatial_axes
        by_formula = self.formula_end(x.type.shape[2:], self.spans, begin, end)
        end = end if by_formula is None else by_formula
        op = Deconvolution(self.stride, begin, end, self.dilation, self.num_groups, none)
        return (self.node(op, x, *weights),)

    def _same(self, extent: Dim, span: int, stride: int) -> int:
        return max(0, span - stride)

    def _end(self, wanted: int, extent: int, span: int, stride: int, before: int, after: int) -> int:
        cut = (extent - 1) * stride + span - before - wanted
        if cut < 0:
            raise NetworkError(f"the formula for output dimensions gives {wanted}, more than there is: {wanted + cut}")
        return cut


class FullyConnectedLayer(Layer):
    """``y[k] = Σ w[k, v] x[v] (+ b[k])`` over the volume v of the last three dimensions; output ``[..., K, 1, 1]``."""

    type = LayerType.FULLY_CONNECTED
    call = "add_fully_connected"

    num_output_channels = Setting(integer(1))
    kernel = Setting(trained)
    bias = Setting(optional_trained)

    def __init__(
        self, network: Network, name: str | None, input: Tensor, num_outputs: int, kernel: object, bias: object
    ) -> None:
        super().__init__(network, name, [input])
        self.num_output_channels = num_outputs
        self.kernel = kernel
        self.bias = bias

    def lower(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        lead, volume_shape = x.type.shape[:-3], x.type.shape[-3:]
        if len(volume_shape) < 3 or x.type.rank - self.batch_axes < 3:
            raise NetworkError(
                f"input: expected at least three dimensions (channels, height, width), found {show(x.type.shape)}; add "
                "dimensions of extent 1 with add_shuffle, or use add_matrix_multiply"
            )
        volume, outputs = product(volume_shape), self.num_output_channels
        if not isinstance(volume, int):
            raise NetworkError(f"input: expected known channels, height and width, found {show(x.type.shape)}")
        if count(self.kernel) != outputs * volume:
            raise NetworkError(
                f"weights have {count(self.kernel)} values, {outputs}×{volume} = {outputs * volume} needed (outputs × "
                f"the volume of {show(volume_shape)})"
            )
        rows = self.node(Reshape((product(lead), volume)), x)
        kernel = self.constant(shaped(self.kernel, (outputs, volume), x.type.dtype))
        result = self.node(MatMul(transpose_b=True), rows, kernel)
        if self.bias is not None:
            if count(self.bias) != outputs:
                raise NetworkError(f"bias has {count(self.bias)} values, {outputs} needed, one per output")
            bias = self.constant(shaped(self.bias, (outputs,), x.type.dtype))
            result = self.node(Binary("add"), result, bias)
        return (self.node(Reshape((*lead, outputs, 1, 1)), result),)


def _kernel_shape(layer: Layer, value: object) -> Ints:
    try:
        shape = integers(1, 2)("kernel_shape", value) if isinstance(value, int) else integers(1)("kernel_shape", value)
    except NetworkError as error:
        raise layer.error(str(error)) from None
    if not 1 <= len(shape) <= 3:
        raise layer.error(f"kernel_shape: expected 1 to 3 spatial extents, found {shape}")
    return shape


def _channels(layer: Layer, shape: Sequence[Dim]) -> int:
    if len(shape) < 3 or not isinstance(shape[1], int):
        raise layer.error(
            f"input: expected dimensions (batch, channels, spatial ...) with known channels, found {show(tuple(shape))}"
        )
    return shape[1]
