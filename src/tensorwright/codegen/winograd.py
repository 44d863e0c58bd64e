"""The one-dimensional transforms of Winograd's F(m, r), at the points 0, 1, -1, 2, -2, … and infinity.

With n = m + r - 1 points, m outputs of a kernel of r taps take n multiplications instead of m·r. The input's transform
depends on n alone: a finite point p stands for the coefficients of the product of (x - q) over the other finite points
q, infinity for that over all of them. The weights' transform evaluates the kernel at every point, divided by that
product at p; the output's evaluates its transpose. Values that are known to be zero are None.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016; Winograd, Arithmetic Complexity of
Computations, 1980.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np
import numpy.typing as npt

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Register, literal

Value = Register | None
Transform = npt.NDArray[np.float64]

MULTIPLICATIONS = 1 << 18
"""So many at once: what they need stays in the cache in float64, and NumPy's products of this size have no threads,
which would wait for each other for longer than they compute where others need the cores.
"""

PAIRS: dict[int, tuple[float, ...]] = {2: (), 3: (), 4: (1.0,), 5: (1.0,), 6: (1.0, 2.0), 8: (1.0, 2.0, 0.5)}
"""The points but 0 and infinity by the number of all of them: each stands for itself and its negative."""

SINGLES = {3: 1.0, 5: 2.0}
"""A point besides, whose negative is none."""


def finite_points(points: int) -> list[float]:
    """All but infinity, in the order of the transforms."""
    pairs = [sign * point for point in PAIRS[points] for sign in (1, -1)]
    return [0.0, *pairs, *([SINGLES[points]] if points in SINGLES else [])]


def bias_point(points: int) -> int:
    """The number of the point 1: what is added to the product there, along all axes, appears in every output.

    With two points there is one output, and the point 0 does as well.
    """
    return finite_points(points).index(1.0 if points > 2 else 0.0)


def weight_transform(points: int, taps: int, most: int) -> Transform:
    """``[points, taps]``; one point less, infinity, for a kernel of fewer than `most` taps, which has nothing there."""
    finite = finite_points(points)
    norms = [prod(point - other for other in finite if other != point) for point in finite]
    rows = [[point**tap / norm for tap in range(taps)] for point, norm in zip(finite, norms, strict=True)]
    return np.array([*rows, *([[0.0] * (taps - 1) + [1.0]] if taps == most else [])], np.float64)


def transformed_taps(taps: npt.NDArray[np.generic], rows: Transform, columns: Transform) -> npt.NDArray[np.float32]:
    """``[outputs, channels, height, width]`` as ``[points, outputs, channels]``, in float32 by way of float64.

    Points of a row follow each other.
    """
    transform = np.kron(rows, columns).astype(np.float64)
    flat = np.moveaxis(taps, (0, 1), (2, 3)).reshape(transform.shape[1], -1)
    result = np.empty((len(transform), flat.shape[1]), np.float32)
    at_once = MULTIPLICATIONS // transform.size
    for start in range(0, flat.shape[1], at_once):
        some = slice(start, start + at_once)
        result[:, some] = transform @ flat[:, some].astype(np.float64)
    return result.reshape(len(transform), *taps.shape[:2])


def combination(builder: FunctionBuilder, *terms: tuple[float, Value]) -> Value:
    """The sum of multiples of vectors."""
    total: Value = None
    for factor, value in sorted(terms, key=lambda term: (abs(term[0]) != 1, term[0] != 1)):
        if value is None:
            continue
        if total is None:
            total = value if factor == 1 else builder.mul(value, factor)
        elif factor == 1:
            total = builder.add(total, value)
        elif factor == -1:
            total = builder.sub(total, value)
        else:
            total = builder.fma(value, literal(factor, value.dtype, value.lanes), total)
    return total


def kept_points(some: int, points: int) -> list[int]:
    """Which points, by number, a tile of `some` points shares with those of `points`: the first ones and infinity."""
    assert finite_points(points)[: some - 1] == finite_points(some)
    return [*range(some - 1), points - 1]


def transform_short(builder: FunctionBuilder, d: Sequence[Value], some: int, points: int) -> list[Value]:
    """Inputs to `some` points, for weights transformed for tiles of more points."""
    values = transform_input(builder, d, some)
    if some == points:
        return values
    finite = finite_points(some)
    factors = [prod(point - other for other in finite_points(points)[some - 1 :]) for point in finite]
    return [combination(builder, (factor, value)) for factor, value in zip([*factors, 1.0], values, strict=False)]


def transform_input(builder: FunctionBuilder, d: Sequence[Value], points: int) -> list[Value]:
    """Neighbouring inputs to as many points: all of them, or all but infinity."""
    if len(d) < points:
        return transform_input(builder, [*d, None], points)[:-1]
    pairs = PAIRS[points]
    everything = _coefficients(pairs)
    if points in SINGLES:
        # A factor of (x - single) is common to all other points.
        single = SINGLES[points]
        steps = [combination(builder, (1, after), (-single, value)) for value, after in pairwise(d)]
        *others, infinity = transform_input(builder, steps, points - 1)
        return [*others, _weighted(builder, everything, d[1::2]), infinity]
    result = [_weighted(builder, everything, d[::2])]
    for point in pairs:
        rest = _coefficients([other for other in pairs if other != point])
        even, odd = _weighted(builder, rest, d[2::2]), _weighted(builder, rest, d[1:-1:2])
        result += [combination(builder, (1, even), (sign * point, odd)) for sign in (1, -1)]
    return [*result, _weighted(builder, everything, d[1::2])]


def transform_output(builder: FunctionBuilder, m: Sequence[Value], outputs: int) -> list[Value]:
    """The products at all points to neighbouring outputs."""
    points = len(m)
    pairs = PAIRS[points]
    neighbours = list(zip(m[1 : 2 * len(pairs) : 2], m[2 : 2 * len(pairs) + 1 : 2], strict=True))
    sums, differences = (
        [combination(builder, (1, plus), (sign, minus)) for plus, minus in neighbours] for sign in (1, -1)
    )
    result = []
    for output in range(outputs):
        parts = differences if output % 2 else sums
        terms = [(point**output, part) for point, part in zip(pairs, parts, strict=True)]
        terms += [(SINGLES[points] ** output, m[-2])] if points in SINGLES else []
        terms += [(1.0, m[0])] * (output == 0) + [(1.0, m[-1])] * (output == outputs - 1)
        result.append(combination(builder, *terms))
    return result


def _coefficients(points: Sequence[float]) -> tuple[float, ...]:
    """Those of the product of (x² - p²), from the lowest power of x² to the highest."""
    result: tuple[float, ...] = (1.0,)
    for point in points:
        shifted, scaled = (0.0, *result), (*(-point * point * number for number in result), 0.0)
        result = tuple(a + b for a, b in zip(shifted, scaled, strict=True))
    return result


def _weighted(builder: FunctionBuilder, factors: Sequence[float], values: Sequence[Value]) -> Value:
    return combination(builder, *zip(factors, values, strict=True))
