"""Activation functions."""

from __future__ import annotations

from tensorwright.graph.graph import Value, is_constant
from tensorwright.importers.compose import iota
from tensorwright.importers.onnx.node import Node
from tensorwright.ops import activation
from tensorwright.ops.normalization import LogSoftmax as LogSoftmaxOp
from tensorwright.ops.normalization import Softmax as SoftmaxOp
from tensorwright.ops.reduction import ArgReduction
from tensorwright.tensor.dim import product
from tensorwright.tensor.dtype import BOOL


def Relu(node: Node, x: Value) -> Value:
    return node.apply(activation.Relu(), x) if x.type.dtype.is_float else node.binary("max", x, node.scalar(0, x))


def LeakyRelu(node: Node, x: Value, *, alpha: float = 0.01) -> Value:
    return node.apply(activation.LeakyRelu(alpha), x)


def PRelu(node: Node, x: Value, slope: Value) -> Value:
    if x.type.dtype.is_float:
        return node.apply(activation.PRelu(), x, slope)
    return node.select(node.binary("less", x, node.scalar(0, x)), node.multiply(x, slope), x)


def Elu(node: Node, x: Value, *, alpha: float = 1.0) -> Value:
    return node.apply(activation.Elu(alpha), x)


def Selu(node: Node, x: Value, *, alpha: float = 1.6732631921768188, gamma: float = 1.0507010221481323) -> Value:
    return node.apply(activation.Selu(alpha, gamma), x)


def Celu(node: Node, x: Value, *, alpha: float = 1.0) -> Value:
    return node.apply(activation.Celu(alpha), x)


def Sigmoid(node: Node, x: Value) -> Value:
    return node.apply(activation.Sigmoid(), x)


def HardSigmoid(node: Node, x: Value, *, alpha: float = 0.2, beta: float = 0.5) -> Value:
    return node.apply(activation.HardSigmoid(alpha, beta), x)


def HardSwish(node: Node, x: Value) -> Value:
    return node.apply(activation.HardSwish(), x)


def Swish(node: Node, x: Value, *, alpha: float = 1.0) -> Value:
    if alpha == 1.0:
        return node.apply(activation.Silu(), x)
    return node.multiply(x, node.apply(activation.Sigmoid(), node.multiply(x, node.scalar(alpha, x))))


def Mish(node: Node, x: Value) -> Value:
    return node.apply(activation.Mish(), x)


def Softplus(node: Node, x: Value) -> Value:
    return node.apply(activation.Softplus(), x)


def Softsign(node: Node, x: Value) -> Value:
    return node.apply(activation.Softsign(), x)


def Gelu(node: Node, x: Value, *, approximate: str = "none") -> Value:
    if approximate not in ("none", "tanh"):
        node.fail(f"approximate must be none or tanh, found {approximate}")
    return node.apply(activation.Gelu(approximate == "tanh"), x)


def ThresholdedRelu(node: Node, x: Value, *, alpha: float = 1.0) -> Value:
    return node.apply(activation.ThresholdedRelu(alpha), x)


def Shrink(node: Node, x: Value, *, bias: float = 0.0, lambd: float = 0.5) -> Value:
    if x.type.dtype.is_float:
        return node.apply(activation.Shrink(bias, lambd), x)
    low, high, step, zero = (node.scalar(n, x) for n in (-lambd, lambd, bias, 0))
    upper = node.select(node.binary("less", high, x), node.subtract(x, step), zero)
    return node.select(node.binary("less", x, low), node.add(x, step), upper)


def Clip(
    node: Node,
    x: Value,
    low: Value | None = None,
    high: Value | None = None,
    *,
    min: float | None = None,
    max: float | None = None,
) -> Value:
    """Attributes up to opset 10, inputs after."""
    low = low if min is None else node.scalar(min, x)
    high = high if max is None else node.scalar(max, x)
    fixed = all(bound is None or is_constant(bound) for bound in (low, high))
    if fixed and x.type.dtype.is_float:
        lowest = None if low is None else node.number(low, "min")
        highest = None if high is None else node.number(high, "max")
        return x if lowest is highest is None else node.apply(activation.Clip(lowest, highest), x)
    result = x if low is None else node.binary("max", x, _scalar(node, low, "min"))
    return result if high is None else node.binary("min", result, _scalar(node, high, "max"))


def _scalar(node: Node, bound: Value, what: str) -> Value:
    """A bound without axes, which would become those of the result."""
    if bound.type.elements != 1:
        node.fail(f"{what} has to be one number, it is {bound.type}")
    return node.reshape(bound, ())


def Softmax(node: Node, x: Value, *, axis: int | None = None) -> Value:
    if node.version >= 13:
        return node.apply(SoftmaxOp(node.axis(-1 if axis is None else axis, x.type.rank)), x)
    flat = _as_matrix(node, x, axis)
    return node.reshape(node.apply(SoftmaxOp(1), flat), x.type.shape)


def LogSoftmax(node: Node, x: Value, *, axis: int | None = None) -> Value:
    if node.version >= 13:
        return node.apply(LogSoftmaxOp(node.axis(-1 if axis is None else axis, x.type.rank)), x)
    flat = _as_matrix(node, x, axis)
    return node.reshape(node.apply(LogSoftmaxOp(1), flat), x.type.shape)


def Hardmax(node: Node, x: Value, *, axis: int | None = None) -> Value:
    if node.version >= 13:
        return _hardmax(node, x, node.axis(-1 if axis is None else axis, x.type.rank))
    return node.reshape(_hardmax(node, _as_matrix(node, x, axis), 1), x.type.shape)


def _hardmax(node: Node, x: Value, axis: int) -> Value:
    first = node.apply(ArgReduction("max", axis, True, False), x)
    extent = x.type.shape[axis]
    positions = iota(node, extent, axis, x.type.rank)
    return node.cast(node.binary("equal", first, positions), x.type.dtype)


def _as_matrix(node: Node, x: Value, axis: int | None) -> Value:
    """Up to opset 12 all axes from `axis` (default 1) on are one."""
    split = node.axis(1 if axis is None else axis, x.type.rank) if x.type.rank > 1 or axis is not None else 0
    return node.reshape(x, (product(x.type.shape[:split]), product(x.type.shape[split:])))


def Dropout(
    node: Node,
    x: Value,
    ratio_value: Value | None = None,
    training_mode: Value | None = None,
    *,
    ratio: float = 0.5,
    seed: int = 0,
) -> list[Value]:
    """At inference the identity, with a mask that keeps everything."""
    if training_mode is not None and node.number(training_mode, "training_mode"):
        share = ratio if ratio_value is None else node.number(ratio_value, "ratio")
        if share:
            node.unsupported("it is in training mode; export the model in evaluation mode")
    return [x, node.expand(node.constant(True, BOOL), x.type.shape)] if node.wants(1) else [x]
