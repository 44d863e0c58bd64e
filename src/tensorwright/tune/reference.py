"""What a region must compute, from its operators' references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value, is_constant, weights_in
from tensorwright.graph.region import Region
from tensorwright.tensor.dim import evaluate

Array = npt.NDArray[np.generic]
TOLERANCE = 1e-4
"""Allowed error of a float32 kernel relative to the largest magnitude of the expected output."""

NARROW_TOLERANCES = {"float16": 2e-3, "bfloat16": 2e-2}
"""The same for results that are rounded to narrower types: four of their last digits."""


FAST_ALGORITHM_BOUND = 1e-4
"""Allowed measured error of an algorithm that rounds differently (Winograd, Strassen), likewise relative."""


def random_inputs(region: Region, symbols: Mapping[str, int], rng: np.random.Generator) -> list[Array]:
    """An array for every input: the constants themselves, random values for the others."""
    return [_draw(value, symbols, rng) for value in region.inputs]


def _draw(value: Value, symbols: Mapping[str, int], rng: np.random.Generator) -> Array:
    if is_constant(value):
        return weights_in(value).array
    shape = tuple(evaluate(dim, symbols) for dim in value.type.shape)
    if value.type.dtype.is_float:
        return rng.standard_normal(shape, dtype=np.float32).astype(value.type.dtype.numpy)
    return rng.integers(0, 2, shape).astype(value.type.dtype.numpy)


def reference_output(region: Region, arrays: Sequence[Array], symbols: Mapping[str, int]) -> Array:
    """The region's output in float64 (integers as they are), each operator computed by its reference."""
    results = dict(zip(region.inputs, map(_widened, arrays), strict=True))
    for value in region.values:
        with np.errstate(all="ignore"):
            result = value.op.specialised(symbols).reference(*(results[operand] for operand in value.inputs))
        results[value] = _widened(np.asarray(result))
    return results[region.output]


def _widened(array: Array) -> Array:
    return array if array.dtype.kind in "iub" else array.astype(np.float64)


def relative_error(actual: Array, expected: Array) -> float:
    """The largest error of the finite elements relative to the largest magnitude expected."""
    wide, wanted = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    finite = np.isfinite(wanted)
    scale = max(float(np.abs(wanted[finite]).max(initial=0.0)), 1e-6)
    return float(np.abs(np.subtract(wide[finite], wanted[finite])).max(initial=0.0)) / scale


def disagreement(actual: Array, expected: Array) -> str:
    """Why an output is not the expected one; empty if it is."""
    if expected.dtype.kind in "iub":
        wrong = int(np.count_nonzero(actual != expected))
        return f"{wrong} of {expected.size} integers are wrong" if wrong else ""
    tolerance = tolerance_of(actual)
    wide, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    finite = np.isfinite(expected)
    if not np.array_equal(np.isfinite(wide), finite):
        return f"{int(np.count_nonzero(np.isfinite(wide) != finite))} elements are infinite or not a number"
    error = relative_error(wide, expected)
    return f"relative error {error:.1e} is above {tolerance:.0e}" if error > tolerance else ""


def tolerance_of(actual: Array) -> float:
    """The allowed error of a result, by its type."""
    return NARROW_TOLERANCES.get(actual.dtype.name, TOLERANCE)
