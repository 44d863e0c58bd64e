"""What a region must compute: all of it from its operators' references, or some elements from its definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value
from tensorwright.graph.interpret import interpret_at, steps_of
from tensorwright.graph.region import Region
from tensorwright.kernels.work import work
from tensorwright.ops.detection import BoxSuppression
from tensorwright.ops.elementwise import Cast
from tensorwright.ops.mathematics import highest, lowest
from tensorwright.tensor.arrange import Places
from tensorwright.tensor.dim import evaluate
from tensorwright.tune.inputs import has_computed_indices
from tensorwright.tune.tolerance import is_narrow, rounding_unit

Array = npt.NDArray[np.generic]

MOST_FLOPS, MOST_ELEMENTS = 1 << 31, 1 << 22
"""Regions with more operations, or more elements in inputs and results, are never computed as a whole."""

QUICK_FLOPS, QUICK_ELEMENTS = 1 << 28, 1 << 19
"""Nor are those with more than these, if they can be looked at in all places that are asked for instead."""

MOST_PAIRS = 1 << 22
"""Regions that compare more boxes of a class with each other are not computed by reference."""

FEWEST_PLACES = 4
MOST_STEPS = 1 << 21
"""Terms that may be added up to look at some elements."""


@dataclass(frozen=True)
class Expected:
    """The elements of a region's output, in float64 or as integers, at some places; None: all of them.

    spread: how far results lie apart that are rounded to their types after every operator, or not at all; or, where
    results follow from one another, what roundings of the inputs make of them.
    """

    values: Array
    places: Places | None
    spread: float


def expected_output(
    region: Region, arrays: Sequence[Array], symbols: Mapping[str, int], rng: np.random.Generator, places: int
) -> Expected | None:
    """The whole output of a region for row-major inputs, or, where that is too much work, the elements at some places.

    None if even these are: a sum of very many terms. None, too, if numbers are converted to integers that do not hold
    them, of which everybody may make what they want.
    """
    if not conversions_fit(region, arrays, symbols):
        return None
    if _is_wanted_whole(region, symbols, places) and not has_computed_indices(region, symbols):
        return whole_output(region, arrays, symbols)
    return sampled_output(region, arrays, symbols, places_of(region, symbols, places, rng))


def _is_wanted_whole(region: Region, symbols: Mapping[str, int], places: int) -> bool:
    if region.is_sequential or steps_of(region.computation, symbols) * places > MOST_STEPS:
        return _is_small(region, symbols)
    return _is_small(region, symbols, QUICK_FLOPS, QUICK_ELEMENTS)


def whole_output(region: Region, arrays: Sequence[Array], symbols: Mapping[str, int]) -> Expected:
    """The output computed by the operators' references in float64, results between operators rounded to their types."""
    values = _evaluated(region, arrays, symbols, rounded=True)
    spread = _distance(values, _evaluated(region, arrays, symbols, rounded=False)) if is_narrow(region) else 0.0
    if region.is_sequential and region.output.type.dtype.is_float:
        spread = max(spread, _distance(values, _evaluated(region, _moved(region, arrays), symbols, rounded=False)))
    return Expected(values, None, spread)


def _moved(region: Region, arrays: Sequence[Array]) -> list[Array]:
    """Floating inputs off by roundings, at random."""
    unit, rng = rounding_unit(region.output.type.dtype), np.random.default_rng(0)
    wide = [_widened(array) for array in arrays]
    return [np.multiply(a, 1 + rng.uniform(-unit, unit, a.shape)) if a.dtype.kind == "f" else a for a in wide]


def sampled_output(
    region: Region, arrays: Sequence[Array], symbols: Mapping[str, int], places: Places
) -> Expected | None:
    """The output at some places, computed from the definition; fewer of them if that takes too many steps.

    None if these are too many still, or if constant indices lie outside of an axis of this size: nothing says what
    comes of them.
    """
    try:
        return _sampled(region, arrays, symbols, places)
    except IndexError:
        return None


