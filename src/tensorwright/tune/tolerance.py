"""How far the result of a kernel may be from the reference: what element types and lengths of sums explain, no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil, sqrt

import ml_dtypes
import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value
from tensorwright.graph.interpret import steps_of
from tensorwright.graph.region import Region
from tensorwright.ops.activation import Clip
from tensorwright.ops.elementwise import Binary, Cast, Unary
from tensorwright.ops.float8 import Float8Product, ToFloat8
from tensorwright.ops.normalization import Softmax
from tensorwright.tensor.dtype import FLOAT32, DType

Array = npt.NDArray[np.generic]

TOLERANCE = 1e-4
"""Allowed error of a float32 kernel relative to the largest magnitude of the expected output."""

FAST_ALGORITHM_BOUND = 1e-4
"""Allowed error of an algorithm that rounds differently (Winograd, Strassen), likewise relative."""

FEW = 4
"""So many roundings, or sums' errors, may add up."""

MOST_FLIPPED, MOST_FLIPPED_OF_NARROW = 0.02, 0.5
"""The part of the elements that may lie on the other side of a border (of rounding, of a comparison) when the operand
is off by roundings to float32, or to a narrower type."""

COARSE = 0.15
"""The coarsest step of a quantisation, relative to the largest magnitude: that of four bits."""

SUMMED_STEPS = 0.01
"""What steps the other way do to a sum of rounded elements, relative to its largest magnitude."""

FLOAT8_SUMS = 2.0**-10
"""Allowed error of products of float8 relative to the largest magnitude: tensor cores of Hopper add 32 of them with
about 14 bits (1.9e-4 was seen on an H200)."""

HIDDEN = 4
"""So many times as large as the largest result may sums be whose results are clipped, or whose powers a softmax takes:
what sums are off in absolute terms, powers are off in relative ones.
"""

_BORDERS = ("round", "floor", "ceil", "trunc", "sign", "mod", "floor_mod")


@dataclass(frozen=True)
class Tolerance:
    """relative: the error allowed of an element, relative to the largest magnitude of the floating-point output.

    flipped: the part of the elements, one at least if it is not 0, that may differ by `step` instead: relative
    likewise, or for integers as it is; infinite where any other number may stand there, an index for instance.
    """

    relative: float
    flipped: float = 0.0
    step: float = 0.0


def rounding_unit(dtype: DType) -> float:
    """The largest relative error of rounding to a floating type: half a unit in the last place."""
    return float(ml_dtypes.finfo(dtype.numpy).eps) / 2  # type: ignore[no-untyped-call]


def rounding_error(dtypes: Iterable[DType], terms: int = 1) -> float:
    """The relative error that a few roundings to the narrowest of some floating types explain, in a sum of so many
    terms, which is accumulated in float32 at least. 0 without floating types.
    """
    floats = [dtype for dtype in dtypes if dtype.is_float]
    if not floats:
        return 0.0
    narrowest = max(map(rounding_unit, floats))
    return FEW * max(narrowest, min(narrowest, rounding_unit(FLOAT32)) * sqrt(terms))


def fast_algorithm_bound(region: Region) -> float:
    """The error that may be measured of an algorithm that rounds differently: what it loses itself, or, where results
    are rounded to narrower types, what that explains.
    """
    return max(FAST_ALGORITHM_BOUND, rounding_error(value.type.dtype for value in region.values))


ANYTHING = Tolerance(float("inf"), 1.0, float("inf"))
"""Of results that depend on what nobody defines."""


def tolerance_of(region: Region, symbols: Mapping[str, int], least: float = TOLERANCE) -> Tolerance:
    """What a kernel for a region may be off; `least`: the relative error that is allowed in any case."""
    dtypes, inner = [value.type.dtype for value in region.values], frozenset(region.values)
    if any(_may_be_undefined(value, inner) for value in region.values):
        return ANYTHING
    is_of_float8 = any(isinstance(value.op, Float8Product) for value in region.values)
    relative = max(least, rounding_error(dtypes, _terms(region, symbols)), FLOAT8_SUMS if is_of_float8 else 0.0)
    borders = [value for value in region.values if _has_border(value) and _is_computed(value, inner)]
    if not borders:
        return Tolerance(relative)
    flipped = MOST_FLIPPED_OF_NARROW if is_narrow(region) or is_of_float8 else MOST_FLIPPED
    if any(value.op.kind in ("reduction", "anchor") for value in region.values[region.values.index(borders[0]) + 1 :]):
        relative = max(relative, SUMMED_STEPS * (flipped / MOST_FLIPPED) ** 0.5)
    output = region.output.type.dtype
    step = COARSE if output.is_float else 1.0 if output.is_integer and output.size <= 2 else float("inf")
    if is_of_float8 and any(isinstance(value.op, ToFloat8) for value in region.values):
        step = float("inf")  # Numbers near 0 have many others close by.
    return Tolerance(relative, flipped, step)


