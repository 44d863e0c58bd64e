"""What is fused behind an anchor, in words."""

from __future__ import annotations

import numpy as np

from tensorwright.graph.graph import Value, apply, constant_value, input_value
from tensorwright.graph.region import Region, region_of
from tensorwright.ops.activation import Clip, Gelu, HardSwish, Relu
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.float8 import ToFloat8
from tensorwright.ops.quantization import Dequantize, Quantize
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import UINT8, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

ACTIVATIONS = {
    "relu": Relu(),
    "gelu": Gelu(False),
    "gelu-tanh": Gelu(True),
    "clip": Clip(0.0, 6.0),
    "hardswish": HardSwish(),
}


def constant(array: np.ndarray | np.generic) -> Value:
    """A constant of given elements."""
    return constant_value(weights_of(np.asarray(array)))


def weights(rng: np.random.Generator, dtype: DType, *shape: Dim, low: float = -1.0, high: float = 1.0) -> Value:
    """A constant of random elements."""
    return constant_value(weights_of(rng.uniform(low, high, shape).astype(dtype.numpy)))


def following(word: str, value: Value, rng: np.random.Generator) -> Value:
    """An activation by its name, or: "add" another input of this type; "half" of it; "scale", a constant for every
    channel; "columns" or "row", a constant for every index of the last axis, on the right or left of the sum; "rows",
    one for every index of the axis before; "image", another input without channels; "bytes", quantised; "residual",
    another input of bytes, widened; "float8", the bytes of numbers of 8 bits.
    """
    dtype, shape = value.type.dtype, value.type.shape
    match word:
        case "add":
            return apply(Binary("add"), value, input_value("residual", value.type))
        case "half":
            return apply(Binary("mul"), value, constant_value(weights_of(np.asarray(0.5, dtype.numpy))))
        case "scale":
            spread = (1, shape[1], *(1,) * (len(shape) - 2))
            return apply(Binary("mul"), value, weights(rng, dtype, *spread, low=0.5, high=2))
        case "columns":
            return apply(Binary("add"), value, weights(rng, dtype, *shape[-1:]))
        case "row":
            return apply(Binary("add"), weights(rng, dtype, *shape[-1:]), value)
        case "rows":
            return apply(Binary("add"), value, weights(rng, dtype, shape[-2], 1))
        case "image":
            return apply(Binary("mul"), value, input_value("image", TensorType(dtype, (shape[0], 1, *shape[2:]))))
        case "bytes":
            return apply(Quantize(UINT8), value, constant(np.float32(0.02)), constant(np.uint8(77)))
        case "float8":
            return apply(ToFloat8(), value)
    return apply(ACTIVATIONS[word], value)


def followed(value: Value, words: str, rng: np.random.Generator, anchor: Value | None = None) -> Region:
    """The region of an anchor and what follows it, or follows one value behind it."""
    values = [value] if anchor is None else [anchor, value]
    anchor = anchor or value
    for word in words.split():
        if word == "residual":
            integers = input_value("residual", TensorType(UINT8, values[-1].type.shape))
            values.append(apply(Dequantize(), integers, constant(np.float32(0.03)), constant(np.uint8(5))))
            values.append(apply(Binary("add"), *values[-2:]))
        else:
            values.append(following(word, values[-1], rng))
    return region_of(values, anchor if anchor.op.kind in ("anchor", "reduction") else None)
