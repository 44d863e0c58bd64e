"""Normalisations."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.images import (
    batch_normalization,
    is_channels_last,
    local_response_normalization,
    statistics,
)
from tensorwright.importers.tensorflow.node import Node


def FusedBatchNorm(
    node: Node,
    x: Value,
    scale: Value,
    offset: Value,
    mean: Value,
    variance: Value,
    *,
    epsilon: float = 1e-4,
    exponential_avg_factor: float = 1.0,
    data_format: str = "NHWC",
    is_training: bool = True,
) -> list[Value | None]:
    """In training the statistics are those of the batch; the running averages are no output here."""
    last = is_channels_last(node, data_format)
    if not is_training:
        result = batch_normalization(node, x, scale, offset, mean, variance, epsilon, last)
        return [result, mean, variance, mean, variance]
    own_mean, own_variance = statistics(node, x, last)
    return [batch_normalization(node, x, scale, offset, own_mean, own_variance, epsilon, last)]


def FusedBatchNormV2(
    node: Node,
    x: Value,
    scale: Value,
    offset: Value,
    mean: Value,
    variance: Value,
    *,
    epsilon: float = 1e-4,
    exponential_avg_factor: float = 1.0,
    data_format: str = "NHWC",
    is_training: bool = True,
) -> list[Value | None]:
    return FusedBatchNorm(
        node, x, scale, offset, mean, variance, epsilon=epsilon, data_format=data_format, is_training=is_training
    )


def FusedBatchNormV3(
    node: Node,
    x: Value,
    scale: Value,
    offset: Value,
    mean: Value,
    variance: Value,
    *,
    epsilon: float = 1e-4,
    exponential_avg_factor: float = 1.0,
    data_format: str = "NHWC",
    is_training: bool = True,
) -> list[Value | None]:
    return FusedBatchNorm(
        node, x, scale, offset, mean, variance, epsilon=epsilon, data_format=data_format, is_training=is_training
    )


def BatchNormWithGlobalNormalization(
    node: Node,
    x: Value,
    mean: Value,
    variance: Value,
    beta: Value,
    gamma: Value,
    *,
    variance_epsilon: float,
    scale_after_normalization: bool,
) -> Value:
    scale = gamma if scale_after_normalization else node.expand(node.scalar(1, gamma), gamma.type.shape)
    return batch_normalization(node, x, scale, beta, mean, variance, variance_epsilon, True)


def LRN(
    node: Node, x: Value, *, depth_radius: int = 5, bias: float = 1.0, alpha: float = 1.0, beta: float = 0.5
) -> Value:
    return local_response_normalization(node, x, depth_radius, alpha, beta, bias, True)
