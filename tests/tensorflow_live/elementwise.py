"""Elementwise operators with all ways to broadcast, and element types."""

from __future__ import annotations

from itertools import product

import numpy as np

from tensorflow_live.graph import POSITIVE, UNIT, A, Feed, case

BINARY = {
    "Add": A, "AddV2": A, "Sub": A, "Mul": A, "Div": POSITIVE, "RealDiv": POSITIVE, "Minimum": A, "Maximum": A,
    "Pow": POSITIVE, "SquaredDifference": A, "FloorDiv": POSITIVE, "FloorMod": POSITIVE,
}  # fmt: skip
for _name, _feed in BINARY.items():
    for _label, _shape in (
        ("same", (3, 4)),
        ("row", (4,)),
        ("column", (3, 1)),
        ("scalar", ()),
        ("wider", (5, 1, 1, 4)),
    ):
        _low = 0.3 if _feed is POSITIVE else -1.0

        @case(f"{_name}-{_label}", _feed, any_batch=_label != "wider")
        def _(net, x, name=_name, shape=_shape, low=_low):
            operator = getattr(net.tf.raw_ops, name)
            return [operator(x=x, y=net.variable(*shape, low=low)), operator(x=net.variable(*shape, low=low), y=x)]

    if _name not in ("Pow", "RealDiv", "SquaredDifference"):
        for _dtype in ("int32", "int64", "float64"):

            @case(f"{_name}-{_dtype}", Feed((2, 3, 4), 1, 9, _dtype))
            def _(net, x, name=_name, dtype=_dtype):
                return getattr(net.tf.raw_ops, name)(x=x, y=net.variable(4, low=1, high=7, dtype=dtype))


for _exponent in (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0):

    @case(f"Pow-{_exponent}", A if _exponent.is_integer() and _exponent >= 0 else POSITIVE)
    def _(net, x, exponent=_exponent):
        return net.tf.pow(x, exponent)


UNARY = {
    **dict.fromkeys(("negative", "abs", "square", "exp", "sign", "sin", "cos", "tan", "tanh", "sigmoid", "sinh", "cosh",
                     "atan", "asinh", "floor", "math.ceil", "round", "nn.relu", "nn.relu6", "nn.elu", "nn.selu",
                     "nn.softplus", "nn.softsign", "identity", "stop_gradient", "zeros_like", "ones_like", "math.erf",
                     "math.expm1", "nn.swish", "nn.gelu", "nn.leaky_relu"), A),
    **dict.fromkeys(("sqrt", "math.rsqrt", "math.log", "math.log1p", "math.reciprocal"), POSITIVE),
    **dict.fromkeys(("asin", "acos", "atanh"), UNIT),
    "acosh": Feed((2, 3), 1.1, 4),
}  # fmt: skip
for (_name, _feed), _dtype in product(UNARY.items(), ("float32", "float64")):

    @case(f"{_name}-{_dtype}", Feed(_feed.shape, _feed.low, _feed.high, _dtype))
    def _(net, x, name=_name):
        function = net.tf
        for part in name.split("."):
            function = getattr(function, part)
        return function(x)


for _name in ("Relu", "Relu6", "Elu", "Selu", "Softplus", "Tanh", "Sigmoid", "Exp"):

    @case(f"{_name}-far", Feed((2, 64), -60, 60))
    def _(net, x, name=_name):
        x = x if name != "Exp" else net.tf.minimum(x, 20.0)
        argument = "x" if name in ("Tanh", "Sigmoid", "Exp") else "features"
        return getattr(net.tf.raw_ops, name)(**{argument: x})


for _alpha in (0.0, 0.05, 0.2, 1.0, 1.5):

    @case(f"LeakyRelu-{_alpha}", A)
    def _(net, x, alpha=_alpha):
        return net.tf.nn.leaky_relu(x, alpha)


for _shape in ((2, 4), (2, 3, 4), (2, 5, 6, 4)):
    for _format in ("NHWC", "NCHW") if len(_shape) > 2 else ("NHWC",):
        _channels = _shape[-1] if _format == "NHWC" else _shape[1]

        @case(f"BiasAdd-{len(_shape)}-{_format}", _shape)
        def _(net, x, channels=_channels, data_format=_format):
            return net.tf.nn.bias_add(x, net.variable(channels), data_format)


for _shape in ((5,), (2, 4), (2, 3, 4), (2, 5, 6, 4)):
    for _axis in range(-1, len(_shape)):

        @case(f"Softmax-{len(_shape)}-{_axis}", _shape)
        def _(net, x, axis=_axis):
            return [net.tf.nn.softmax(x, axis), net.tf.nn.log_softmax(x, axis)]


for _name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
    for _dtype in ("int32", "int64", "float32", "float64"):

        @case(f"{_name}-{_dtype}", Feed((2, 3, 4), 0, 3, _dtype), Feed((2, 1, 4), 0, 3, _dtype))
        def _(net, x, y, name=_name):
            return getattr(net.tf, name)(net.tf.round(x), net.tf.round(y))


@case("logical", A, A)
def _(net, x, y):
    p, q = x > 0.1, y < 0.2
    tf = net.tf
    return [tf.logical_and(p, q), tf.logical_or(p, q), tf.logical_not(p), tf.math.logical_xor(p, q), tf.equal(p, q)]


@case("Select", A, A, Feed((2,)))
def _(net, x, y, z):
    tf = net.tf
    return [
        tf.compat.v1.where(x > y, x, y), tf.compat.v1.where(z > 0, x, y), tf.where(x > 0, x, 0.5),
        tf.where(tf.reshape(z > 0, (-1, 1, 1)), x, y), tf.where(x[:1, :, :1] > 0, x, y),
    ]  # fmt: skip


TYPES = ("float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")
for _source, _target in product(TYPES, TYPES):

    @case(
        f"Cast-{_source}-{_target}",
        Feed((2, 6), 0 if {_source, _target} & {"uint8", "bool"} else -9, 2 if _source == "bool" else 9, _source),
    )
    def _(net, x, target=_target):
        return net.tf.cast(x, target)


for _dtype in TYPES:

    @case(f"Const-{_dtype}", Feed((2, 4), 0, 2, _dtype))
    def _(net, x, dtype=_dtype):
        tf, values = net.tf, np.arange(8).reshape(2, 4).astype(dtype)
        return [
            tf.stack([x, tf.constant(values)]) if x.shape[0] == 2 else tf.concat([x, tf.constant(values)], 0),
            tf.concat([x, tf.constant(np.ones((), dtype), shape=(2, 4))], 0),
            tf.concat([x, tf.fill((1, 4), tf.constant(np.ones((), dtype)))], 0),
        ]  # fmt: skip
