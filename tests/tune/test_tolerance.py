"""What a result may be off follows from types, lengths of sums and borders; what is more is found."""

from __future__ import annotations

import numpy as np
import pytest

from graphs import binary, given, network, unary
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Value, apply
from tensorwright.graph.region import Region, region_of
from tensorwright.ops.activation import Clip
from tensorwright.ops.elementwise import Cast
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.reduction import ArgReduction, Reduction
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, INT8, INT32, UINT8, DType
from tensorwright.tune.tolerance import (
    ANYTHING,
    FAST_ALGORITHM_BOUND,
    FEW,
    MOST_FLIPPED,
    MOST_FLIPPED_OF_NARROW,
    TOLERANCE,
    Tolerance,
    disagreement,
    fast_algorithm_bound,
    loosened,
    relative_error,
    rounding_error,
    rounding_unit,
    tolerance_of,
)


def _region(*values: Value) -> Region:
    return region_of(values, next((v for v in values if v.op.kind in ("anchor", "reduction")), None))


def test_units() -> None:
    assert [rounding_unit(dtype) for dtype in (FLOAT64, FLOAT32, FLOAT16, BFLOAT16)] == [2**-53, 2**-24, 2**-11, 2**-8]


def test_rounded_factors_are_tolerated_as_far_as_they_are_rounded() -> None:
    exact = Tolerance(TOLERANCE)
    product = apply(MatMul(), given("a", 3, 64), given("b", 64, 5))
    clipped, plain = _region(product, apply(Clip(0.0, 6.0), product)), _region(product)
    assert loosened(exact, 0.0, plain) == exact
    assert loosened(exact, 2**-11, plain) == Tolerance(pytest.approx(FEW * 2**-11))
    clipped_at_6 = loosened(exact, 2**-11, clipped).relative
    assert clipped_at_6 > 1.8e-3, "sums of 500 terms were off so far"
    powers = loosened(exact, 2**-11, _region(product, apply(Softmax(1), product))).relative
    assert powers > 2.3e-3, "attention with scores of 10 was off so far"
    flipping = loosened(Tolerance(TOLERANCE, MOST_FLIPPED, 1.0), 2**-11, plain)
    assert (flipping.flipped, flipping.step) == (MOST_FLIPPED_OF_NARROW, 1.0)


def test_rounding_error_grows_with_narrower_types_and_longer_sums() -> None:
    assert rounding_error([INT8]) == 0
    assert rounding_error([FLOAT32]) < rounding_error([FLOAT32, FLOAT16]) < rounding_error([FLOAT16, BFLOAT16])
    assert rounding_error([FLOAT32], 10**6) == pytest.approx(1000 * rounding_error([FLOAT32]))
    assert rounding_error([FLOAT16], 100) == rounding_error([FLOAT16])  # Sums are in float32.


@pytest.mark.parametrize(("dtype", "least"), [(FLOAT32, TOLERANCE), (FLOAT16, 2**-9), (BFLOAT16, 2**-6)])
def test_of_a_product(dtype: DType, least: float) -> None:
    product = apply(MatMul(), given("a", 3, 64, dtype=dtype), given("b", 64, 5, dtype=dtype))
    assert tolerance_of(_region(product), {}) == Tolerance(max(TOLERANCE, least))


def test_rounding_to_narrow_types_is_not_held_against_fast_algorithms() -> None:
    single, half = (
        _region(apply(MatMul(), given("a", 3, 64, dtype=dtype), given("b", 64, 5, dtype=dtype)))
        for dtype in (FLOAT32, FLOAT16)
    )
    assert fast_algorithm_bound(single) == FAST_ALGORITHM_BOUND
    assert fast_algorithm_bound(half) == rounding_error([FLOAT16])


def test_of_rounding() -> None:
    x = given("x", 4, 50)
    scaled = binary("div", x, 0.1)
    steps = unary("round", scaled)
    clipped = apply(Clip(-128.0, 127.0), steps)
    as_int, quantised = apply(Cast(INT32), steps), apply(Cast(INT8), clipped)
    assert tolerance_of(_region(unary("round", x)), {}).flipped == 0  # Its operand is what it is.
    for output, step in ((quantised, 1), (as_int, np.inf), (steps, 0.15)):
        values = [value for value in (scaled, steps, clipped) if output is quantised or value is not clipped]
        values += [output] if output is not steps else []
        found = tolerance_of(_region(*values), {})
        assert 0 < found.flipped < 0.1
        assert found.step == step
    summed = apply(Reduction("add", (1,)), steps)
    assert tolerance_of(_region(scaled, steps, summed), {}).relative > TOLERANCE
    assert tolerance_of(_region(apply(ArgReduction("max", 1), x)), {}) == Tolerance(TOLERANCE)


@pytest.mark.parametrize("level", [0, 3])
def test_conversions_that_nobody_defines(level: int) -> None:
    """Negative numbers have no unsigned ones: kernels are not blamed for what they make of them."""
    value = apply(Cast(UINT8), given("x", 4, 50))
    assert tolerance_of(_region(value), {}) == ANYTHING
    build(network(value), BuildConfig(level=level, threads=1, timing_cache=""))


def test_disagreement_of_floats(rng: np.random.Generator) -> None:
    expected = rng.standard_normal(400)
    scale = np.abs(expected).max()
    strict, flipping = Tolerance(1e-4), Tolerance(1e-4, 0.01, 0.1)
    near, off, far = expected.copy(), expected.copy(), expected.copy()
    near += 0.9e-4 * scale
    off[:4] += 0.05 * scale
    far[0] += 0.2 * scale
    assert disagreement(near, expected, strict) == "" == disagreement(near, expected, flipping)
    assert "4 of 400 elements are off" in disagreement(off, expected, strict)
    assert disagreement(off, expected, flipping) == ""
    assert disagreement(off, expected, strict, spread=0.05 * scale) == ""
    assert disagreement(far, expected, flipping)
    far[0] = np.nan
    assert "infinite or not a number" in disagreement(far, expected, flipping)
    assert relative_error(near, expected) == pytest.approx(0.9e-4)


def test_disagreement_of_single_numbers() -> None:
    expected = np.array(2.0)
    assert disagreement(np.array(2.0, np.float32), expected, Tolerance(1e-4)) == ""
    assert "1 of 1 elements are off" in disagreement(np.array(2.1, np.float32), expected, Tolerance(1e-4))
    assert relative_error(np.array(2.1, np.float32), expected) == pytest.approx(0.05)
    assert "infinite" in disagreement(np.array(np.inf, np.float32), expected, Tolerance(1e-4))


def test_disagreement_of_integers() -> None:
    expected = np.arange(100, dtype=np.int8)
    one, two = expected.copy(), expected.copy()
    one[3] += 1
    two[3] += 2
    quantised = Tolerance(1e-4, 0.02, 1.0)
    assert disagreement(expected, expected, Tolerance(0)) == ""
    assert disagreement(one, expected, Tolerance(0)) == "1 of 100 integers are wrong"
    assert disagreement(one, expected, quantised) == ""
    assert disagreement(two, expected, quantised)
    assert disagreement(expected + np.int8(1), expected, quantised)
    assert disagreement(two, expected, Tolerance(1e-4, 0.02, np.inf)) == ""
