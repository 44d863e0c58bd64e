"""Networks, their tensors and their layers: every call of the older interface beside those of the later ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tensorwright.api.layer import Formula
from tensorwright.api.layer import Layer as ApiLayer
from tensorwright.api.layers import convolution, elementwise, matmul, pooling, reduction, rnn, shape
from tensorwright.api.network import NetworkDefinition as ApiNetwork
from tensorwright.api.tensor import Tensor as ApiTensor
from tensorwright.compat.tensorrt.dims import Dims, DimsHW
from tensorwright.compat.tensorrt.enums import LayerType, MatrixOperation, TensorLocation
from tensorwright.compat.tensorrt.facade import FACADES, Answer, Facade, accessors, faces, forward, getter, wrapped
from tensorwright.compat.tensorrt.hints import LayerHints, TensorHints
from tensorwright.tensor.weights import Weights as Constant


@faces(ApiTensor)
@accessors(name="name", type="dtype")
class Tensor(TensorHints, Facade[ApiTensor]):
    """A tensor of a network; its dimensions do not count an implicit batch."""

    @property
    def shape(self) -> Dims:
        """The extents, -1 for what is only known at run time."""
        return Dims(self.inner.shape)

    @shape.setter
    def shape(self, shape: object) -> None:
        self.inner.shape = shape

    def get_dimensions(self) -> Dims:
        """As `shape`."""
        return self.shape

    def set_dimensions(self, dims: object) -> None:
        """Give an input another shape."""
        self.shape = dims

    @property
    def is_network_input(self) -> Answer:
        """Whether it is an input; can be called."""
        return Answer(self.inner.is_network_input)

    @property
    def is_network_output(self) -> Answer:
        """Whether it is an output; can be called."""
        return Answer(self.inner.is_network_output)

    @property
    def location(self) -> TensorLocation:
        """Where it lies: memory of host and device is the same."""
        return TensorLocation.DEVICE

    def get_location(self) -> TensorLocation:
        """As `location`."""
        return TensorLocation.DEVICE


FACADES[Constant] = lambda weights: weights.array if isinstance(weights, Constant) else weights


@faces(ApiLayer)
@accessors(name="name")
class Layer(LayerHints, Facade[ApiLayer]):
    """A layer; properties can be read and set by name or, as in the older interface, by methods."""

    get_type = getter("type")
    get_nb_inputs = getter("num_inputs")
    get_nb_outputs = getter("num_outputs")
    get_input = forward("get_input")
    get_output = forward("get_output")
    set_input = forward("set_input")


@accessors(
    stride="stride",
    padding="padding",
    pre_padding="pre_padding",
    post_padding="post_padding",
    padding_mode="padding_mode",
)
class WindowLayer(Layer):
    """What convolutions and pooling share."""


@faces(convolution.ConvolutionLayer)
@accessors(
    kernel_size="kernel_size",
    nb_output_maps="num_output_maps",
    nb_groups="num_groups",
    kernel_weights="kernel",
    bias_weights="bias",
    dilation="dilation",
)
class ConvolutionLayer(WindowLayer):
    """See `tensorwright.api.layers.convolution.ConvolutionLayer`."""


@faces(convolution.DeconvolutionLayer)
class DeconvolutionLayer(ConvolutionLayer):
    """See `tensorwright.api.layers.convolution.DeconvolutionLayer`."""


@faces(convolution.FullyConnectedLayer)
@accessors(nb_output_channels="num_output_channels", kernel_weights="kernel", bias_weights="bias")
class FullyConnectedLayer(Layer):
    """See `tensorwright.api.layers.convolution.FullyConnectedLayer`."""


@faces(elementwise.ActivationLayer)
@accessors(activation_type="activation_type", alpha="alpha", beta="beta")
class ActivationLayer(Layer):
    """See `tensorwright.api.layers.elementwise.ActivationLayer`."""


@faces(pooling.PoolingLayer)
@accessors(
    pooling_type="pooling_type",
    window_size="window_size",
    blend_factor="blend_factor",
    average_count_excludes_padding="average_count_excludes_padding",
)
class PoolingLayer(WindowLayer):
    """See `tensorwright.api.layers.pooling.PoolingLayer`."""


@faces(pooling.LRNLayer)
@accessors(window_size="window_size", alpha="alpha", beta="beta", k="k")
class LRNLayer(Layer):
    """See `tensorwright.api.layers.pooling.LRNLayer`."""


@faces(elementwise.ScaleLayer)
@accessors(mode="mode", shift="shift", scale="scale", power="power")
class ScaleLayer(Layer):
    """See `tensorwright.api.layers.elementwise.ScaleLayer`."""


@faces(reduction.SoftMaxLayer)
@accessors(axes="axes")
class SoftMaxLayer(Layer):
    """See `tensorwright.api.layers.reduction.SoftMaxLayer`."""


@faces(shape.ConcatenationLayer)
@accessors(axis="axis")
class ConcatenationLayer(Layer):
    """See `tensorwright.api.layers.shape.ConcatenationLayer`."""


@faces(elementwise.ElementWiseLayer)
@accessors(operation="op")
class ElementWiseLayer(Layer):
    """See `tensorwright.api.layers.elementwise.ElementWiseLayer`."""


@faces(elementwise.UnaryLayer)
@accessors(operation="op")
class UnaryLayer(Layer):
    """See `tensorwright.api.layers.elementwise.UnaryLayer`."""


@faces(reduction.ReduceLayer)
@accessors(operation="op", reduce_axes="axes", keep_dimensions="keep_dims")
class ReduceLayer(Layer):
    """See `tensorwright.api.layers.reduction.ReduceLayer`."""


@faces(reduction.TopKLayer)
@accessors(operation="op", k="k", reduce_axes="axes")
class TopKLayer(Layer):
    """See `tensorwright.api.layers.reduction.TopKLayer`."""


@faces(shape.GatherLayer)
@accessors(gather_axis="axis")
class GatherLayer(Layer):
    """See `tensorwright.api.layers.shape.GatherLayer`."""


@faces(shape.PaddingLayer)
@accessors(pre_padding="pre_padding", post_padding="post_padding")
class PaddingLayer(Layer):
    """See `tensorwright.api.layers.shape.PaddingLayer`."""


@faces(shape.ShuffleLayer)
@accessors(
    first_transpose="first_transpose",
    reshape_dimensions="reshape_dims",
    second_transpose="second_transpose",
)
class ShuffleLayer(Layer):
    """See `tensorwright.api.layers.shape.ShuffleLayer`."""


@faces(shape.SliceLayer)
@accessors(start="start", size="shape", stride="stride")
class SliceLayer(Layer):
    """See `tensorwright.api.layers.shape.SliceLayer`."""


@faces(reduction.RaggedSoftMaxLayer)
class RaggedSoftMaxLayer(Layer):
    """See `tensorwright.api.layers.reduction.RaggedSoftMaxLayer`."""


@accessors(
    layer_count="layer_count",
    hidden_size="hidden_size",
    seq_length="max_seq_length",
    max_seq_length="max_seq_length",
    data_length="data_length",
    operation="op",
    direction="direction",
    input_mode="input_mode",
    hidden_state="hidden_state",
    cell_state="cell_state",
)
class RecurrentLayer(Layer):
    """What recurrent layers share."""


@faces(rnn.RNNLayer)
@accessors(weights="weights", bias="bias")
class RNNLayer(RecurrentLayer):
    """See `tensorwright.api.layers.rnn.RNNLayer`."""


@faces(rnn.RNNv2Layer)
@accessors(sequence_lengths="seq_lengths")
class RNNv2Layer(RecurrentLayer):
    """See `tensorwright.api.layers.rnn.RNNv2Layer`."""

    set_weights_for_gate = forward("set_weights_for_gate")
    get_weights_for_gate = forward("get_weights_for_gate")
    set_bias_for_gate = forward("set_bias_for_gate")
    get_bias_for_gate = forward("get_bias_for_gate")


@faces(matmul.MatrixMultiplyLayer)
class MatrixMultiplyLayer(Layer):
    """See `tensorwright.api.layers.matmul.MatrixMultiplyLayer`."""

    def get_transpose(self, index: int) -> bool:
        """Whether an operand is transposed."""
        return getattr(self.inner, f"op{index}") is MatrixOperation.TRANSPOSE

    def set_transpose(self, index: int, value: bool) -> None:
        """Transpose an operand, or do not."""
        setattr(self.inner, f"op{index}", bool(value))


@faces(matmul.ConstantLayer)
@accessors(weights="weights", dimensions="shape")
class ConstantLayer(Layer):
    """See `tensorwright.api.layers.matmul.ConstantLayer`."""


class OutputDimensionsFormula:
    """Says the extents of outputs; subclass it."""

    def compute(
        self,
        input_dims: DimsHW,
        kernel_size: DimsHW,
        stride: DimsHW,
        padding: DimsHW,
        dilation: DimsHW,
        layer_name: str,
    ) -> Sequence[int]:
        """Height and width of an output; the dilation is in the kernel size already."""
        raise NotImplementedError(f"{type(self).__name__} must implement compute(...)")


def _set_formula(kind: LayerType) -> Callable[[NetworkDefinition, OutputDimensionsFormula | None], bool]:
    def method(self: NetworkDefinition, formula: OutputDimensionsFormula | None) -> bool:
        self.formulas[kind] = formula
        self.inner.set_output_dimensions_formula(kind, None if formula is None else _plain(formula))
        return True

    return method


def _plain(formula: OutputDimensionsFormula) -> Formula:
    def compute(
        extents: Sequence[int],
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        name: str,
    ) -> Sequence[int]:
        both = (DimsHW(extents), DimsHW(kernel), DimsHW(stride), DimsHW(padding), DimsHW(dilation))
        return formula.compute(*both, name)

    return compute


def _get_formula(kind: LayerType) -> Callable[[NetworkDefinition], OutputDimensionsFormula | None]:
    return lambda self: self.formulas.get(kind)


@faces(ApiNetwork)
@accessors(name="name")
class NetworkDefinition(Facade[ApiNetwork]):
    """A network under construction."""

    add_input = forward("add_input")
    mark_output = forward("mark_output")
    unmark_output = forward("unmark_output")
    remove_tensor = forward("remove_tensor")
    get_nb_inputs = getter("num_inputs")
    get_nb_outputs = getter("num_outputs")
    get_nb_layers = getter("num_layers")
    get_input = forward("get_input")
    get_output = forward("get_output")
    get_layer = forward("get_layer")

    add_activation = forward("add_activation")
    add_concatenation = forward("add_concatenation")
    add_constant = forward("add_constant")
    add_convolution = forward("add_convolution")
    add_deconvolution = forward("add_deconvolution")
    add_element_wise = add_elementwise = forward("add_elementwise")
    add_fully_connected = forward("add_fully_connected")
    add_gather = forward("add_gather")
    add_identity = forward("add_identity")
    add_lrn = forward("add_lrn")
    add_matrix_multiply = forward("add_matrix_multiply")
    add_padding = forward("add_padding")
    add_parametric_relu = forward("add_parametric_relu")
    add_pooling = forward("add_pooling")
    add_reduce = forward("add_reduce")
    add_resize = forward("add_resize")
    add_scale = forward("add_scale")
    add_shuffle = forward("add_shuffle")
    add_slice = forward("add_slice")
    add_softmax = add_soft_max = forward("add_softmax")
    add_topk = add_top_k = forward("add_topk")
    add_unary = forward("add_unary")

    add_plugin = add_plugin_ext = add_plugin_v2 = forward("add_plugin")
    add_rnn = forward("add_rnn")
    add_rnnv2 = add_rnn_v2 = forward("add_rnn_v2")
    add_ragged_softmax = add_ragged_soft_max = forward("add_ragged_softmax")
    set_pooling_output_dimensions_formula = _set_formula(LayerType.POOLING)
    set_convolution_output_dimensions_formula = _set_formula(LayerType.CONVOLUTION)
    set_deconvolution_output_dimensions_formula = _set_formula(LayerType.DECONVOLUTION)
    get_pooling_output_dimensions_formula = _get_formula(LayerType.POOLING)
    get_convolution_output_dimensions_formula = _get_formula(LayerType.CONVOLUTION)
    get_deconvolution_output_dimensions_formula = _get_formula(LayerType.DECONVOLUTION)

    def __init__(self, inner: ApiNetwork) -> None:
        super().__init__(inner)
        self.formulas: dict[LayerType, OutputDimensionsFormula | None] = {}

    def __len__(self) -> int:
        return len(self.inner)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[object]:
        return map(wrapped, self.inner)

    def __getitem__(self, index: int) -> object:
        return wrapped(self.inner[index])
