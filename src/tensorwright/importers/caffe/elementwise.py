"""Layers that combine bottoms element by element, or with weights along some axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tensorwright.graph.graph import Value
from tensorwright.importers.caffe.layer import Layer
from tensorwright.importers.caffe.registry import reads
from tensorwright.tensor.dim import Dim


@reads("eltwise_param", ("stable_prod_grad",))
def Eltwise(
    layer: Layer, *inputs: Value, operation: Literal["PROD", "SUM", "MAX"] = "SUM", coeff: tuple[float, ...] = ()
) -> Value:
    """Product, sum, weighed by coefficients where they are given, or the largest, of two or more bottoms."""
    if len(inputs) < 2:
        layer.fail(f"expected at least 2 bottoms, found {len(inputs)}")
    _expect_equal(layer, inputs)
    if coeff and operation != "SUM":
        layer.fail(f"coeff is only for operation: SUM, found {operation}")
    if coeff and len(coeff) != len(inputs):
        layer.fail(f"coeff: expected one value for each of the {len(inputs)} bottoms, found {len(coeff)}")
    if operation != "SUM":
        return _folded(layer, "mul" if operation == "PROD" else "max", inputs)
    factors = coeff or (1.0,) * len(inputs)
    total = _times(layer, inputs[0], factors[0])
    for x, factor in zip(inputs[1:], factors[1:], strict=True):
        total = layer.subtract(total, x) if factor == -1 else layer.add(total, _times(layer, x, factor))
    return total


@reads("scale_param", ("filler", "bias_filler"))
def Scale(
    layer: Layer,
    x: Value,
    factor: Value | None = None,
    *,
    axis: int = 1,
    num_axes: int = 1,
    bias_term: bool = False,
) -> Value:
    """``x · scale (+ bias)`` with a scale, trained or the second bottom, over `num_axes` axes from `axis` on."""
    covered = _covered(layer, x, factor, axis, num_axes)
    if factor is None:
        scaled = layer.multiply(x, _along(layer, x, 0, covered, "scale", positive=True))
    else:
        scaled = layer.multiply(x, _spread(layer, x, factor, covered))
    if not bias_term:
        return scaled
    return layer.add(scaled, _along(layer, x, 0 if factor else 1, covered, "bias"))


@reads("bias_param", ("filler",))
def Bias(layer: Layer, x: Value, bias: Value | None = None, *, axis: int = 1, num_axes: int = 1) -> Value:
    """``x + bias`` with a bias, trained or the second bottom, over `num_axes` axes from `axis` on."""
    covered = _covered(layer, x, bias, axis, num_axes)
    return layer.add(x, _along(layer, x, 0, covered, "bias") if bias is None else _spread(layer, x, bias, covered))


def Axpy(layer: Layer, factor: Value, x: Value, y: Value) -> Value:
    """``factor · x + y`` with one factor for each channel of each image."""
    _expect_equal(layer, (x, y))
    lead, rest = factor.type.shape[:2], factor.type.shape[2:]
    if x.type.rank < 2 or lead != x.type.shape[:2] or any(extent != 1 for extent in rest):
        layer.fail(f"expected one factor for each channel of {x.type}, found {factor.type}")
    shaped = layer.reshape(factor, (*lead, *[1] * (x.type.rank - 2)))
    return layer.add(layer.multiply(shaped, x), y)


def _expect_equal(layer: Layer, inputs: Sequence[Value]) -> None:
    for number, x in enumerate(inputs):
        if x.type.shape != inputs[0].type.shape:
            layer.fail(f"expected bottoms of one shape, found {inputs[0].type} and bottom {number} {x.type}")


def _folded(layer: Layer, function: str, inputs: Sequence[Value]) -> Value:
    result = inputs[0]
    for x in inputs[1:]:
        result = layer.binary(function, result, x)
    return result


def _times(layer: Layer, x: Value, factor: float) -> Value:
    return x if factor == 1 else layer.multiply(x, layer.scalar(factor, x))


def _covered(layer: Layer, x: Value, other: Value | None, axis: int, num_axes: int) -> range:
    """The axes of x that weights, or a second bottom, have."""
    rank = x.type.rank
    if other is not None:
        num_axes = other.type.rank
    start = layer.axis(axis, rank) if num_axes else 0
    stop = rank if num_axes == -1 else start + num_axes
    if num_axes < -1 or stop > rank:
        layer.fail(f"axis {axis} and num_axes {num_axes} reach beyond the axes of the bottom {x.type}")
    return range(start, stop)


def _along(layer: Layer, x: Value, number: int, covered: range, what: str, *, positive: bool = False) -> Value:
    shape = layer.static(x.type.shape[covered.start : covered.stop], f"the shape of the {what}")
    view = (*shape, *[1] * (x.type.rank - covered.stop)) if covered else ()
    return layer.weights(number, shape, what, spread="positive" if positive else "bias", view=view)


def _spread(layer: Layer, x: Value, other: Value, covered: range) -> Value:
    expected: tuple[Dim, ...] = x.type.shape[covered.start : covered.stop]
    if other.type.shape != expected:
        layer.fail(f"expected a second bottom with axes {list(covered)} of {x.type}, found {other.type}")
    return layer.reshape(other, (*expected, *[1] * (x.type.rank - covered.stop))) if covered else other
