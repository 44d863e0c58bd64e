"""The mathematics that every operator states, evaluated, is what its reference computes."""

from __future__ import annotations

import numpy as np
import pytest

from cases.case import Case, assert_close, f32
from cases.collection import CASES
from cases.pooling import pool
from tensorwright.graph.interpret import interpret

UNJUDGED = (
    Case("max-far-dilated", pool("max", (9, 7), (2, 1), (30, 9), (31, 10), (7, 3)), (f32(1, 3, 4, 5),)),
    Case("average-far-dilated", pool("average", (9, 7), (2, 1), (30, 9), (31, 10), (7, 3)), (f32(1, 3, 4, 5),)),
)
"""What no judge takes: padding longer than windows."""


@pytest.mark.parametrize("case", [*CASES, *UNJUDGED], ids=repr)
def test_definition_and_reference_agree(case: Case, rng: np.random.Generator):
    arrays = case.arrays(rng)
    expected = case.expected(arrays)
    assert expected.shape == case.output_shape
    actual = interpret(case.op.define(case.types, case.output), arrays, case.symbols)
    assert actual.dtype == case.output.dtype.numpy
    assert_close(actual, expected, case.scaled_tolerance)