def _sampled(region: Region, arrays: Sequence[Array], symbols: Mapping[str, int], places: Places) -> Expected | None:
    if region.is_sequential:
        return whole_output(region, arrays, symbols) if _is_small(region, symbols) else None
    count = len(places[0]) if places else 1
    affordable = min(count, MOST_STEPS // steps_of(region.computation, symbols))
    if affordable < min(count, FEWEST_PLACES):
        return None
    places = tuple(axis[:affordable] for axis in places)
    values = interpret_at(region.computation, arrays, places, symbols)
    spread = 0.0
    if is_narrow(region):
        spread = _distance(values, interpret_at(region.computation, arrays, places, symbols, wide=True))
    return Expected(_widened(values), places, spread)


def places_of(region: Region, symbols: Mapping[str, int], count: int, rng: np.random.Generator) -> Places:
    """Random places in a region's output, the first and the last index of every axis more often than others."""
    shape = [evaluate(dim, symbols) for dim in region.output.type.shape]
    ends = np.array([[0] * len(shape), [max(0, extent - 1) for extent in shape]], np.int64)
    inner = rng.integers(0, np.maximum(shape, 1), (count, len(shape)))
    chosen = np.choose(rng.integers(0, 4, inner.shape), [ends[0], ends[1], inner, inner])
    return tuple(np.concatenate([ends, chosen])[:count].T)


def _is_small(
    region: Region, symbols: Mapping[str, int], most_flops: int = MOST_FLOPS, most_elements: int = MOST_ELEMENTS
) -> bool:
    values = (*region.inputs, *region.values)
    elements = sum(evaluate(value.type.elements, symbols) for value in values)
    if any(isinstance(v.op, BoxSuppression) and v.op.comparisons(v.inputs[0].type) > MOST_PAIRS for v in region.values):
        return False
    return elements <= most_elements and evaluate(work(region).flops, symbols) <= most_flops


def conversions_fit(region: Region, arrays: Sequence[Array], symbols: Mapping[str, int]) -> bool:
    """Whether all numbers that a region converts to integers lie in their range, as far as this is no work."""
    casts = [value for value in region.values if _converts(value)]
    if not casts or not _is_small(region, symbols) or has_computed_indices(region, symbols):
        return True
    results = _results(region, arrays, symbols, rounded=True)
    return all(_fits(results[cast.inputs[0]], cast) for cast in casts)


def _converts(value: Value) -> bool:
    return isinstance(value.op, Cast) and value.type.dtype.is_integer and value.inputs[0].type.dtype.is_float


def _fits(array: Array, cast: Value) -> bool:
    whole = np.trunc(np.asarray(array, dtype=np.float64))
    return bool(((whole >= lowest(cast.type.dtype)) & (whole <= highest(cast.type.dtype))).all())


def _evaluated(region: Region, arrays: Sequence[Array], symbols: Mapping[str, int], *, rounded: bool) -> Array:
    return _results(region, arrays, symbols, rounded=rounded)[region.output]


def _results(
    region: Region, arrays: Sequence[Array], symbols: Mapping[str, int], *, rounded: bool
) -> dict[Value, Array]:
    results = dict(zip(region.inputs, map(_widened, arrays), strict=True))
    for value in region.values:
        with np.errstate(all="ignore"):
            result = value.op.specialised(symbols).reference(*(results[operand] for operand in value.inputs))
            results[value] = _rounded(np.asarray(result), value, rounded and value is not region.output)
    return results


def _rounded(array: Array, value: Value, rounded: bool) -> Array:
    dtype = value.type.dtype
    return _widened(array.astype(dtype.numpy, copy=False) if rounded or not dtype.is_float else array)


def _widened(array: Array) -> Array:
    return array if array.dtype.kind in "iub" else array.astype(np.float64)


def _distance(one: Array, other: Array) -> float:
    """The largest difference between finite elements."""
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    return float(np.abs(a[both] - b[both]).max(initial=0.0))
