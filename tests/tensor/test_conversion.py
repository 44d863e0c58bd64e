"""Conversions of floats to integers, which NumPy leaves to the processor where they are out of bounds."""

from __future__ import annotations

import numpy as np
import pytest

from tensorwright.tensor.conversion import converted, limits
from tensorwright.tensor.dtype import BFLOAT16, BOOL, FLOAT32, INT8, INT32, INT64, UINT8, UINT64, DType


@pytest.mark.parametrize("dtype", [INT8, UINT8, INT32, INT64, UINT64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("given", [np.float32, np.float64, BFLOAT16.numpy], ids=["float32", "float64", "bfloat16"])
def test_out_of_bounds(dtype: DType, given: type) -> None:
    least, most = limits(dtype)
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 2.0 ** (8 * dtype.size), 2.75, 100]).astype(given)
    found = converted(x, dtype)
    assert found.dtype == dtype.numpy
    assert found.tolist() == [0, most, least, most, least, most, 2, 100]
    assert converted(np.array([-2.75], given), dtype).tolist() == [max(-2, least)]


def test_the_largest_and_smallest_numbers_stay() -> None:
    assert converted(np.array([2.0**63, -(2.0**63)]), INT64).tolist() == list(reversed(limits(INT64)))
    assert converted(np.array([2.0**31 - 1, -(2.0**31)]), INT32).tolist() == list(reversed(limits(INT32)))


def test_integers_wrap_around() -> None:
    assert converted(np.array([300, -1, 127]), INT8).tolist() == [44, -1, 127]
    assert converted(np.array([0.25, 0]), BOOL).tolist() == [True, False]
    assert converted(np.array([0.25]), FLOAT32).dtype == np.float32
