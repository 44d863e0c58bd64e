"""The network definition: every call that adds a layer.

All calls take an optional `name`, by which errors, reports and profiles call the layer. Weights are arrays (or lists,
or `Weights`) of any shape with the right number of values; they are copied. Floating weights are converted to the
floating type of the input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorwright.api.definition import Definition
from tensorwright.api.enums import (
    ActivationType,
    ElementWiseOperation,
    GatherMode,
    MatrixOperation,
    PoolingType,
    ReduceOperation,
    RNNDirection,
    RNNInputMode,
    RNNOperation,
    ScaleMode,
    TopKOperation,
    UnaryOperation,
)
from tensorwright.api.layers.convolution import ConvolutionLayer, DeconvolutionLayer, FullyConnectedLayer
from tensorwright.api.layers.elementwise import (
    ActivationLayer,
    CastLayer,
    ElementWiseLayer,
    IdentityLayer,
    ParametricReLULayer,
    ScaleLayer,
    SelectLayer,
    UnaryLayer,
)
from tensorwright.api.layers.matmul import ConstantLayer, MatrixMultiplyLayer, OperatorLayer
from tensorwright.api.layers.plugin import PluginFunction, PluginLayer
from tensorwright.api.layers.pooling import LRNLayer, PoolingLayer
from tensorwright.api.layers.reduction import (
    NormalizationLayer,
    RaggedSoftMaxLayer,
    ReduceLayer,
    SoftMaxLayer,
    TopKLayer,
)
from tensorwright.api.layers.rnn import RNNLayer, RNNv2Layer
from tensorwright.api.layers.shape import (
    ConcatenationLayer,
    GatherLayer,
    PaddingLayer,
    ResizeLayer,
    ShuffleLayer,
    SliceLayer,
)
from tensorwright.api.tensor import Tensor
from tensorwright.graph.op import Op
from tensorwright.tensor.dim import Dim

Extents = Sequence[int] | int


class NetworkDefinition(Definition):
    """A network under construction; see the classes of the layers for what they compute."""

    def add_convolution(
        self,
        input: Tensor,
        num_output_maps: int,
        kernel_shape: Extents,
        kernel: object,
        bias: object = None,
        *,
        name: str | None = None,
    ) -> ConvolutionLayer:
        """Kernel ``[num_output_maps, C / num_groups, *kernel_shape]``, bias ``[num_output_maps]`` or None."""
        return self.add(ConvolutionLayer(self, name, input, num_output_maps, kernel_shape, kernel, bias))

    add_convolution_nd = add_convolution

    def add_deconvolution(
        self,
        input: Tensor,
        num_output_maps: int,
        kernel_shape: Extents,
        kernel: object,
        bias: object = None,
        *,
        name: str | None = None,
    ) -> DeconvolutionLayer:
        """Kernel ``[C, num_output_maps / num_groups, *kernel_shape]``, bias ``[num_output_maps]`` or None."""
        return self.add(DeconvolutionLayer(self, name, input, num_output_maps, kernel_shape, kernel, bias))

    add_deconvolution_nd = add_deconvolution

    def add_fully_connected(
        self, input: Tensor, num_outputs: int, kernel: object, bias: object = None, *, name: str | None = None
    ) -> FullyConnectedLayer:
        """Kernel ``[num_outputs, C·H·W]``, bias ``[num_outputs]`` or None; output ``[..., num_outputs, 1, 1]``."""
        return self.add(FullyConnectedLayer(self, name, input, num_outputs, kernel, bias))

    def add_activation(self, input: Tensor, type: ActivationType, *, name: str | None = None) -> ActivationLayer:
        return self.add(ActivationLayer(self, name, input, type))

    def add_parametric_relu(self, input: Tensor, slopes: Tensor, *, name: str | None = None) -> ParametricReLULayer:
        return self.add(ParametricReLULayer(self, name, input, slopes))

    def add_pooling(
        self, input: Tensor, type: PoolingType, window_size: Extents, *, name: str | None = None
    ) -> PoolingLayer:
        return self.add(PoolingLayer(self, name, input, type, window_size))

    add_pooling_nd = add_pooling

    def add_lrn(
        self, input: Tensor, window: int, alpha: float, beta: float, k: float, *, name: str | None = None
    ) -> LRNLayer:
        return self.add(LRNLayer(self, name, input, window, alpha, beta, k))

    def add_scale(
        self,
        input: Tensor,
        mode: ScaleMode,
        shift: object = None,
        scale: object = None,
        power: object = None,
        *,
        name: str | None = None,
    ) -> ScaleLayer:
        """Coefficients: one, one per channel or one per element without the batch; None for no effect."""
        return self.add(ScaleLayer(self, name, input, mode, shift, scale, power, None))

    def add_scale_nd(
        self,
        input: Tensor,
        mode: ScaleMode,
        shift: object = None,
        scale: object = None,
        power: object = None,
        channel_axis: int | None = None,
        *,
        name: str | None = None,
    ) -> ScaleLayer:
        """As `add_scale`, the coefficients of the mode CHANNEL along any axis."""
        return self.add(ScaleLayer(self, name, input, mode, shift, scale, power, channel_axis))

    def add_softmax(self, input: Tensor, *, name: str | None = None) -> SoftMaxLayer:
        return self.add(SoftMaxLayer(self, name, input))

    def add_ragged_softmax(self, input: Tensor, bounds: Tensor, *, name: str | None = None) -> RaggedSoftMaxLayer:
        """Softmax of the first ``bounds[..., z, 0]`` elements of each row of x ``[..., Z, S]``; the others become 0."""
        return self.add(RaggedSoftMaxLayer(self, name, input, bounds))

    def add_rnn_v2(
        self,
        input: Tensor,
        layer_count: int,
        hidden_size: int,
        max_seq_length: int,
        op: RNNOperation,
        *,
        name: str | None = None,
    ) -> RNNv2Layer:
        """Recurrent layers on x ``[..., max_seq_length, E]``; set the weights of every gate."""
        return self.add(RNNv2Layer(self, name, input, layer_count, hidden_size, max_seq_length, op))

    def add_rnn(
        self,
        inputs: Tensor,
        layer_count: int,
        hidden_size: int,
        max_seq_length: int,
        op: RNNOperation,
        mode: RNNInputMode,
        direction: RNNDirection,
        weights: object,
        bias: object,
        *,
        name: str | None = None,
    ) -> RNNLayer:
        """Recurrent layers on x ``[..., max_seq_length, N, E]``, all weights in a row."""
        return self.add(
            RNNLayer(self, name, inputs, layer_count, hidden_size, max_seq_length, op, mode, direction, weights, bias)
        )

    def add_normalization(
        self,
        input: Tensor,
        scale: Tensor,
        bias: Tensor,
        axesMask: object,  # noqa: N803
        *,
        name: str | None = None,
    ) -> NormalizationLayer:
        """`axesMask`: bit i for axis i, or a sequence of axes."""
        return self.add(NormalizationLayer(self, name, input, scale, bias, axesMask))

    def add_elementwise(
        self, input1: Tensor, input2: Tensor, op: ElementWiseOperation, *, name: str | None = None
    ) -> ElementWiseLayer:
        return self.add(ElementWiseLayer(self, name, input1, input2, op))

    def add_unary(self, input: Tensor, op: UnaryOperation, *, name: str | None = None) -> UnaryLayer:
        return self.add(UnaryLayer(self, name, input, op))

    def add_select(
        self, condition: Tensor, then_input: Tensor, else_input: Tensor, *, name: str | None = None
    ) -> SelectLayer:
        return self.add(SelectLayer(self, name, condition, then_input, else_input))

    def add_cast(self, input: Tensor, to_type: object, *, name: str | None = None) -> CastLayer:
        return self.add(CastLayer(self, name, input, to_type))

    def add_identity(self, input: Tensor, *, name: str | None = None) -> IdentityLayer:
        return self.add(IdentityLayer(self, name, input))

    def add_concatenation(self, inputs: Sequence[Tensor], *, name: str | None = None) -> ConcatenationLayer:
        return self.add(ConcatenationLayer(self, name, inputs))

    def add_shuffle(self, input: Tensor, *, name: str | None = None) -> ShuffleLayer:
        return self.add(ShuffleLayer(self, name, input))

    def add_slice(
        self,
        input: Tensor,
        start: Sequence[Dim],
        shape: Sequence[Dim],
        stride: Sequence[int],
        *,
        name: str | None = None,
    ) -> SliceLayer:
        return self.add(SliceLayer(self, name, input, start, shape, stride))

    def add_padding(
        self, input: Tensor, pre_padding: Sequence[int], post_padding: Sequence[int], *, name: str | None = None
    ) -> PaddingLayer:
        return self.add(PaddingLayer(self, name, input, pre_padding, post_padding))

    add_padding_nd = add_padding

    def add_resize(self, input: Tensor, *, name: str | None = None) -> ResizeLayer:
        return self.add(ResizeLayer(self, name, input))

    def add_reduce(
        self, input: Tensor, op: ReduceOperation, axes: object, keep_dims: bool, *, name: str | None = None
    ) -> ReduceLayer:
        """`axes`: bit i for axis i, or a sequence of axes."""
        return self.add(ReduceLayer(self, name, input, op, axes, keep_dims))

    def add_topk(self, input: Tensor, op: TopKOperation, k: int, axes: object, *, name: str | None = None) -> TopKLayer:
        """`axes`: ``1 << axis``, or a sequence of one axis."""
        return self.add(TopKLayer(self, name, input, op, k, axes))

    def add_gather(self, input: Tensor, indices: Tensor, axis: int, *, name: str | None = None) -> GatherLayer:
        return self.add(GatherLayer(self, name, input, indices, axis, GatherMode.DEFAULT))

    def add_gather_v2(
        self, input: Tensor, indices: Tensor, mode: GatherMode, *, name: str | None = None
    ) -> GatherLayer:
        return self.add(GatherLayer(self, name, input, indices, 0, mode))

    def add_matrix_multiply(
        self,
        input0: Tensor,
        op0: MatrixOperation | bool,
        input1: Tensor,
        op1: MatrixOperation | bool,
        *,
        name: str | None = None,
    ) -> MatrixMultiplyLayer:
        return self.add(MatrixMultiplyLayer(self, name, input0, op0, input1, op1))

    def add_constant(self, shape: Sequence[int], weights: object, *, name: str | None = None) -> ConstantLayer:
        return self.add(ConstantLayer(self, name, shape, weights))

    def add_plugin(
        self,
        inputs: Sequence[Tensor],
        plugin: PluginFunction,
        *,
        weights: Sequence[object] = (),
        fields: Mapping[str, object] | None = None,
        name: str | None = None,
    ) -> PluginLayer:
        """What a `Plugin`, or a function of a node, makes of tensors; `weights` and `fields` are handed to it."""
        return self.add(PluginLayer(self, name, inputs, plugin, weights, fields))

    def add_operator(self, op: Op, inputs: Sequence[Tensor], *, name: str | None = None) -> OperatorLayer:
        """Any operator of `tensorwright.ops`; its attributes count all axes, the one of an implicit batch too."""
        return self.add(OperatorLayer(self, name, op, inputs))
