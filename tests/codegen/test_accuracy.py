"""The transcendental functions are as accurate as they say, on every instruction set, in vectors and alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from codegen.vector_kernel import WIDTHS, Array, applied, run, units_in_the_last_place
from targets import SINGLE
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.tensor.dtype import BFLOAT16, FLOAT32, FLOAT64, DType


@dataclass(frozen=True)
class Accuracy:
    """A function's bound in ulp for float32 and float64, and where inputs are drawn from.

    unfused: what may be added to the bound on targets without fused multiply-add.
    """

    function: str
    bounds: tuple[float, float]
    ranges: tuple[tuple[float, float], ...] = ((-10.0, 10.0),)
    spread: tuple[float, float] = (-60.0, 3.0)
    unfused: float = 0.0

    def bound(self, dtype: DType, target: str) -> float:
        return self.bounds[0 if dtype == FLOAT32 else 1] + (0.0 if TARGETS[target].has_fma else self.unfused)

    def __repr__(self) -> str:
        return self.function


UNIT = ((-1.01, 1.01), (-0.6, 0.6))
ANGLES = ((-10.0, 10.0), (-1e4, 1e4), (-2e8, 2e8))
EVERYWHERE = (-80.0, 88.0)
ACCURACIES = [
    Accuracy("exp", (1.0, 1.0), ((-110.0, 90.0), (-1.0, 1.0), (-750.0, 711.0)), unfused=0.25),
    Accuracy("log", (1.0, 1.0), ((0.0, 3.0), (0.9, 1.1)), EVERYWHERE),
    Accuracy("log1p", (1.5, 1.5), ((-1.0, 3.0), (-0.1, 0.1)), EVERYWHERE),
    Accuracy("tanh", (5.0, 1.5), ((-10.0, 10.0), (-1.0, 1.0), (-25.0, 25.0)), unfused=1.0),
    Accuracy("erf", (3.6, 2.0), ((-4.0, 4.0), (-1.0, 1.0), (-7.0, 7.0))),
    Accuracy("sin", (1.75, 1.75), ANGLES),
    Accuracy("cos", (1.75, 1.75), ANGLES),
    Accuracy("tan", (3.75, 3.75), ANGLES),
    Accuracy("asin", (2.5, 2.5), UNIT),
    Accuracy("acos", (1.5, 1.5), UNIT),
    Accuracy("atan", (2.0, 2.0), ((-4.0, 4.0),), EVERYWHERE),
    Accuracy("sinh", (2.0, 2.0), ((-90.0, 90.0), (-3.0, 3.0), (-711.0, 711.0))),
    Accuracy("cosh", (2.0, 2.0), ((-90.0, 90.0), (-3.0, 3.0), (-711.0, 711.0))),
    Accuracy("asinh", (2.0, 2.0), ((-4.0, 4.0),), EVERYWHERE),
    Accuracy("acosh", (2.5, 2.5), ((0.9, 4.0), (0.99, 1.1)), EVERYWHERE),
    Accuracy("atanh", (2.5, 2.5), UNIT),
]
REFERENCES = {
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "erf": np.vectorize(math.erf, otypes=[np.longdouble]),
}  # fmt: skip
SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, -0.5, 2.0, 5e-324, -1e-310, 1e-40, -1e-40, 1.7e38]
SIZE = 512


def inputs(accuracy: Accuracy, dtype: DType, rng: np.random.Generator) -> Array:
    """Numbers of all the ranges, numbers of all magnitudes of both signs, and special ones."""
    signs = rng.choice([-1.0, 1.0], SIZE)
    parts = [rng.uniform(*limits, SIZE) for limits in accuracy.ranges]
    parts.append(np.exp(rng.uniform(*accuracy.spread, SIZE)) * signs)
    drawn = np.concatenate([*parts, np.tile(SPECIAL, 8)])
    with np.errstate(over="ignore", under="ignore"):
        drawn = drawn.astype(dtype.numpy)
    return rng.permutation(drawn)[: drawn.size // 64 * 64]


def exact(function: str, values: Array) -> Array:
    wide = values.astype(np.longdouble)
    with np.errstate(all="ignore"):
        return np.asarray(REFERENCES.get(function, getattr(np, function, None))(wide))


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=repr)
@pytest.mark.parametrize("accuracy", ACCURACIES, ids=repr)
def test_function_is_accurate(accuracy: Accuracy, dtype: DType, rng: np.random.Generator) -> None:
    for target, lanes in WIDTHS:
        values = inputs(accuracy, dtype, rng)
        (actual,) = run([(applied(accuracy.function, dtype), dtype)], [values], target, lanes)
        distance = units_in_the_last_place(actual, exact(accuracy.function, values))
        worst = distance.argmax()
        assert distance[worst] <= accuracy.bound(dtype, target), (target, lanes, values[worst], actual[worst])


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=repr)
@pytest.mark.parametrize("function", ["sin", "tan", "asin", "atan", "sinh", "asinh", "atanh", "tanh", "erf", "log1p"])
def test_function_keeps_the_sign_of_zero(function: str, dtype: DType) -> None:
    zeros = np.tile(np.array([0.0, -0.0], dtype.numpy), 32)
    (actual,) = run([(applied(function, dtype), dtype)], [zeros], SINGLE[0], TARGETS[SINGLE[0]].float_lanes)
    np.testing.assert_array_equal(actual, 0.0)
    np.testing.assert_array_equal(np.signbit(actual), np.signbit(zeros))


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=repr)
@pytest.mark.parametrize("function", ["tanh", "erf"])
def test_function_reaches_one(function: str, dtype: DType, rng: np.random.Generator) -> None:
    values = rng.uniform(20.0, 1000.0, 256).astype(dtype.numpy)
    for target, lanes in WIDTHS:
        near, far = run([(applied(function, dtype), dtype)], [values], target, lanes)[0], values * 0 + 1
        np.testing.assert_array_equal(near, far)


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=repr)
@pytest.mark.parametrize("function", ["sin", "cos", "tan"])
def test_function_of_a_far_angle(function: str, dtype: DType, rng: np.random.Generator) -> None:
    largest = 88.0 if dtype == FLOAT32 else 709.0
    values = (np.exp(rng.uniform(15.0, largest, 1024)) * rng.choice([-1.0, 1.0], 1024)).astype(dtype.numpy)
    values[::7] = rng.uniform(-3, 3, values[::7].size)
    values[5], values[900] = math.inf, math.nan
    finite = np.isfinite(values)
    reference = np.full(values.size, np.nan)
    reference[finite] = [getattr(math, function)(float(value)) for value in values[finite]]
    for target, lanes in WIDTHS:
        (actual,) = run([(applied(function, dtype), dtype)], [values], target, lanes)
        assert units_in_the_last_place(actual, reference).max() <= 4.5


POWER_SPECIAL = [
    0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, 2.5, -2.5, math.inf, -math.inf, math.nan, 1e30, -1e30,
    1e-40, -1e-40, 2.0**53 + 2, 4503599627370497.5, 1e308, 5e-324,
]  # fmt: skip


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=repr)
def test_power_is_accurate(dtype: DType, rng: np.random.Generator) -> None:
    largest = 88.0 if dtype == FLOAT32 else 709.0
    base = np.exp(np.concatenate([rng.uniform(-30, 30, 512), rng.uniform(-0.5, 0.5, 512)]))
    exponent = rng.uniform(-largest, largest, base.size) / np.log(base)
    negative, whole = rng.uniform(-5.0, 0.0, 256), rng.integers(-20, 20, 256)
    special, other = np.meshgrid(POWER_SPECIAL, POWER_SPECIAL)
    with np.errstate(over="ignore", under="ignore"):
        base = np.concatenate([base, negative, special.ravel()]).astype(dtype.numpy)
        exponent = np.concatenate([exponent, whole, other.ravel()]).astype(dtype.numpy)
    length = -(-base.size // 64) * 64
    base, exponent = np.resize(base, length), np.resize(exponent, length)
    with np.errstate(all="ignore"):
        expected = np.power(base.astype(np.longdouble), exponent.astype(np.longdouble))
    for target, lanes in WIDTHS:
        (actual,) = run([(applied("pow", dtype), dtype)], [base, exponent], target, lanes)
        distance = units_in_the_last_place(actual, expected)
        worst = distance.argmax()
        assert distance[worst] <= 1.5, (target, lanes, base[worst], exponent[worst], actual[worst])
        zero = actual == 0
        np.testing.assert_array_equal(np.signbit(actual[zero]), np.signbit(expected[zero]))


@pytest.mark.parametrize(("function", "bound"), [("exp", 2e-5), ("erf", 2e-4)])
def test_functions_for_results_of_two_bytes(function: str, bound: float, rng: np.random.Generator) -> None:
    """Relative errors far below half a unit of float16, 4.9e-4; what is special stays so."""
    special = np.float32([0.0, -0.0, math.inf, -math.inf, math.nan, 1000.0, -1000.0, 89.5])
    values = np.concatenate([rng.uniform(-87.0, 88.0, 4096), rng.uniform(-1.0, 1.0, 4096)]).astype(np.float32)
    values = np.concatenate([values, np.resize(special, 64)])
    with np.errstate(over="ignore"):
        expected = exact(function, values).astype(np.float32)
    for target, lanes in WIDTHS:
        (actual,) = run([(applied(function, BFLOAT16), FLOAT32)], [values], target, lanes)
        np.testing.assert_allclose(actual, expected, rtol=bound, atol=1e-37, err_msg=f"{target}, {lanes} lanes")
