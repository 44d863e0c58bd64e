"""Small floating-point formats against ml_dtypes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from cases.narrow import around
from tensorwright.ops.narrow import SMALL_FLOATS, NarrowFloat


@pytest.mark.parametrize("format", SMALL_FLOATS)
def test_as_ml_dtypes(format: str, rng: np.random.Generator) -> None:
    dtype = np.dtype(getattr(ml_dtypes, format))
    drawn = rng.standard_normal(1000) * 2.0 ** rng.integers(-20, 20, 1000)
    x = np.concatenate([around(format), drawn.astype(np.float32)])
    actual = NarrowFloat(format, saturate=False).reference(x).astype(np.float32)
    with np.errstate(invalid="ignore"):
        expected = x.astype(dtype).astype(np.float32)
    np.testing.assert_array_equal(actual, expected)
    numbers = ~np.isnan(x) & ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(actual[numbers]), np.signbit(expected[numbers]))


@pytest.mark.parametrize("format", SMALL_FLOATS)
def test_saturation(format: str) -> None:
    largest = float(ml_dtypes.finfo(format).max)
    x = np.float32([np.inf, -np.inf, 1e9, largest, -largest])
    expected = [largest, -largest, largest, largest, -largest]
    np.testing.assert_array_equal(NarrowFloat(format).reference(x), expected)
