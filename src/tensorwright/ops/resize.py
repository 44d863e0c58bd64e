"""Resampling to another extent along any axes, as ONNX Resize states it.

Coordinates are exact: a scale is taken as the fraction with the smallest denominator that agrees with it to float32
precision, and the coordinate of an output index is a fraction of integers, so rounding never depends on float noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import gcd
from typing import Literal

import numpy as np
import numpy.typing as npt

from tensorwright.graph.expression import Apply, Computation, IndexValue, Load, Scalar, compare, inside, variables_for
from tensorwright.graph.op import Array, Op, expect, expect_inputs
from tensorwright.ops.checks import expect_float, show
from tensorwright.ops.mathematics import accumulator, call, constant, convert, positions, reciprocal
from tensorwright.tensor.dim import (
    Dim,
    bounds,
    expression,
    floor_divide,
    maximum,
    minimum,
    product,
    remainder,
    tuning_value,
)
from tensorwright.tensor.dtype import BOOL, DType
from tensorwright.tensor.type import Shape, TensorType

Mode = Literal["nearest", "linear", "cubic"]
Transformation = Literal[
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
]
Rounding = Literal["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]

Integers = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]

_TRANSFORMATIONS = Transformation.__args__  # type: ignore[attr-defined]
_ROUNDINGS = Rounding.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _Coordinate:
    """The position in the input of output index i: ``(slope · i + offset) / denominator``."""

    slope: Dim
    offset: Dim
    denominator: Dim

    def numerator(self, index: Dim) -> Dim:
        return index * self.slope + self.offset


@dataclass(frozen=True, eq=False)
class Resize(Op):
    """The input sampled at other positions.

    Attributes:
        mode: *nearest* element, or interpolation: *linear* over 2, *cubic* over 4 elements along each axis.
        scales: output extent over input extent, per axis, as given; `shape` need not be their exact product. None for
            the quotient of both, which may be known only at run time.
        shape: the output shape.
        coordinate_transformation: from output to input positions; see `_coordinate`.
        nearest_mode: how *nearest* rounds positions.
        cubic_a: the coefficient of the cubic kernel.
        exclude_outside: *cubic* weighs only elements inside the input.
        extrapolation_value: output for positions outside the input, with tf_crop_and_resize.
        roi: with tf_crop_and_resize, the starts, then the ends along all axes, as parts of the input.
    """

    mode: Mode
    scales: tuple[float | None, ...]
    shape: Shape
    coordinate_transformation: Transformation = "half_pixel"
    nearest_mode: Rounding = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude_outside: bool = False
    extrapolation_value: float = 0.0
    roi: tuple[float, ...] = ()

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, 1)
        (x,) = inputs
        for name, values in (("scales", self.scales), ("shape", self.shape)):
            message = f"{name}: expected one value per axis of {show(x.shape)}, found {values}"
            expect(len(values) == x.rank, self, message)
        expect(
            all(scale is None or scale > 0 for scale in self.scales),
            self,
            f"scales: expected positive ones, found {self.scales}",
        )
        for name, value, known in (
            ("mode", self.mode, ("nearest", "linear", "cubic")),
            ("coordinate_transformation", self.coordinate_transformation, _TRANSFORMATIONS),
            ("nearest_mode", self.nearest_mode, _ROUNDINGS),
        ):
            expect(value in known, self, f"{name}: expected one of {', '.join(known)}, found {value}")
        crop = self.coordinate_transformation == "tf_crop_and_resize"
        message = f"roi: expected {2 * x.rank} values, starts and ends, found {self.roi}"
        expect(not crop or len(self.roi) == 2 * x.rank, self, message)
        if self.mode != "nearest":
            expect_float(self, x)
        for axis, needed in enumerate(self.nonnegative(inputs)):
            wanted = f"shape: expected no elements, since the input has none along axis {axis}"
            expect(bounds(needed)[1] >= 0, self, f"{wanted}; found {show(self.shape)}")
        return TensorType(x.dtype, self.shape)

    def nonnegative(self, inputs: Sequence[TensorType]) -> tuple[Dim, ...]:
        (x,) = inputs
        nothing = [0 - extent for extent in self.shape]  # Of no elements none is sampled.
        return tuple(reduce(maximum, nothing, extent - 1) for extent in x.shape)

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        extents = [tuning_value(dim) for dim in self.shape]
        if 0 in extents:
            return np.zeros(extents, x.dtype)
        outside = np.zeros([1] * x.ndim, dtype=bool)
        for axis in self._resampled(x.shape):
            spots, unit = self._positions(axis, extents[axis], x.shape[axis])
            if self.mode == "nearest":
                picked = [min(max(self._rounded(spot, unit), 0), x.shape[axis] - 1) for spot in spots]
                x = np.take(x, np.asarray(picked, dtype=np.int64), axis=axis)
            else:
                x = _interpolated(x, axis, [self._weights(spot, unit, x.shape[axis]) for spot in spots])
            if self.coordinate_transformation == "tf_crop_and_resize":
                extent = inputs[0].shape[axis]
                beyond = np.asarray([spot < 0 or spot > (extent - 1) * unit for spot in spots])
                outside = outside | beyond.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        return np.where(outside, self.extrapolation_value, x) if outside.any() else x

    def define(self, inputs: Sequence[TensorType], output: TensorType) -> Computation:
        (x,) = inputs
        variables = variables_for(output.shape)
        index = positions(variables)
        resampled = self._resampled(x.shape)
        coordinates = {axis: self._coordinate(axis, x.shape[axis]) for axis in resampled}
        if self.mode == "nearest":
            source = tuple(
                self._nearest(coordinates[axis], at, x.shape[axis]) if axis in coordinates else at
                for axis, at in enumerate(index)
            )
            value: Scalar = Load(0, source, x.dtype)
        else:
            taps = {
                axis: self._taps(coordinate, index[axis], x.shape[axis], accumulator(x.dtype))
                for axis, coordinate in coordinates.items()
            }
            value = convert(_weighted(taps, resampled, index, x.dtype), x.dtype)
        if self.coordinate_transformation == "tf_crop_and_resize":
            value = self._extrapolated(value, coordinates, index, x)
        return Computation(variables, value)

    def _resampled(self, shape: Shape) -> list[int]:
        crop = self.coordinate_transformation == "tf_crop_and_resize"
        rank = len(shape)

        def moves(axis: int) -> bool:
            cropped = crop and (self.roi[axis], self.roi[rank + axis]) != (0, 1)
            return self.scales[axis] not in (1, None) or cropped or shape[axis] != self.shape[axis]

        return [axis for axis in range(rank) if moves(axis)]

    def _positions(self, axis: int, count: int, extent: int) -> tuple[list[int], int]:
        """The positions in the input of so many output indices, which are equally far apart, and the unit of these."""
        first = self._position(axis, 0, extent)
        step = self._position(axis, 1, extent) - first
        start, apart = first.numerator * step.denominator, step.numerator * first.denominator
        return [start + number * apart for number in range(count)], first.denominator * step.denominator

    def _position(self, axis: int, index: int, extent: int) -> Fraction:
        """The position in the input of an output index, as ONNX writes it."""
        length = tuning_value(self.shape[axis])
        given = self.scales[axis]
        scale = Fraction(length, extent) if given is None else exact(given)
        half = Fraction(1, 2)
        match self.coordinate_transformation:
            case "half_pixel":
                return (index + half) / scale - half
            case "pytorch_half_pixel":
                return (index + half) / scale - half if length > 1 else Fraction(0)
            case "half_pixel_symmetric":
                adjustment = length / (scale * extent)
                return Fraction(extent, 2) * (1 - adjustment) + (index + half) / scale - half
            case "align_corners":
                return Fraction(index * (extent - 1), length - 1) if length > 1 else Fraction(0)
            case "asymmetric":
                return index / scale
            case "tf_half_pixel_for_nn":
                return (index + half) / scale
            case "tf_crop_and_resize":
                start, end = (exact(self.roi[part]) for part in (axis, len(self.shape) + axis))
                if length == 1:
                    return half * (start + end) * (extent - 1)
                return start * (extent - 1) + index * (end - start) * Fraction(extent - 1, length - 1)

    def _rounded(self, spot: int, unit: int) -> int:
        match self.nearest_mode:
            case "floor":
                return spot // unit
            case "ceil":
                return -(-spot // unit)
            case "round_prefer_floor":
                return -((unit - 2 * spot) // (2 * unit))
            case "round_prefer_ceil":
                return (2 * spot + unit) // (2 * unit)

    def _weights(self, spot: int, unit: int, extent: int) -> tuple[Integers, Weights]:
        """The elements around a position along an axis, and what they count."""
        if extent == 1:
            return np.array([0]), np.array([1.0])
        first, rest = divmod(spot, unit)
        part = rest / unit
        if self.mode == "linear":
            return np.clip([first, first + 1], 0, extent - 1), np.array([1 - part, part])
        offsets = np.arange(-1, 3)
        at, weights = first + offsets, _cubic_kernel(np.abs(offsets - part), self.cubic_a)
        if self.exclude_outside:
            weights = np.where((at < 0) | (at >= extent), 0, weights)
            weights = weights / weights.sum()
        return np.clip(at, 0, extent - 1), weights

    def _coordinate(self, axis: int, extent: Dim) -> _Coordinate:
        length = self.shape[axis]
        p, q = self._quotient(axis, extent)
        match self.coordinate_transformation:
            case "half_pixel":
                return _reduced(2 * q, q - p, 2 * p)
            case "pytorch_half_pixel":
                several = minimum(length - 1, 1)
                return _reduced(2 * q * several, (q - p) * several, 2 * p)
            case "half_pixel_symmetric":
                return _reduced(2 * q, extent * p - length * q + (q - p), 2 * p)
            case "align_corners":
                return _reduced(extent - 1, 0, maximum(length - 1, 1))
            case "asymmetric":
                return _reduced(q, 0, p)
            case "tf_half_pixel_for_nn":
                return _reduced(2 * q, q, 2 * p)
            case "tf_crop_and_resize":
                start, end = (exact(self.roi[part]) for part in (axis, len(self.shape) + axis))
                if length == 1:
                    middle = (start + end) / 2
                    return _reduced(0, (extent - 1) * middle.numerator, middle.denominator)
                common = start.denominator * end.denominator
                slope = (extent - 1) * int((end - start) * common)
                return _reduced(slope, (extent - 1) * (length - 1) * int(start * common), (length - 1) * common)

    def _quotient(self, axis: int, extent: Dim) -> tuple[Dim, Dim]:
        """Numerator and denominator of the scale."""
        scale = self.scales[axis]
        if scale is None:
            return self.shape[axis], extent
        return exact(scale).numerator, exact(scale).denominator

    def _nearest(self, coordinate: _Coordinate, index: Dim, extent: Dim) -> Dim:
        if extent == 1:
            return 0
        n, d = coordinate.numerator(index), coordinate.denominator
        match self.nearest_mode:
            case "floor":
                picked = _floor_fraction(n, d)
            case "ceil":
                picked = _floor_fraction(n + d - 1, d)
            case "round_prefer_floor":
                picked = _floor_fraction(n * 2 + d - 1, d * 2)
            case "round_prefer_ceil":
                picked = _floor_fraction(n * 2 + d, d * 2)
        return _clamped(picked, extent)

    def _taps(self, coordinate: _Coordinate, index: Dim, extent: Dim, dtype: DType) -> list[tuple[Dim, Scalar]]:
        """The elements around a position along one axis, and their weights."""
        one = constant(1, dtype)
        if extent == 1:
            return [(0, one)]
        n, d = coordinate.numerator(index), coordinate.denominator
        first = floor_divide(n, d)
        rest = remainder(n, d)
        part = call("mul", Apply("cast", (IndexValue(rest),), dtype), reciprocal(d, dtype))
        if self.mode == "linear":
            return [(_clamped(first, extent), call("sub", one, part)), (_clamped(first + 1, extent), part)]
        opposite = call("sub", one, part)
        weights = [
            _outer_weight(call("add", part, one), self.cubic_a),
            _inner_weight(part, self.cubic_a),
            _inner_weight(opposite, self.cubic_a),
            _outer_weight(call("add", opposite, one), self.cubic_a),
        ]
        at = [first + offset for offset in range(-1, 3)]
        if self.exclude_outside:
            weights = _only_inside(weights, at, extent)
        return [(_clamped(spot, extent), weight) for spot, weight in zip(at, weights, strict=True)]

    def _extrapolated(
        self, value: Scalar, coordinates: dict[int, _Coordinate], index: Sequence[Dim], x: TensorType
    ) -> Scalar:
        outside: Scalar = constant(False, BOOL)
        for axis, coordinate in coordinates.items():
            n, d = coordinate.numerator(index[axis]), coordinate.denominator
            beyond = call("or", compare("less", n, 0), compare("less", (x.shape[axis] - 1) * d, n))
            outside = call("or", outside, beyond)
        return call("select", outside, constant(self.extrapolation_value, x.dtype), value)


def _interpolated(x: Array, axis: int, taps: Sequence[tuple[Integers, Weights]]) -> Array:
    """The weighted sums of some elements along an axis, in float64; no others have a part in them, be they NaN."""
    at, weights = (np.array(parts) for parts in zip(*taps, strict=True))
    along = [-1 if a == axis else 1 for a in range(x.ndim)]
    wide = x.astype(np.float64)
    terms = [np.take(wide, at[:, tap], axis) * weights[:, tap].reshape(along) for tap in range(at.shape[1])]
    return np.asarray(sum(terms))


def exact(value: float) -> Fraction:
    """The simplest fraction that equals a number to float32 precision."""
    precise = Fraction(value)
    for limit in (100, 10_000, 1_000_000):
        simple = precise.limit_denominator(limit)
        if abs(simple - precise) <= abs(precise) / 2**23:
            return simple
    return precise


def _reduced(slope: Dim, offset: Dim, denominator: Dim) -> _Coordinate:
    if isinstance(slope, int) and isinstance(offset, int) and isinstance(denominator, int):
        common = gcd(slope, offset, denominator)
        return _Coordinate(slope // common, offset // common, denominator // common)
    return _Coordinate(slope, offset, denominator)


def _floor_fraction(numerator: Dim, denominator: Dim) -> Dim:
    """The quotient rounded down, with factors common to the moving terms and the denominator taken out."""
    if not isinstance(denominator, int) or isinstance(numerator, int):
        return floor_divide(numerator, denominator)
    common = denominator
    for monomial, coefficient in numerator.terms:
        common = gcd(common, coefficient) if monomial else common
    reduced: Dim = 0
    for monomial, coefficient in numerator.terms:
        reduced = reduced + product(map(expression, monomial)) * (coefficient // common)
    return floor_divide(reduced, denominator // common)


def _clamped(index: Dim, extent: Dim) -> Dim:
    low = maximum(index, 0) if bounds(index)[0] < 0 else index
    return minimum(low, extent - 1)


def _weighted(
    taps: dict[int, list[tuple[Dim, Scalar]]], axes: list[int], index: tuple[Dim, ...], dtype: DType
) -> Scalar:
    """The elements at all combinations of taps, weighted along one axis after the other."""
    if not axes:
        return convert(Load(0, index, dtype), accumulator(dtype))
    axis, *others = axes
    total: Scalar | None = None
    for at, weight in taps[axis]:
        inner = _weighted(taps, others, (*index[:axis], at, *index[axis + 1 :]), dtype)
        term = call("mul", weight, inner)
        total = term if total is None else call("add", total, term)
    assert total is not None
    return total


def _cubic_kernel(distance: npt.NDArray[np.float64], a: float) -> npt.NDArray[np.float64]:
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
    return np.asarray(np.where(distance <= 1, near, far))


def _inner_weight(distance: Scalar, a: float) -> Scalar:
    """``(a + 2) t³ - (a + 3) t² + 1``."""
    dtype = distance.dtype
    inner = call("sub", call("mul", constant(a + 2, dtype), distance), constant(a + 3, dtype))
    return call("add", call("mul", call("mul", inner, distance), distance), constant(1, dtype))


def _outer_weight(distance: Scalar, a: float) -> Scalar:
    """``a (t³ - 5 t² + 8 t - 4)``."""
    dtype = distance.dtype
    inner = call("add", call("mul", call("sub", distance, constant(5, dtype)), distance), constant(8, dtype))
    return call("mul", constant(a, dtype), call("sub", call("mul", inner, distance), constant(4, dtype)))


def _only_inside(weights: list[Scalar], at: list[Dim], extent: Dim) -> list[Scalar]:
    kept: list[Scalar] = []
    for weight, spot in zip(weights, at, strict=True):
        value: Scalar = weight
        for condition in inside(spot, extent):
            value = call("select", condition, value, constant(0, weight.dtype))
        kept.append(value)
    total = kept[0]
    for weight in kept[1:]:
        total = call("add", total, weight)
    factor = call("div", constant(1, total.dtype), total)
    return [call("mul", weight, factor) for weight in kept]
