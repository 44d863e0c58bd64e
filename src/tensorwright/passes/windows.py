"""Convolutions over few channels as convolutions over windows of them."""

from __future__ import annotations

import numpy as np

from tensorwright.graph.graph import Value, apply, constant_value, is_constant, weights_in
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.width_windows import WidthWindows
from tensorwright.passes.rewrite import rewrite, rules_pass
from tensorwright.tensor.dim import product, tuning_value
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, INT8, UINT8
from tensorwright.tensor.weights import weights_of

FEW = 8
"""Channels that one access of a thread reads, or two for float32."""


MANY_PRODUCTS = 1 << 22
"""With fewer multiply-adds than this for an image a kernel more costs more than tensor cores or tiles bring."""


@rewrite(Convolution)
def windows_as_channels(value: Value) -> Value | None:
    """``conv(x, K×L) = conv(WidthWindows(x), K×1)``, where x has few channels, and two-byte elements or much to do.

    The windows are as wide as it takes to have a multiple of 8 channels; the weights beyond the kernel's width are 0.
    """
    op = value.op
    assert isinstance(op, Convolution)
    x, weights, *bias = value.inputs
    if (
        op.groups != 1
        or len(op.strides) != 2
        or op.dilations != (1, 1)
        or x.type.dtype not in (FLOAT16, BFLOAT16, FLOAT32, INT8, UINT8)
    ):
        return None
    channels, width, positions = x.type.shape[1], weights.type.shape[3], value.type.shape[3]
    if not (isinstance(channels, int) and isinstance(width, int) and isinstance(positions, int)):
        return None
    if x.type.dtype == FLOAT32 and _products_of_image(value) < MANY_PRODUCTS:
        return None
    if channels >= FEW or not is_constant(weights) or channels * width < FEW:
        return None
    window = next(wide for wide in range(width, width + FEW) if wide * channels % FEW == 0)
    array = weights_in(weights).array
    padded = np.pad(array, ((0, 0), (0, 0), (0, 0), (0, window - width)))
    moved = padded.transpose(0, 3, 1, 2).reshape(array.shape[0], window * channels, array.shape[2], 1)
    windows = apply(WidthWindows(window, op.strides[1], op.pads_begin[1], positions), x, name=value.name)
    kernel = constant_value(weights_of(moved), name=weights.name)
    narrow = Convolution((op.strides[0], 1), (op.pads_begin[0], 0), (op.pads_end[0], 0), (1, 1))
    return apply(narrow, windows, kernel, *bias, name=value.name)


def _products_of_image(value: Value) -> int:
    """Multiply-adds of a convolution for one image."""
    return tuning_value(product((*value.type.shape[1:], *value.inputs[1].type.shape[1:])))


widen_channels = rules_pass("widen_channels", [windows_as_channels])
