"""Layers that work on each element alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tensorwright.api.checks import data_type, integer, member, number
from tensorwright.api.enums import ActivationType, ElementWiseOperation, LayerType, ScaleMode, UnaryOperation
from tensorwright.api.layer import Layer, Network, Setting
from tensorwright.api.layers.axes import value_axis
from tensorwright.api.layers.convolution import optional_trained
from tensorwright.api.layers.pooling import scalar_constant
from tensorwright.api.tensor import Tensor
from tensorwright.api.weights import count, shaped
from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import Value
from tensorwright.graph.op import Op
from tensorwright.ops.activation import (
    Clip,
    Elu,
    Gelu,
    HardSigmoid,
    LeakyRelu,
    PRelu,
    Relu,
    ScaledTanh,
    Selu,
    Sigmoid,
    Softplus,
    Softsign,
    ThresholdedRelu,
)
from tensorwright.ops.checks import show
from tensorwright.ops.elementwise import Binary, Cast, Identity, Select, Unary
from tensorwright.tensor.dim import product
from tensorwright.tensor.dtype import DType

DEFAULT_PARAMETERS: Mapping[ActivationType, tuple[float, float]] = {
    ActivationType.LEAKY_RELU: (0.01, 0.0),
    ActivationType.ELU: (1.0, 0.0),
    ActivationType.SELU: (1.6732632423543772, 1.0507009873554805),
    ActivationType.SOFTPLUS: (1.0, 1.0),
    ActivationType.CLIP: (0.0, 6.0),
    ActivationType.HARD_SIGMOID: (0.2, 0.5),
    ActivationType.SCALED_TANH: (1.0, 1.0),
    ActivationType.THRESHOLDED_RELU: (1.0, 0.0),
}
"""Alpha and beta until they are set; 0 for types that use neither."""

ACTIVATIONS: Mapping[ActivationType, Callable[[float, float], Op]] = {
    ActivationType.RELU: lambda *_: Relu(),
    ActivationType.SIGMOID: lambda *_: Sigmoid(),
    ActivationType.TANH: lambda *_: Unary("tanh"),
    ActivationType.LEAKY_RELU: lambda alpha, _: LeakyRelu(alpha),
    ActivationType.ELU: lambda alpha, _: Elu(alpha),
    ActivationType.SELU: Selu,
    ActivationType.SOFTSIGN: lambda *_: Softsign(),
    ActivationType.CLIP: Clip,
    ActivationType.HARD_SIGMOID: HardSigmoid,
    ActivationType.SCALED_TANH: ScaledTanh,
    ActivationType.THRESHOLDED_RELU: lambda alpha, _: ThresholdedRelu(alpha),
    ActivationType.GELU_ERF: lambda *_: Gelu(),
    ActivationType.GELU_TANH: lambda *_: Gelu(approximate=True),
}

BINARY: Mapping[ElementWiseOperation, str] = {
    ElementWiseOperation.SUM: "add",
    ElementWiseOperation.PROD: "mul",
    ElementWiseOperation.MAX: "max",
    ElementWiseOperation.MIN: "min",
    ElementWiseOperation.SUB: "sub",
    ElementWiseOperation.DIV: "div",
    ElementWiseOperation.POW: "pow",
    ElementWiseOperation.AND: "and",
    ElementWiseOperation.OR: "or",
    ElementWiseOperation.XOR: "xor",
    ElementWiseOperation.EQUAL: "equal",
    ElementWiseOperation.LESS: "less",
}

UNARY: Mapping[UnaryOperation, str] = {
    operation: {"ISINF": "is_inf", "ISNAN": "is_nan"}.get(operation.name, operation.name.lower())
    for operation in UnaryOperation
    if operation is not UnaryOperation.RECIP
}


class ActivationLayer(Layer):
    """``y = f(x)``; what alpha and beta mean depends on the type: they are the parameters of its formula."""

    type = LayerType.ACTIVATION
    call = "add_activation"

    activation_type = Setting(member(ActivationType))
    alpha = Setting(number)
    beta = Setting(number)

    def __init__(self, network: Network, name: str | None, input: Tensor, type: ActivationType) -> None:
        super().__init__(network, name, [input])
        self.activation_type = type
        self.alpha, self.beta = DEFAULT_PARAMETERS.get(type, (0.0, 0.0))

    def lower(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        if self.activation_type is ActivationType.SOFTPLUS:
            return (self._softplus(x),)
        return (self.node(ACTIVATIONS[self.activation_type](self.alpha, self.beta), x),)

    def _softplus(self, x: Value) -> Value:
        """``alpha log(1 + exp(beta x))``."""
        if self.beta != 1:
            x = self.node(Binary("mul"), x, scalar_constant(self, self.beta, x.type.dtype, x.type.rank))
        result = self.node(Softplus(), x)
        if self.alpha != 1:
            result = self.node(Binary("mul"), result, scalar_constant(self, self.alpha, x.type.dtype, x.type.rank))
        return result


class ParametricReLULayer(Layer):
    """``x < 0 ? slopes x : x``; the slopes broadcast to x."""

    type = LayerType.PARAMETRIC_RELU
    call = "add_parametric_relu"

    def __init__(self, network: Network, name: str | None, input: Tensor, slopes: Tensor) -> None:
        super().__init__(network, name, [input, slopes])

    def lower(self, *inputs: Value) -> Sequence[Value]:
        return (self.node(PRelu(), *inputs),)


class ElementWiseLayer(Layer):
    """``y = op(a, b)``; axes of extent 1 broadcast. EQUAL, GREATER, LESS and the logic operations give bool."""

    type = LayerType.ELEMENTWISE
    call = "add_elementwise"

    op = Setting(member(ElementWiseOperation))

    def __init__(
        self, network: Network, name: str | None, input1: Tensor, input2: Tensor, op: ElementWiseOperation
    ) -> None:
        super().__init__(network, name, [input1, input2])
        self.op = op

    def lower(self, *inputs: Value) -> Sequence[Value]:
        a, b = inputs
        if a.type.rank != b.type.rank:
            raise NetworkError(
                f"expected inputs with the same number of dimensions, found {show(a.type.shape)} and "
                f"{show(b.type.shape)}; add dimensions of extent 1 with add_shuffle"
            )
        match self.op:
            case ElementWiseOperation.GREATER:
                return (self.node(Binary("less"), b, a),)
            case ElementWiseOperation.FLOOR_DIV if a.type.dtype.is_float:
                return (self.node(Unary("floor"), self.node(Binary("div"), a, b)),)
            case ElementWiseOperation.FLOOR_DIV:
                whole = self.node(Binary("sub"), a, self.node(Binary("floor_mod"), a, b))
                return (self.node(Binary("div"), whole, b),)
            case _:
                return (self.node(Binary(BINARY[self.op]), a, b),)


class UnaryLayer(Layer):
    """``y = op(x)``."""

    type = LayerType.UNARY
    call = "add_unary"

    op = Setting(member(UnaryOperation))

    def __init__(self, network: Network, name: str | None, input: Tensor, op: UnaryOperation) -> None:
        super().__init__(network, name, [input])
        self.op = op

    def lower(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        if self.op is UnaryOperation.RECIP:
            return (self.node(Binary("div"), scalar_constant(self, 1, x.type.dtype, x.type.rank), x),)
        return (self.node(Unary(UNARY[self.op]), x),)


class ScaleLayer(Layer):
    """``y = (x · scale + shift)^power``; coefficients that are not given change nothing.

    `channel_axis` is the axis of the coefficients in the mode CHANNEL, the one of the channels until it is set.
    """

    type = LayerType.SCALE
    call = "add_scale"

    mode = Setting(member(ScaleMode))
    shift = Setting(optional_trained)
    scale = Setting(optional_trained)
    power = Setting(optional_trained)
    channel_axis = Setting(integer(0))

    def __init__(
        self,
        network: Network,
        name: str | None,
        input: Tensor,
        mode: ScaleMode,
        shift: object,
        scale: object,
        power: object,
        channel_axis: int | None,
    ) -> None:
        super().__init__(network, name, [input])
        self.mode = mode
        self.shift = shift
        self.scale = scale
        self.power = power
        self.channel_axis = 1 - self.batch_axes if channel_axis is None else channel_axis

    def lower(self, *inputs: Value) -> Sequence[Value]:
        (x,) = inputs
        for name, function in (("scale", "mul"), ("shift", "add"), ("power", "pow")):
            weights = getattr(self, name)
            if weights is None:
                continue
            shape = self._shape(x)
            if count(weights) != product(shape):
                raise NetworkError(
                    f"{name}: weights have {count(weights)} values, {show(shape)} = {product(shape)} needed in "
                    f"the mode {self.mode.name}"
                )
            x = self.node(Binary(function), x, self.constant(shaped(weights, shape, x.type.dtype)))
        return (x if x is not inputs[0] else self.node(Identity(), x),)

    def _shape(self, x: Value) -> tuple[int, ...]:
        ones = (1,) * x.type.rank
        if self.mode is ScaleMode.UNIFORM:
            return ones
        kept = range(1 if self.batch_axes or x.type.rank >= 4 else 0, x.type.rank)
        if self.mode is ScaleMode.CHANNEL:
            axis = value_axis(self, x, self.channel_axis, "channel_axis")
            kept = range(axis, axis + 1)
        extents = [x.type.shape[axis] if axis in kept else 1 for axis in range(x.type.rank)]
        known = tuple(extent for extent in extents if isinstance(extent, int))
        if len(known) < len(extents):
            raise NetworkError(f"mode {self.mode.name}: expected known extents, found {show(x.type.shape)}")
        return known


class SelectLayer(Layer):
    """``y = condition ? a : b``; axes of extent 1 broadcast."""

    type = LayerType.SELECT
    call = "add_select"

    def __init__(
        self, network: Network, name: str | None, condition: Tensor, then_input: Tensor, else_input: Tensor
    ) -> None:
        super().__init__(network, name, [condition, then_input, else_input])

    def lower(self, *inputs: Value) -> Sequence[Value]:
        return (self.node(Select(), *inputs),)


class CastLayer(Layer):
    """Conversion to another element type: float to integer truncates toward zero, anything to bool is ``!= 0``."""

    type = LayerType.CAST
    call = "add_cast"

    to_type: Setting[DType] = Setting(data_type)

    def __init__(self, network: Network, name: str | None, input: Tensor, to_type: object) -> None:
        super().__init__(network, name, [input])
        self.to_type = to_type

    def lower(self, *inputs: Value) -> Sequence[Value]:
        return (self.node(Cast(self.to_type), *inputs),)


class IdentityLayer(Layer):
    """``y = x``."""

    type = LayerType.IDENTITY
    call = "add_identity"

    def __init__(self, network: Network, name: str | None, input: Tensor) -> None:
        super().__init__(network, name, [input])

    def lower(self, *inputs: Value) -> Sequence[Value]:
        return (self.node(Identity(), *inputs),)
