"""Resampling to another extent."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value
from tensorwright.importers.compose import LONGEST
from tensorwright.importers.onnx.node import Node
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.resize import Resize as ResizeOp
from tensorwright.tensor.dim import Dim, floor_divide

Ints = tuple[int, ...]
Floats = npt.NDArray[np.float64]
Scales = tuple[float | None, ...]


def Upsample(
    node: Node,
    x: Value,
    scales_value: Value | None = None,
    *,
    mode: str = "nearest",
    scales: tuple[float, ...] | None = None,
) -> Value:
    """Scales are an attribute up to opset 8, an input in opset 9."""
    given = scales if scales_value is None else _floats(node, scales_value, "scales")
    if given is None:
        node.fail("scales are required, but absent")
    return _plain(node, x, mode, given)


def Resize(
    node: Node,
    x: Value,
    roi: Value | None = None,
    scales: Value | None = None,
    sizes: Value | None = None,
    *,
    antialias: int = 0,
    axes: Ints | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Value:
    """In opset 10 the only other input is the scales, and positions are not centred."""
    rank = x.type.rank
    if node.version < 11:
        if roi is None:
            node.fail("scales are required, but absent")
        return _plain(node, x, mode, _floats(node, roi, "scales"))
    chosen = tuple(range(rank)) if axes is None else tuple(node.axis(axis, rank) for axis in axes)
    if sizes is not None and sizes.type.elements != 0:
        wanted = node.dims(sizes, "sizes")
        _expect_count(node, "sizes", wanted, chosen)
        factors, shape = _from_sizes(node, x, chosen, wanted, keep_aspect_ratio_policy)
    elif scales is not None and scales.type.elements != 0:
        given = _floats(node, scales, "scales")
        _expect_count(node, "scales", given, chosen)
        factors, shape = _from_scales(x, chosen, given)
    else:
        node.fail("scales or sizes are required, but both are absent")
    operator = ResizeOp(
        mode,  # type: ignore[arg-type]
        factors,
        shape,
        coordinate_transformation_mode,  # type: ignore[arg-type]
        nearest_mode,  # type: ignore[arg-type]
        cubic_coeff_a,
        bool(exclude_outside),
        extrapolation_value,
        _region(node, roi, chosen, rank) if coordinate_transformation_mode == "tf_crop_and_resize" else (),
    )
    shrinks = any(factor is None or factor < 1 for factor in factors)
    return _antialiased(node, x, operator) if antialias and shrinks and mode != "nearest" else node.apply(operator, x)


def _plain(node: Node, x: Value, mode: str, scales: Sequence[float]) -> Value:
    """Up to opset 10 positions are ``index / scale``; *nearest* rounds down where an axis grows, else up."""
    if len(scales) != x.type.rank:
        node.fail(f"scales has {len(scales)} numbers, the input is {x.type}")
    if mode not in ("nearest", "linear", "bilinear"):
        node.fail(f"mode must be nearest or linear, found {mode}")
    own, result = "nearest" if mode == "nearest" else "linear", x
    for grows in (True, False):
        part = [scale if (scale >= 1) == grows else 1.0 for scale in scales]
        if any(scale != 1 for scale in part):
            factors, shape = _from_scales(result, range(x.type.rank), part)
            rounding = "floor" if grows else "ceil"
            operator = ResizeOp(own, factors, shape, "asymmetric", rounding)  # type: ignore[arg-type]
            result = node.apply(operator, result)
    return result


def _floats(node: Node, value: Value, what: str) -> tuple[float, ...]:
    found = tuple(float(number) for number in node.array(value, what).reshape(-1))
    if not np.isfinite(found).all():
        node.fail(f"{what}: expected finite numbers, found {list(found)}")
    return found


def _expect_count(node: Node, what: str, given: Sequence[object], axes: Ints) -> None:
    if len(given) != len(axes):
        node.fail(f"{what} has {len(given)} numbers, expected one for each of {len(axes)} axes")


def _from_scales(x: Value, axes: Sequence[int], scales: Sequence[float]) -> tuple[Scales, tuple[Dim, ...]]:
    factors: list[float | None] = [1.0] * x.type.rank
    shape = list(x.type.shape)
    for axis, scale in zip(axes, scales, strict=True):
        fraction = _simplest(scale)
        factors[axis] = scale
        shape[axis] = floor_divide(shape[axis] * fraction.numerator, fraction.denominator)
    return tuple(factors), tuple(shape)


def _simplest(scale: float) -> Fraction:
    """The fraction with a small denominator that a float32 stands for, if there is one."""
    simple = Fraction(scale).limit_denominator(4096)
    return simple if np.float32(simple) == np.float32(scale) else Fraction(scale)


def _from_sizes(node: Node, x: Value, axes: Ints, sizes: Sequence[Dim], policy: str) -> tuple[Scales, tuple[Dim, ...]]:
    factors: list[float | None] = [1.0] * x.type.rank
    shape = list(x.type.shape)
    if policy == "stretch":
        for axis, size in zip(axes, sizes, strict=True):
            factors[axis], shape[axis] = _ratio(size, shape[axis]), size
        return tuple(factors), tuple(shape)
    if policy not in ("not_larger", "not_smaller"):
        node.fail(f"keep_aspect_ratio_policy must be stretch, not_larger or not_smaller, found {policy}")
    extents = node.static([shape[axis] for axis in axes], "an axis that is resized with its aspect ratio kept")
    wanted = node.static(sizes, "sizes")
    if 0 in extents:
        node.fail(f"keep_aspect_ratio_policy {policy}: expected elements along the axes {list(axes)}, found {extents}")
    ratios = [Fraction(size, extent) for size, extent in zip(wanted, extents, strict=True)]
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    for axis, extent in zip(axes, extents, strict=True):
        factors[axis], shape[axis] = float(scale), floor(scale * extent + Fraction(1, 2))
    return tuple(factors), tuple(shape)


def _ratio(size: Dim, extent: Dim) -> float | None:
    """Output extent over input extent, if that is known now."""
    if isinstance(size, int) and isinstance(extent, int):
        return size / extent if extent else None
    whole, part = floor_divide(size, extent), floor_divide(extent, size)
    if isinstance(whole, int) and whole * extent == size:
        return float(whole)
    return 1 / part if isinstance(part, int) and part and part * size == extent else None


def _region(node: Node, roi: Value | None, axes: Ints, rank: int) -> tuple[float, ...]:
    if roi is None:
        node.fail("tf_crop_and_resize needs the input roi")
    given = _floats(node, roi, "roi")
    if len(given) != 2 * len(axes):
        node.fail(f"roi has {len(given)} numbers, expected starts and ends of {len(axes)} axes")
    starts, ends = [0.0] * rank, [1.0] * rank
    for number, axis in enumerate(axes):
        starts[axis], ends[axis] = given[number], given[number + len(axes)]
    return (*starts, *ends)


def _antialiased(node: Node, x: Value, operator: ResizeOp) -> Value:
    """Where an axis shrinks, the kernel is stretched to cover all elements: a product with a matrix of weights."""
    result = x
    for axis, factor in enumerate(operator.scales):
        if operator.shape[axis] == x.type.shape[axis]:
            continue
        extents = node.static((x.type.shape[axis], operator.shape[axis]), "an axis that is resized with antialias")
        if 0 in extents:
            node.fail(f"antialias from {extents[0]} to {extents[1]} elements; expected some")
        if extents[0] * extents[1] > LONGEST:
            node.fail(f"antialias from {extents[0]} to {extents[1]} elements; expected a product of at most {LONGEST}")
        scale = extents[1] / extents[0] if factor is None else factor
        matrix = node.constant(_weights(node, operator, extents, scale), x.type.dtype)
        order = [a for a in range(x.type.rank) if a != axis] + [axis]
        product = node.apply(MatMul(False, True), node.transpose(result, order), matrix)
        result = node.transpose(product, [order.index(a) for a in range(x.type.rank)])
    return result


def _weights(node: Node, operator: ResizeOp, extents: Ints, scale: float) -> Floats:
    """One row per output index: weights of the input elements, each row adding up to 1.

    Outside elements count as the nearest border element, or not at all with exclude_outside.
    """
    (extent, size), stretch = extents, min(1.0, scale)
    radius = 1 if operator.mode == "linear" else 2
    rows = np.zeros((size, extent))
    for index in range(size):
        centre = _centre(node, operator.coordinate_transformation, index, extents, scale)
        low, high = int(np.floor(centre - radius / stretch)) + 1, int(np.ceil(centre + radius / stretch)) - 1
        taps = np.arange(low, high + 1)
        weights = _kernel(operator, np.asarray((taps - centre) * stretch, dtype=np.float64))
        if operator.exclude_outside:
            weights = np.where((taps >= 0) & (taps < extent), weights, 0)
        np.add.at(rows[index], np.clip(taps, 0, extent - 1), weights / weights.sum())
    return rows


def _centre(node: Node, transformation: str, index: int, extents: Ints, scale: float) -> float:
    extent, size = extents
    match transformation:
        case "half_pixel":
            return (index + 0.5) / scale - 0.5
        case "pytorch_half_pixel":
            return (index + 0.5) / scale - 0.5 if size > 1 else 0.0
        case "half_pixel_symmetric":
            return extent / 2 * (1 - size / (scale * extent)) + (index + 0.5) / scale - 0.5
        case "asymmetric":
            return index / scale
        case "align_corners":
            return index * (extent - 1) / (size - 1) if size > 1 else 0.0
    return node.unsupported(f"antialias with coordinate_transformation_mode {transformation}")


def _kernel(operator: ResizeOp, distance: Floats) -> Floats:
    """The triangle, or the cubic of Keys with coefficient a."""
    away, a = np.abs(distance), operator.cubic_a
    if operator.mode == "linear":
        return np.asarray(np.maximum(0, 1 - away))
    near = ((a + 2) * away - (a + 3)) * away**2 + 1
    far = a * (((away - 5) * away + 8) * away - 4)
    return np.where(away <= 1, near, np.where(away < 2, far, 0))
