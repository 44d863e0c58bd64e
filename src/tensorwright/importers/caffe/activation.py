"""Functions of one element."""

from __future__ import annotations

from math import log

import numpy as np

from tensorwright.graph.graph import Value
from tensorwright.importers.caffe.layer import Layer
from tensorwright.importers.caffe.registry import reads
from tensorwright.ops import activation
from tensorwright.tensor.dtype import FLOAT32

_ENGINE = ("engine",)


@reads("relu_param", _ENGINE)
def ReLU(layer: Layer, x: Value, *, negative_slope: float = 0.0) -> Value:
    """``x > 0 ? x : negative_slope x``."""
    return layer.apply(activation.LeakyRelu(negative_slope) if negative_slope else activation.Relu(), x)


def ReLU6(layer: Layer, x: Value) -> Value:
    """``min(max(x, 0), 6)``."""
    return layer.apply(activation.Clip(0.0, 6.0), x)


@reads("prelu_param", ("filler",))
def PReLU(layer: Layer, x: Value, *, channel_shared: bool = False) -> Value:
    """``x > 0 ? x : slope x`` with a slope for each channel, or one for all."""
    if x.type.rank < 2:
        layer.fail(f"expected a bottom of at least 2 axes, found {x.type}")
    if channel_shared:
        return layer.apply(activation.PRelu(), x, layer.weights(0, (), "slope", spread="bias"))
    (channels,) = layer.static(x.type.shape[1:2], "the number of channels")
    view = (channels, *[1] * (x.type.rank - 2))
    return layer.apply(activation.PRelu(), x, layer.weights(0, (channels,), "slopes", spread="bias", view=view))


@reads("elu_param")
def ELU(layer: Layer, x: Value, *, alpha: float = 1.0) -> Value:
    """``x > 0 ? x : alpha (exp(x) - 1)``."""
    return layer.apply(activation.Elu(alpha), x)


@reads("sigmoid_param", _ENGINE)
def Sigmoid(layer: Layer, x: Value) -> Value:
    return layer.apply(activation.Sigmoid(), x)


@reads("tanh_param", _ENGINE)
def TanH(layer: Layer, x: Value) -> Value:
    return layer.unary("tanh", x)


def AbsVal(layer: Layer, x: Value) -> Value:
    return layer.unary("abs", x)


def BNLL(layer: Layer, x: Value) -> Value:
    """``log(1 + exp(x))``."""
    return layer.apply(activation.Softplus(), x)


@reads("swish_param")
def Swish(layer: Layer, x: Value, *, beta: float = 1.0) -> Value:
    """``x sigmoid(beta x)``."""
    if beta == 1:
        return layer.apply(activation.Silu(), x)
    return layer.multiply(x, layer.apply(activation.Sigmoid(), _scaled(layer, x, beta)))


@reads("clip_param")
def Clip(layer: Layer, x: Value, *, min: float, max: float) -> Value:
    """``min(max(x, low), high)``."""
    return layer.apply(activation.Clip(min, max), x)


@reads("threshold_param")
def Threshold(layer: Layer, x: Value, *, threshold: float = 0.0) -> Value:
    """``x > threshold ? 1 : 0``."""
    return layer.cast(layer.binary("less", layer.scalar(threshold, x), x), FLOAT32)


@reads("power_param")
def Power(layer: Layer, x: Value, *, power: float = 1.0, scale: float = 1.0, shift: float = 0.0) -> Value:
    """``(shift + scale x) ^ power``."""
    line = _line(layer, x, scale, shift)
    match power:
        case 1:
            return line
        case 2:
            return layer.multiply(line, line)
        case 0.5:
            return layer.unary("sqrt", line)
        case _:
            return layer.binary("pow", line, layer.scalar(power, x))


@reads("exp_param")
def Exp(layer: Layer, x: Value, *, base: float = -1.0, scale: float = 1.0, shift: float = 0.0) -> Value:
    """``base ^ (shift + scale x)``; base -1 stands for e."""
    factor = _log_of_base(layer, base)
    result = layer.unary("exp", _scaled(layer, x, scale * factor))
    with np.errstate(over="ignore"):
        return _scaled(layer, result, float(np.exp(shift * factor)))


@reads("log_param")
def Log(layer: Layer, x: Value, *, base: float = -1.0, scale: float = 1.0, shift: float = 0.0) -> Value:
    """The logarithm to `base` of ``shift + scale x``; base -1 stands for e."""
    factor = _log_of_base(layer, base)
    if factor == 0:
        layer.fail("base: expected a positive number other than 1, or -1 for e, found 1")
    return _scaled(layer, layer.unary("log", _line(layer, x, scale, shift)), 1 / factor)


def _log_of_base(layer: Layer, base: float) -> float:
    if base == -1:
        return 1.0
    if not base > 0:
        layer.fail(f"base: expected a positive number, or -1 for e, found {base:g}")
    return log(base)


def _line(layer: Layer, x: Value, scale: float, shift: float) -> Value:
    scaled = _scaled(layer, x, scale)
    return scaled if shift == 0 else layer.add(scaled, layer.scalar(shift, x))


def _scaled(layer: Layer, x: Value, factor: float) -> Value:
    return x if factor == 1 else layer.multiply(x, layer.scalar(factor, x))
