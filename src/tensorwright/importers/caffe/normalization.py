"""Normalisations, and softmax."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value
from tensorwright.importers.caffe.layer import Layer
from tensorwright.importers.caffe.registry import reads
from tensorwright.importers.caffe.schema import Unsigned
from tensorwright.ops import normalization
from tensorwright.ops.pooling import Pool
from tensorwright.tensor.dim import Dim

NVCAFFE_BLOBS = 5
"""Mean, variance, factor, scale and bias: in one branch of Caffe a BatchNorm layer holds those of Scale as well."""


@reads("batch_norm_param", ("moving_average_fraction", "engine", "scale_filler", "bias_filler", "scale_bias"))
def BatchNorm(layer: Layer, x: Value, *, use_global_stats: bool = True, eps: float = 1e-5) -> Value:
    """``(x - mean) / √(variance + eps)`` for each channel, by trained statistics unless `use_global_stats` is false."""
    if not use_global_stats:
        layer.warn("use_global_stats is false: every batch is normalised by its own mean and variance")
        return _own_statistics(layer, x, eps)
    axis = min(1, x.type.rank - 1)
    channels = layer.static(x.type.shape[axis : axis + 1] if x.type.rank > 1 else (1,), "the number of channels")
    mean = layer.numbers(0, channels, "mean", spread="bias")
    variance = layer.numbers(1, channels, "variance", spread="positive")
    (total,) = layer.numbers(2, (1,), "moving average factor", spread="positive")
    if total == 0:
        layer.warn("its moving average factor is 0, the layer was never trained: mean and variance count as 0")
    with np.errstate(all="ignore"):
        share = 1 / total if total else 0.0
        factor = 1 / np.sqrt(variance * share + eps)
        shift = -mean * share * factor
    if layer.stored.count == NVCAFFE_BLOBS:
        scale = layer.numbers(3, channels, "scale", spread="positive")
        factor, shift = factor * scale, shift * scale + layer.numbers(4, channels, "bias", spread="bias")
    view = (*channels, *[1] * max(0, x.type.rank - 2))
    scaled = layer.multiply(x, layer.computed(_finite(layer, factor).reshape(view), "scale"))
    return layer.add(scaled, layer.computed(_finite(layer, shift).reshape(view), "shift"))


@reads("lrn_param", ("engine",))
def LRN(
    layer: Layer,
    x: Value,
    *,
    local_size: Unsigned = 5,
    alpha: float = 1.0,
    beta: float = 0.75,
    norm_region: Literal["ACROSS_CHANNELS", "WITHIN_CHANNEL"] = "ACROSS_CHANNELS",
    k: float = 1.0,
) -> Value:
    """``x / (k + alpha · mean of x²) ^ beta`` over `local_size` channels, or a square of one channel with k = 1."""
    if local_size % 2 == 0:
        layer.fail(f"local_size: expected an odd number, found {local_size}")
    if norm_region == "ACROSS_CHANNELS":
        return layer.apply(normalization.LocalResponseNormalization(local_size, alpha, beta, k), x)
    if x.type.rank != 4:
        layer.fail(f"norm_region: WITHIN_CHANNEL: expected a bottom of 4 axes, found {x.type}")
    pads = ((local_size - 1) // 2,) * 2
    window = (local_size,) * 2
    mean = layer.apply(Pool("average", window, (1, 1), pads, pads, (1, 1), False, True), layer.multiply(x, x))
    base = layer.add(layer.multiply(mean, layer.scalar(alpha, x)), layer.scalar(1.0, x))
    return layer.multiply(x, layer.binary("pow", base, layer.scalar(-beta, x)))


@reads("mvn_param")
def MVN(
    layer: Layer, x: Value, *, normalize_variance: bool = True, across_channels: bool = False, eps: float = 1e-9
) -> Value:
    """``(x - mean) / (√variance + eps)`` over each channel of each image, or over each image."""
    axes = range(1 if across_channels else 2, x.type.rank)
    if not axes:
        layer.fail(f"expected a bottom with axes to normalise over, found {x.type}")
    centred = layer.subtract(x, layer.reduce("mean", x, axes))
    if not normalize_variance:
        return centred
    variance = layer.reduce("mean", layer.multiply(centred, centred), axes)
    return layer.divide(centred, layer.add(layer.unary("sqrt", variance), layer.scalar(eps, x)))


@reads("norm_param", ("scale_filler",))
def Normalize(
    layer: Layer, x: Value, *, across_spatial: bool = True, channel_shared: bool = True, eps: float = 1e-10
) -> Value:
    """``scale · x / √(Σx² + eps)`` over the channels at each place, or over each image; the scale is trained."""
    if x.type.rank < 2:
        layer.fail(f"expected a bottom of at least 2 axes, found {x.type}")
    axes = range(1, x.type.rank) if across_spatial else (1,)
    total = layer.add(layer.reduce("sum_square", x, axes), layer.scalar(eps, x))
    shape: tuple[Dim, ...] = () if channel_shared else x.type.shape[1:2]
    view = (*layer.static(shape, "the number of channels"), *[1] * (x.type.rank - 2 if shape else 0))
    scale = layer.weights(0, shape, "scale", spread="positive", view=view)
    return layer.multiply(layer.divide(x, layer.unary("sqrt", total)), scale)


@reads("softmax_param", ("engine",))
def Softmax(layer: Layer, x: Value, *, axis: int = 1) -> Value:
    return layer.apply(normalization.Softmax(layer.axis(axis, x.type.rank)), x)


@reads("softmax_param", ("engine",))
def SoftmaxWithLoss(layer: Layer, x: Value, labels: Value | None = None, *, axis: int = 1) -> Value:
    """Without labels to compare with, the probabilities."""
    if labels is not None:
        layer.unsupported("it computes a loss; write a Softmax layer")
    return Softmax(layer, x, axis=axis)


def _own_statistics(layer: Layer, x: Value, eps: float) -> Value:
    axes = [axis for axis in range(x.type.rank) if axis != 1]
    centred = layer.subtract(x, layer.reduce("mean", x, axes))
    variance = layer.reduce("mean", layer.multiply(centred, centred), axes)
    return layer.divide(centred, layer.unary("sqrt", layer.add(variance, layer.scalar(eps, x))))


def _finite(layer: Layer, array: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if not np.isfinite(array).all():
        layer.fail("its variance is negative or not a number; the model is damaged, or belongs to another definition")
    return array
