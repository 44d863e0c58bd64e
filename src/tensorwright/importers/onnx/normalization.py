"""Normalisations."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.graph.graph import Value
from tensorwright.importers.compose import computing_type
from tensorwright.importers.onnx.node import Node
from tensorwright.ops import normalization
from tensorwright.tensor.dim import Dim, floor_divide


def BatchNormalization(
    node: Node,
    x: Value,
    scale: Value,
    bias: Value,
    mean: Value,
    variance: Value,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    training_mode: int = 0,
) -> list[Value]:
    if not spatial:
        node.unsupported("statistics per element (spatial = 0) are not supported")
    if not training_mode:
        return [_batch_normalization(node, x, scale, bias, mean, variance, epsilon)]
    axes = [axis for axis in range(x.type.rank) if axis != 1]
    centre, spread = _moments(node, x, axes)
    channels = (x.type.shape[1],)
    centre = node.cast(node.reshape(centre, channels), mean.type.dtype)
    spread = node.cast(node.reshape(spread, channels), variance.type.dtype)
    running = [_blend(node, old, new, momentum) for old, new in ((mean, centre), (variance, spread))]
    return [_batch_normalization(node, x, scale, bias, centre, spread, epsilon), *running]


def _batch_normalization(
    node: Node, x: Value, scale: Value, bias: Value, mean: Value, variance: Value, epsilon: float
) -> Value:
    parameters = [node.cast(value, x.type.dtype) for value in (scale, bias, mean, variance)]
    return node.apply(normalization.BatchNormalization(epsilon), x, *parameters)


def _blend(node: Node, old: Value, new: Value, momentum: float) -> Value:
    kept = node.multiply(old, node.scalar(momentum, old))
    return node.add(kept, node.multiply(new, node.scalar(1 - momentum, new)))


def InstanceNormalization(node: Node, x: Value, scale: Value, bias: Value, *, epsilon: float = 1e-5) -> Value:
    return node.apply(normalization.InstanceNormalization(epsilon), x, scale, bias)


def GroupNormalization(
    node: Node, x: Value, scale: Value, bias: Value, *, epsilon: float = 1e-5, num_groups: int, stash_type: int = 1
) -> Value:
    """Scale and bias have one element per group up to opset 20, one per channel after."""
    channels = x.type.shape[1]
    if node.version < 21:
        scale, bias = (_per_channel(node, value, num_groups, channels) for value in (scale, bias))
    parameters = [node.cast(value, x.type.dtype) for value in (scale, bias)]
    return node.apply(normalization.GroupNormalization(num_groups, epsilon), x, *parameters)


def _per_channel(node: Node, value: Value, groups: int, channels: Dim) -> Value:
    if value.type.shape != (groups,):
        node.fail(f"scale and bias must have one element per group, [{groups}], found {value.type}")
    wide = node.expand(node.reshape(value, (groups, 1)), (groups, floor_divide(channels, groups)))
    return node.reshape(wide, (channels,))


def LayerNormalization(
    node: Node,
    x: Value,
    scale: Value,
    bias: Value | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> list[Value]:
    own = node.axis(axis, x.type.rank)
    inner = x.type.shape[own:]
    parameters = [_fitted(node, value, inner, x) for value in (scale, bias) if value is not None]
    result = node.apply(normalization.LayerNormalization(own, epsilon), x, *parameters)
    if not node.wants(1) and not node.wants(2):
        return [result]
    mean, variance = _moments(node, x, range(own, x.type.rank))
    deviation = node.unary("sqrt", node.add(variance, node.scalar(epsilon, variance)))
    return [result, mean, node.divide(node.scalar(1, deviation), deviation)]


def RMSNormalization(
    node: Node, x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Value:
    own = node.axis(axis, x.type.rank)
    return node.apply(normalization.RmsNormalization(own, epsilon), x, _fitted(node, scale, x.type.shape[own:], x))


def _fitted(node: Node, value: Value, inner: Sequence[Dim], x: Value) -> Value:
    """A parameter of the shape that is normalised over."""
    if value.type.rank > len(inner):
        extra = value.type.rank - len(inner)
        if any(extent != 1 for extent in value.type.shape[:extra]):
            node.unsupported(f"a scale or bias {value.type} that varies over axes that are not normalised")
        value = node.reshape(value, value.type.shape[extra:])
    return node.cast(node.expand(value, tuple(inner)), x.type.dtype)


def _moments(node: Node, x: Value, axes: Sequence[int]) -> tuple[Value, Value]:
    """Mean and (biased) variance, with the reduced axes kept."""
    wide = node.cast(x, computing_type(x.type.dtype))
    mean = node.reduce("mean", wide, axes)
    centred = node.subtract(wide, mean)
    return mean, node.reduce("mean", node.multiply(centred, centred), axes)


def LRN(node: Node, x: Value, *, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0, size: int) -> Value:
    return node.apply(normalization.LocalResponseNormalization(size, alpha, beta, bias), x)


def LpNormalization(node: Node, x: Value, *, axis: int = -1, p: int = 2) -> Value:
    if p not in (1, 2):
        node.fail(f"p must be 1 or 2, found {p}")
    return node.apply(normalization.LpNormalization(node.axis(axis, x.type.rank), p), x)


def MeanVarianceNormalization(node: Node, x: Value, *, axes: tuple[int, ...] = (0, 2, 3)) -> Value:
    """``(x - mean) / (sqrt(variance) + 1e-9)``, as the operator's definition in the standard has it."""
    mean, variance = _moments(node, x, node.axes(axes, x.type.rank))
    deviation = node.add(node.unary("sqrt", variance), node.scalar(1e-9, variance))
    return node.cast(node.divide(node.subtract(node.cast(x, mean.type.dtype), mean), deviation), x.type.dtype)


def SimplifiedLayerNormalization(
    node: Node, x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Value:
    """ONNX Runtime's name, in the standard domain, for what became RMSNormalization."""
    return RMSNormalization(node, x, scale, axis=axis, epsilon=epsilon, stash_type=stash_type)
