"""The mathematics that every operator states, evaluated, is what its reference computes."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest

from cases.case import Case, Fixed, assert_close, f32
from cases.collection import CASES
from cases.pooling import pool
from tensorwright.graph.interpret import interpret
from tensorwright.ops.reduction import ArgReduction, CumulativeSum
from tensorwright.ops.resize import Resize

NANS = np.array([[1, 2, 0, 3], [2, nan, 9, nan], [nan, 0, 1, 2], [3, -2, 1, nan]], np.float32)
UNJUDGED = (
    Case("max-far-dilated", pool("max", (9, 7), (2, 1), (30, 9), (31, 10), (7, 3)), (f32(1, 3, 4, 5),)),
    Case("average-far-dilated", pool("average", (9, 7), (2, 1), (30, 9), (31, 10), (7, 3)), (f32(1, 3, 4, 5),)),
    *(Case(f"arg-{f}-nan", ArgReduction(f, 1), (Fixed(NANS),)) for f in ("max", "min")),
    *(Case(f"arg-{f}-last-nan", ArgReduction(f, 1, select_last=True), (Fixed(NANS),)) for f in ("max", "min")),
    *(Case(f"{mode}-nan", Resize(mode, (1, None), (4, 9)), (Fixed(NANS),)) for mode in ("linear", "cubic")),
    Case("sum-exclusive-infinite", CumulativeSum(1, exclusive=True), (Fixed(np.where(np.isnan(NANS), inf, NANS)),)),
)
"""What no judge takes, or takes for something else: padding longer than windows, what is not finite."""


@pytest.mark.parametrize("case", [*CASES, *UNJUDGED], ids=repr)
def test_definition_and_reference_agree(case: Case, rng: np.random.Generator):
    arrays = case.arrays(rng)
    expected = case.expected(arrays)
    assert expected.shape == case.output_shape
    actual = interpret(case.op.define(case.types, case.output), arrays, case.symbols)
    assert actual.dtype == case.output.dtype.numpy
    assert_close(actual, expected, case.scaled_tolerance)