def loosened(tolerance: Tolerance, rounding: float, region: Region) -> Tolerance:
    """What a kernel of a region may be off that reads factors with a relative error."""
    if not rounding:
        return tolerance
    hidden = HIDDEN if any(isinstance(value.op, Clip | Softmax) for value in region.values) else 1
    flipped = MOST_FLIPPED_OF_NARROW if tolerance.flipped else 0.0
    return replace(
        tolerance,
        relative=max(tolerance.relative, FEW * hidden * rounding),
        flipped=max(tolerance.flipped, flipped),
    )


def is_narrow(region: Region) -> bool:
    """Whether something in a region is rounded to a floating type below float32."""
    return any(value.type.dtype.is_float and value.type.dtype.size < FLOAT32.size for value in region.values)


def _terms(region: Region, symbols: Mapping[str, int]) -> int:
    if region.stages:
        return max(_terms(stage, symbols) for stage in region.stages)
    if region.is_sequential:
        return 1
    return steps_of(region.computation, symbols)


def _may_be_undefined(value: Value, inner: frozenset[Value]) -> bool:
    """Whether a floating number may be converted to a narrow or unsigned integer that it does not fit into."""
    dtype = value.type.dtype
    if not isinstance(value.op, Cast) or not dtype.is_integer or not value.inputs[0].type.dtype.is_float:
        return False
    operand = value.inputs[0]
    if isinstance(operand.op, Clip) and operand in inner:
        return False
    return dtype.kind == "unsigned" or (dtype.size <= 2 and operand in inner)


def _has_border(value: Value) -> bool:
    """Whether a result jumps where an operand hardly changes."""
    op = value.op
    if isinstance(op, Unary | Binary) and op.function in _BORDERS:
        return True
    return not value.type.dtype.is_float and any(operand.type.dtype.is_float for operand in value.inputs)


def _is_computed(value: Value, inner: frozenset[Value]) -> bool:
    """Whether some floating operand is computed in the region, so that it is rounded."""
    return any(operand in inner and operand.type.dtype.is_float for operand in value.inputs)


def relative_error(actual: Array, expected: Array) -> float:
    """The largest error of the elements that are expected to be finite, relative to the largest magnitude of those."""
    wanted = np.asarray(expected, dtype=np.float64)
    return float(_off(actual, wanted).max(initial=0.0)) / _scale(wanted)


def disagreement(actual: Array, expected: Array, tolerance: Tolerance, spread: float = 0.0) -> str:
    """Why an output is not the expected one; empty if it is.

    spread: how far results lie apart, in absolute terms, that are rounded to their types in different places.
    """
    if expected.dtype.kind in "iub":
        off = np.abs(np.subtract(actual, expected, dtype=np.float64))
        return _too_many(off > 0, off > tolerance.step, tolerance, "integers are wrong")
    wanted = np.asarray(expected, dtype=np.float64)
    strange = np.isfinite(actual) != np.isfinite(wanted)
    if np.any(strange):
        return f"{int(np.count_nonzero(strange))} elements are infinite or not a number"
    scale, off = _scale(wanted), _off(actual, wanted)
    allowed, most = tolerance.relative * scale + FEW * spread, off.max(initial=0.0)
    if most <= allowed:
        return ""
    wrong = _too_many(off > allowed, off > max(allowed, tolerance.step * scale), tolerance, "elements are off")
    return wrong and f"relative error {most / scale:.1e} is above {allowed / scale:.0e}: {wrong}"


def _off(actual: Array, wanted: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How far the elements are off that are expected to be finite."""
    with np.errstate(invalid="ignore"):
        off = np.abs(np.subtract(np.atleast_1d(actual), np.atleast_1d(wanted), dtype=np.float64))
    finite = np.atleast_1d(np.isfinite(wanted))
    return off if finite.all() else off[finite]


def _scale(wanted: npt.NDArray[np.float64]) -> float:
    finite = np.isfinite(wanted)
    return max(float(np.abs(wanted if np.all(finite) else wanted[finite]).max(initial=0.0)), 1e-6)


def _too_many(off: npt.NDArray[np.bool_], far: npt.NDArray[np.bool_], tolerance: Tolerance, what: str) -> str:
    """Why so many elements may not be off, so many of them by more than a step; empty if they may."""
    allowed = ceil(tolerance.flipped * off.size)
    count, most = int(np.count_nonzero(off)), int(np.count_nonzero(far))
    return f"{count} of {off.size} {what}" if count > allowed or (most if tolerance.flipped else count) else ""
